//! `docker save`: an OCI layout with docker's `manifest.json` beside it, the blobs byte for byte as they came in.

use crate::{
    ImageEvent, Images, Referrer,
    documents::Found,
    load::{NAME, REF_NAME},
    oci::{Descriptor, media},
    resolve::{Chosen, Target},
    tag::event,
};
use rorqual_error::{Context, Error, Result};
use rorqual_types::{Digest, Platform, Reference};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
};

#[derive(Serialize)]
struct LayoutIndex<'a> {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'a str,
    manifests: &'a [Descriptor],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ArchiveEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What one save holds.
#[derive(Default)]
struct Contents {
    index: Vec<Descriptor>,
    referrers: Vec<Descriptor>,
    entries: BTreeMap<Digest, ArchiveEntry>,
    blobs: BTreeSet<Digest>,
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Images {
    /// `docker save` of one or many names.
    ///
    /// # Errors
    /// `NotFound` for an unknown name, before anything is written.
    pub fn save(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        out: &mut (dyn Write + Send),
    ) -> Result<Vec<ImageEvent>> {
        let mut lease = self.lease();
        let mut contents = Contents::default();
        let mut events = Vec::new();
        for name in names {
            for target in self.targets_of(name)? {
                self.collect(&target, platform, &mut contents)?;
                events.push(event("save", &target.id(), &target.id().to_string()));
            }
        }
        // Nothing of it is deleted while it is written out.
        for digest in &contents.blobs {
            lease.blob(*digest);
        }
        self.write(&contents, out).context("write the image archive")?;
        Ok(events)
    }

    /// The images that a word means: one, or all tags of a repository given without a tag.
    fn targets_of(&self, name: &str) -> Result<Vec<Target>> {
        let state = self.state();
        let whole = name
            .parse::<Reference>()
            .ok()
            .filter(|reference| reference.tag().is_none() && reference.digest().is_none());
        if let Some(reference) = whole {
            let of_it = |full: &String| full.parse::<Reference>().is_ok_and(|other| other.name() == reference.name());
            let targets: Vec<Target> = state
                .names
                .iter()
                .filter(|(full, _)| of_it(full))
                .map(|(full, record)| Target { name: Some(full.clone()), descriptor: record.target.clone() })
                .collect();
            if !targets.is_empty() {
                return Ok(targets);
            }
        }
        Ok(vec![state.find(name)?])
    }

    fn collect(&self, target: &Target, platform: Option<&Platform>, contents: &mut Contents) -> Result<()> {
        let chosen = self.choose(&target.descriptor, platform)?;
        let mut descriptor = target.descriptor.clone();
        if let Some(platform) = platform {
            let chosen = chosen
                .as_ref()
                .ok_or_else(|| Error::not_found(format!("no suitable export target found for platform {platform}")))?;
            descriptor = Descriptor { annotations: descriptor.annotations, ..chosen.found.descriptor.clone() };
        }
        let mut documents = BTreeSet::from([descriptor.digest]);
        let found = self.manifests(&descriptor, &mut |index| {
            documents.insert(index.digest);
        })?;
        for found in &found {
            self.collect_manifest(found, contents)?;
            documents.extend(found.manifest.as_ref().map(|_| found.descriptor.digest));
        }
        contents.blobs.extend(&documents);
        let name = target.name.as_ref().and_then(|name| name.parse::<Reference>().ok());
        descriptor.platform = None;
        descriptor.annotations.remove(NAME);
        descriptor.annotations.remove(REF_NAME);
        if let Some(name) = &name {
            descriptor.annotations.insert(NAME.into(), name.to_string());
            descriptor.annotations.insert(REF_NAME.into(), name.tag().unwrap_or_default().to_owned());
        }
        if !contents.index.contains(&descriptor) {
            contents.index.push(descriptor);
        }
        if let Some(chosen) = chosen {
            contents.add_entry(&chosen, name.as_ref());
        }
        // Beside the images, without names: who reads the layout finds them by their subject.
        for Referrer { descriptor, .. } in self.referrers_of(&documents) {
            contents.blobs.extend(self.referrer_blobs(&descriptor)?);
            if !contents.referrers.contains(&descriptor) {
                contents.referrers.push(descriptor);
            }
        }
        Ok(())
    }

    fn collect_manifest(&self, found: &Found, contents: &mut Contents) -> Result<()> {
        let Some(manifest) = &found.manifest else { return Ok(()) };
        contents.blobs.insert(found.descriptor.digest);
        for digest in manifest.layers.iter().map(|layer| layer.digest).chain([manifest.config.digest]) {
            if self.content.size(&digest)?.is_some() {
                contents.blobs.insert(digest);
            }
        }
        Ok(())
    }

    fn write(&self, contents: &Contents, out: &mut (dyn Write + Send)) -> Result<()> {
        let mut archive = tar::Builder::new(out);
        for directory in ["blobs/", "blobs/sha256/"] {
            let mut header = header(0o755, 0);
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, directory, std::io::empty()).context(directory)?;
        }
        for digest in &contents.blobs {
            let file = self.content.open_blob(digest)?;
            let size = file.metadata().context("look at a blob")?.len();
            archive.append_data(&mut header(0o444, size), blob_path(digest), file.take(size)).context("a blob")?;
        }
        let manifests = [contents.index.as_slice(), contents.referrers.as_slice()].concat();
        let index = LayoutIndex { schema_version: 2, media_type: media::INDEX, manifests: &manifests };
        let index = serde_json::to_vec(&index).context("index.json")?;
        let entries: Vec<&ArchiveEntry> = contents.entries.values().collect();
        let entries = serde_json::to_vec(&entries).context("manifest.json")?;
        for (name, mode, bytes) in [
            ("index.json", 0o644, index.as_slice()),
            ("manifest.json", 0o644, entries.as_slice()),
            ("oci-layout", 0o444, br#"{"imageLayoutVersion":"1.0.0"}"#),
        ] {
            archive.append_data(&mut header(mode, bytes.len() as u64), name, bytes).context(name)?;
        }
        archive.into_inner().and_then(|out| out.flush()).context("the end")
    }
}

impl Contents {
    fn add_entry(&mut self, chosen: &Chosen, name: Option<&Reference>) {
        let entry = self.entries.entry(chosen.found.descriptor.digest).or_insert_with(|| ArchiveEntry {
            config: blob_path(&chosen.manifest.config.digest),
            repo_tags: None,
            layers: chosen.manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
        });
        if let Some(name) = name.map(Reference::familiar) {
            let tags = entry.repo_tags.get_or_insert_default();
            if !tags.contains(&name) {
                tags.push(name);
            }
        }
    }
}

fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
