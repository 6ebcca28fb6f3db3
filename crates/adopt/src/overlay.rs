//! Images of the overlay2 graph driver: configurations below `image/overlay2/imagedb`, layers below `layerdb` and `overlay2`.
//! Their manifests were never kept; each image gets the one that `docker save` makes for it.

use crate::{
    found::Found,
    hash::digest,
    image::{Blob, Data, Image},
    limits::JSON_BYTES_MAX,
    root::{Root, missing},
    split,
};
use rorqual_error::{Context, Error, Result};
use rorqual_oci::image::{DOCUMENT_BYTES_MAX, Descriptor, ImageConfig, chain_ids, media};
use rorqual_types::{ChainId, DiffId, Digest, Reference};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

const IMAGES: &str = "image/overlay2";
/// Longest name of a directory of `overlay2`; dockerd's have 64 digits.
const NAME_BYTES_MAX: u64 = 256;

/// `repositories.json`: names with their images, by repository.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Repositories {
    repositories: BTreeMap<String, BTreeMap<String, Digest>>,
}

#[derive(Serialize)]
struct Manifest {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// The images of one data root while they are collected.
struct Reader<'a> {
    root: &'a Arc<Root>,
    /// Layers that were measured: images share them.
    layers: HashMap<ChainId, Blob>,
}

/// Whether the data root has such images.
pub(crate) fn present(root: &Root) -> Result<bool> {
    Ok(root.directory(IMAGES)?.is_some())
}

/// All images: those with names, those that `used` names, and those that no other is built upon.
pub(crate) fn images(root: &Arc<Root>, used: &BTreeSet<Digest>) -> Result<Vec<Found<Image>>> {
    let names = names(root)?;
    let mut parents = BTreeSet::new();
    let mut all = Vec::new();
    for file in root.names(content(""))? {
        let Some(id) = file.to_str().and_then(|hex| Digest::from_hex(hex).ok()) else { continue };
        let parent = format!("{IMAGES}/imagedb/metadata/sha256/{}/parent", id.hex());
        if let Some(parent) = root.read(&parent, NAME_BYTES_MAX)? {
            parents.extend(std::str::from_utf8(&parent).ok().and_then(|text| text.trim().parse::<Digest>().ok()));
        }
        all.push(id);
    }
    // A name of an image that is gone is told, not skipped.
    let gone: Vec<Digest> = names.keys().filter(|id| !all.contains(id)).copied().collect();
    all.extend(gone);
    let mut reader = Reader { root, layers: HashMap::new() };
    let wanted = |id: &Digest| names.contains_key(id) || used.contains(id) || !parents.contains(id);
    let images = all.into_iter().filter(wanted).map(|id| {
        let names = names.get(&id).cloned().unwrap_or_default();
        let what = names.first().map_or_else(|| id.to_string(), Reference::familiar);
        Found { what, object: reader.image(id, names) }
    });
    Ok(images.collect())
}

fn content(hex: &str) -> PathBuf {
    Path::new(IMAGES).join("imagedb/content/sha256").join(hex)
}

/// The tags of each image. Digests of repositories belong to manifests that were not kept.
fn names(root: &Root) -> Result<BTreeMap<Digest, Vec<Reference>>> {
    let path = format!("{IMAGES}/repositories.json");
    let Some(bytes) = root.read(&path, JSON_BYTES_MAX)? else { return Ok(BTreeMap::new()) };
    let repositories: Repositories = serde_json::from_slice(&bytes).with_context(|| format!("read {path}"))?;
    let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    for (name, id) in repositories.repositories.into_values().flatten() {
        let reference: Reference = name.parse().with_context(|| format!("read {path}"))?;
        if reference.digest().is_none() {
            names.entry(id).or_default().push(reference.or_latest());
        }
    }
    Ok(names)
}

/// The configuration of an image.
pub(crate) fn config(root: &Root, id: &Digest) -> Result<Vec<u8>> {
    let path = content(&id.hex());
    let bytes = root.read(&path, DOCUMENT_BYTES_MAX)?.ok_or_else(|| missing(&path))?;
    if digest(&bytes) != *id {
        return Err(Error::invalid("its configuration is damaged: the digest is another"));
    }
    Ok(bytes)
}

/// The directory of a container's changes.
pub(crate) fn changes(root: &Root, container: &str) -> Result<PathBuf> {
    let mount = root.text(format!("{IMAGES}/layerdb/mounts/{container}/mount-id"), NAME_BYTES_MAX)?;
    Ok(PathBuf::from(format!("overlay2/{mount}/diff")))
}

impl Reader<'_> {
    fn image(&mut self, id: Digest, names: Vec<Reference>) -> Result<Image> {
        let bytes = config(self.root, &id)?;
        let config = ImageConfig::parse(&bytes).context("read its configuration")?;
        let diff_ids = &config.rootfs.diff_ids;
        let mut layers = Vec::new();
        let mut blobs = BTreeMap::new();
        for (diff_id, chain_id) in diff_ids.iter().zip(chain_ids(diff_ids, digest)) {
            let blob = self.layer(diff_id, chain_id).with_context(|| format!("layer {diff_id}"))?;
            layers.push(Descriptor::new(media::LAYER, *diff_id, blob.size));
            blobs.insert(*diff_id, blob);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::MANIFEST,
            config: Descriptor::new(media::CONFIG, id, bytes.len() as u64),
            layers,
        };
        blobs.insert(id, Blob::bytes(bytes));
        let manifest = serde_json::to_vec(&manifest).context("write its manifest")?;
        let target = Descriptor::new(media::MANIFEST, digest(&manifest), manifest.len() as u64);
        blobs.insert(target.digest, Blob::bytes(manifest));
        Ok(Image { id: target.digest, docker_id: id, names, target, blobs, root: self.root.clone() })
    }

    fn layer(&mut self, diff_id: &DiffId, chain_id: ChainId) -> Result<Blob> {
        if let Some(known) = self.layers.get(&chain_id) {
            return Ok(known.clone());
        }
        let directory = PathBuf::from(format!("{IMAGES}/layerdb/sha256/{}", chain_id.hex()));
        let own = self.root.text(directory.join("diff"), NAME_BYTES_MAX)?;
        if own != diff_id.to_string() {
            return Err(Error::invalid("its record is of another layer"));
        }
        let cache = self.root.text(directory.join("cache-id"), NAME_BYTES_MAX)?;
        let record = directory.join("tar-split.json.gz");
        let size = split::size(self.root.file(&record)?.ok_or_else(|| missing(&record))?)?;
        let files = PathBuf::from(format!("overlay2/{cache}/diff"));
        if self.root.directory(&files)?.is_none() {
            return Err(missing(&files));
        }
        let blob = Blob { size, data: Data::Layer { record, files } };
        self.layers.insert(chain_id, blob.clone());
        Ok(blob)
    }
}
