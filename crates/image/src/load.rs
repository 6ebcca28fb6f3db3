//! `docker load`: a docker-archive or an OCI layout becomes images, all of them or none.

use crate::{
    ImageEvent, Images, Progress,
    archive::{Archive, shown},
    commit::Lease,
    documents::is_image,
    name::dangling,
    oci::{Descriptor, Document, INDEX_ENTRIES_MAX, LAYERS_MAX, media},
    referrers::{self, BySubject},
    resolve::Chosen,
    unpack::NewLayers,
};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_snapshot::Compression;
use rorqual_types::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashSet},
    io::Read,
};

/// The annotation that holds a full image name.
pub(crate) const NAME: &str = "io.containerd.image.name";
/// The annotation that holds a tag, or with some writers a full name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image found in an archive: a descriptor, and its name where it has one.
#[derive(Debug)]
struct Loaded {
    target: Descriptor,
    name: Option<Reference>,
}

/// One element of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ArchiveEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The manifest made for an image of a docker-archive; field order and names decide the image's ID.
#[derive(Debug, Serialize)]
struct MadeManifest {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Images {
    /// `docker load`: a docker-archive or OCI archive, plain, gzip or zstd. Messages go to `progress` as they happen.
    /// Everything is on the disk before this returns; on failure nothing has changed.
    pub fn load(
        &self,
        archive: &mut (dyn Read + Send),
        platform: Option<&Platform>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<ImageEvent>> {
        let mut lease = self.lease();
        let archive = self.take_in(archive, &mut lease)?;
        let mut blobs = archive.all();
        let loaded =
            match (archive.document("oci-layout"), archive.document("index.json"), archive.document("manifest.json")) {
                (Some(layout), Some(index), _) => self.read_layout(layout, index)?,
                (_, _, Some(manifest)) => self.read_docker_archive(manifest, &archive, &mut lease, &mut blobs)?,
                _ => return Err(Error::invalid("unrecognized image format")),
            };
        let (loaded, referrers) = self.split(loaded);
        if loaded.is_empty() {
            return Err(filtered_out(platform));
        }
        let layers = std::thread::scope(|scope| {
            // The disk takes the blobs in while they are unpacked.
            let digests: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
            scope.spawn(move || self.content.sync(digests));
            self.unpack_all(&loaded, platform, &mut lease, progress)
        })?;
        let names: Vec<(String, Descriptor)> =
            loaded.iter().map(|image| (image.full_name(), image.target.clone())).collect();
        // Only what the images need stays; the rest of the archive goes with the lease.
        let mut needed = self.needed(&loaded)?;
        self.keep_referrers(referrers, &mut needed, &mut lease)?;
        blobs.retain(|(digest, _)| needed.contains(digest));
        self.commit(&mut lease, &names, layers, &bounded(blobs))?;

        let mut events = Vec::new();
        for image in &loaded {
            let id = image.target.digest;
            progress(Progress::Stream(match &image.name {
                Some(name) => format!("Loaded image: {}\n", name.familiar()),
                None => format!("Loaded image ID: {id}\n"),
            }));
            events.push(self.event_with_labels("load", &id, &id.to_string()));
        }
        Ok(events)
    }

    /// The images of a layout, and what only refers to others, with its subject.
    fn split(&self, loaded: Vec<Loaded>) -> (Vec<Loaded>, Vec<(Digest, Descriptor)>) {
        let (mut images, mut found) = (Vec::new(), Vec::new());
        for one in loaded {
            let node = if one.name.is_none() { self.node(&one.target).ok() } else { None };
            match node.and_then(|node| referrers::described(&one.target, &node)) {
                Some(referrer) => found.push(referrer),
                None => images.push(one),
            }
        }
        (images, found)
    }

    /// Keeps what refers to something that is needed, and what refers to that.
    fn keep_referrers(
        &self,
        found: Vec<(Digest, Descriptor)>,
        needed: &mut HashSet<Digest>,
        lease: &mut Lease<'_>,
    ) -> Result<()> {
        let mut all = BySubject::new();
        for (subject, referrer) in found {
            referrers::add(&mut all, subject, referrer);
        }
        let subjects: BTreeSet<Digest> = needed.iter().copied().collect();
        for (subject, referrer) in referrers::of(&all, &subjects) {
            let blobs = self.referrer_blobs(referrer);
            needed.extend(blobs.with_context(|| format!("read {}, which refers to {subject}", referrer.digest))?);
            lease.refer(subject, referrer.clone());
        }
        Ok(())
    }

    /// Checks and unpacks every image.
    fn unpack_all(
        &self,
        images: &[Loaded],
        platform: Option<&Platform>,
        lease: &mut Lease<'_>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<NewLayers> {
        let mut layers = NewLayers::new();
        for image in images {
            let chosen = self.check(image, platform)?;
            let unpacked = self.unpack_layers(&chosen, &layers, lease, &mut |layer, position| {
                progress(Progress::Status {
                    id: chosen.config.rootfs.diff_ids.get(layer).map(crate::name::short).unwrap_or_default(),
                    status: "Loading layer".into(),
                    current: position,
                    total: 0,
                });
            });
            let what = || match &image.name {
                Some(name) => format!("Error unpacking image {}", name.familiar()),
                None => format!("Error unpacking image {}", image.target.digest),
            };
            layers.extend(unpacked.with_context(what)?);
        }
        Ok(layers)
    }

    fn read_layout(&self, layout: &[u8], index: &[u8]) -> Result<Vec<Loaded>> {
        #[derive(Deserialize)]
        struct Layout {
            #[serde(rename = "imageLayoutVersion")]
            version: String,
        }
        let layout: Layout = serde_json::from_slice(layout).context("read oci-layout").map_err(invalid)?;
        if layout.version != "1.0.0" {
            return Err(Error::invalid(format!("unsupported OCI version {}", shown(&layout.version))));
        }
        let Document::Index(index) = Document::parse(media::INDEX, index).context("read index.json")? else {
            return Err(Error::invalid("index.json is no index"));
        };
        index.manifests.into_iter().map(loaded_from).collect()
    }

    fn read_docker_archive(
        &self,
        manifest: &[u8],
        archive: &Archive,
        lease: &mut Lease<'_>,
        blobs: &mut Vec<(Digest, u64)>,
    ) -> Result<Vec<Loaded>> {
        let entries: Vec<ArchiveEntry> =
            serde_json::from_slice(manifest).context("untar manifest \"manifest.json\"").map_err(invalid)?;
        if entries.len() > INDEX_ENTRIES_MAX {
            return Err(Error::invalid("manifest.json lists too many images"));
        }
        let mut loaded = Vec::new();
        for entry in entries {
            let (config, size) = archive
                .blob(&entry.config)
                .ok_or_else(|| Error::invalid(format!("image config {:?} not found", shown(&entry.config))))?;
            let made = MadeManifest {
                schema_version: 2,
                media_type: media::DOCKER_MANIFEST,
                config: Descriptor::new(media::DOCKER_CONFIG, config, size),
                layers: self.layers_of(&entry, archive)?,
            };
            let bytes = serde_json::to_vec(&made).context("write a manifest")?;
            let (digest, size) = {
                lease.blob(rorqual_content::digest(&bytes));
                self.content.put(&bytes)?
            };
            blobs.push((digest, size));
            let target = Descriptor::new(media::DOCKER_MANIFEST, digest, size);
            let tags = entry.repo_tags.unwrap_or_default();
            if tags.is_empty() {
                loaded.push(Loaded { target: target.clone(), name: None });
            }
            for tag in tags {
                let name: Reference = tag.parse().with_context(|| format!("normalize image ref {:?}", shown(&tag)))?;
                let name = name.or_latest();
                let mut target = target.clone();
                target.annotations.insert(NAME.into(), name.to_string());
                target.annotations.insert(REF_NAME.into(), name.tag().unwrap_or_default().to_owned());
                loaded.push(Loaded { target, name: Some(name) });
            }
        }
        Ok(loaded)
    }

    fn layers_of(&self, entry: &ArchiveEntry, archive: &Archive) -> Result<Vec<Descriptor>> {
        let layers = entry.layers.as_deref().unwrap_or_default();
        if layers.len() > LAYERS_MAX {
            return Err(Error::invalid(format!("the image has more than {LAYERS_MAX} layers")));
        }
        let descriptors = layers.iter().map(|path| {
            let (digest, size) = archive.blob(path).ok_or_else(|| {
                Error::invalid(format!("failed to resolve layers: layer {:?} not found", shown(path)))
            })?;
            let mut start = [0; 8];
            let length = self.content.open_blob(&digest)?.read(&mut start).context("read a layer")?;
            let media_type = match Compression::detect(&start[..length]) {
                Compression::None => media::DOCKER_LAYER,
                Compression::Gzip => media::DOCKER_LAYER_GZIP,
                Compression::Zstd => media::DOCKER_LAYER_ZSTD,
            };
            Ok(Descriptor::new(media_type, digest, size))
        });
        descriptors.collect()
    }

    /// The platform of the image that will be unpacked, after everything of it was found and checked.
    fn check(&self, image: &Loaded, platform: Option<&Platform>) -> Result<Chosen> {
        let chosen = self.choose(&image.target, platform)?;
        let Some(chosen) = chosen else {
            return Err(match self.manifests(&image.target, &mut |_| {})?.iter().find(|found| is_image(found)) {
                Some(found) => match &found.manifest {
                    Some(manifest) => self.config(manifest).map_or_else(|error| error, |_| filtered_out(platform)),
                    None => filtered_out(platform),
                },
                None => filtered_out(platform),
            });
        };
        for layer in &chosen.manifest.layers {
            if self.content.size(&layer.digest)?.is_none() {
                return Err(Error::not_found(format!("content digest {}: not found", layer.digest)));
            }
        }
        Ok(chosen)
    }

    /// Every blob that the images lead to.
    fn needed(&self, images: &[Loaded]) -> Result<HashSet<Digest>> {
        let mut needed = HashSet::new();
        for image in images {
            needed.insert(image.target.digest);
            let found = self.manifests(&image.target, &mut |index| {
                needed.insert(index.digest);
            })?;
            for found in found {
                needed.insert(found.descriptor.digest);
                let Some(manifest) = found.manifest else { continue };
                needed.insert(manifest.config.digest);
                needed.extend(manifest.layers.iter().map(|layer| layer.digest));
                self.check_sizes(&manifest)?;
            }
        }
        Ok(needed)
    }

    /// A manifest's descriptors must not lie about what is here, whatever platform it is for.
    fn check_sizes(&self, manifest: &crate::oci::Manifest) -> Result<()> {
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            if let Some(size) = self.content.size(&descriptor.digest)?.filter(|size| *size != descriptor.size) {
                return Err(Error::invalid(format!(
                    "{} has {size} bytes where its descriptor says {}",
                    descriptor.digest, descriptor.size
                )));
            }
        }
        Ok(())
    }
}

impl Loaded {
    fn full_name(&self) -> String {
        self.name.as_ref().map_or_else(|| dangling(&self.target.digest), Reference::to_string)
    }
}

/// An entry of a layout's index.
fn loaded_from(entry: Descriptor) -> Result<Loaded> {
    let annotated = entry.annotations.get(NAME).cloned().or_else(|| {
        // The tag alone names nothing; some writers put the whole name there.
        entry.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':'])).cloned()
    });
    let name = match annotated {
        Some(name) => {
            let reference =
                name.parse::<Reference>().with_context(|| format!("normalize image ref {:?}", shown(&name)));
            Some(reference.map_err(invalid)?.or_latest())
        }
        None => None,
    };
    let mut target = Descriptor::new(entry.media_type, entry.digest, entry.size);
    target.annotations = entry.annotations;
    Ok(Loaded { target, name })
}

fn invalid(error: Error) -> Error {
    error.with_kind(Kind::InvalidArgument)
}

fn filtered_out(platform: Option<&Platform>) -> Error {
    Error::invalid(match platform {
        Some(platform) => format!("requested platform ({platform}) not found: image might be filtered out"),
        None => "image might be filtered out".to_owned(),
    })
}

/// Each blob once.
fn bounded(mut blobs: Vec<(Digest, u64)>) -> Vec<(Digest, u64)> {
    blobs.sort_unstable();
    blobs.dedup();
    blobs
}
