//! Images of containerd's store: names and targets in a bolt file, blobs by digest, kept as they were received.

use crate::{
    bolt::{Bolt, Bucket, Entry},
    found::Found,
    hash::digest,
    image::{Blob, Data, Image},
    limits::INDEX_DEPTH_MAX,
    root::Root,
};
use rorqual_error::{Context, Error, Result};
use rorqual_oci::image::{DOCUMENT_BYTES_MAX, Descriptor, Document, media};
use rorqual_types::{Digest, Reference};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Names and targets.
pub(crate) const METADATA: &str = "io.containerd.metadata.v1.bolt/meta.db";
/// The overlay snapshotter's own records.
pub(crate) const SNAPSHOTS: &str = "io.containerd.snapshotter.v1.overlayfs/metadata.db";
const BLOBS: &str = "io.containerd.content.v1.content/blobs/sha256";
/// dockerd's namespace.
const NAMESPACE: &str = "moby";
/// What begins the name of an image that has none.
const DANGLING: &str = "moby-dangling@";

/// All images of dockerd's in the store at `root`, by ID.
pub(crate) fn images(root: &Arc<Root>) -> Result<Vec<Found<Image>>> {
    let Some(file) = root.file(METADATA)? else { return Ok(Vec::new()) };
    let bolt = Bolt::open(file)?;
    let Some(bucket) = bolt.find(&["v1", NAMESPACE, "images"])? else { return Ok(Vec::new()) };
    let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    let mut targets = BTreeMap::new();
    let mut found = Vec::new();
    for (key, entry) in bolt.entries(&bucket)? {
        let Entry::Bucket(record) = entry else { continue };
        let key = String::from_utf8_lossy(&key).into_owned();
        match target(&bolt, &record).and_then(|target| Ok((name(&key)?, target))) {
            Ok((name, target)) => {
                names.entry(target.digest).or_default().extend(name);
                targets.entry(target.digest).or_insert(target);
            }
            Err(error) => found.push(Found { what: key, object: Err(error) }),
        }
    }
    for (id, target) in targets {
        let names = names.remove(&id).unwrap_or_default();
        let what = names.first().map_or_else(|| id.to_string(), Reference::familiar);
        let blobs = collect(root, &target);
        let object = blobs.map(|blobs| Image { id, docker_id: id, names, target, blobs, root: root.clone() });
        found.push(Found { what, object });
    }
    Ok(found)
}

fn name(key: &str) -> Result<Option<Reference>> {
    if key.starts_with(DANGLING) {
        return Ok(None);
    }
    let reference: Reference = key.parse()?;
    // A name with a digest is not listed as an image's name.
    Ok(Some(reference.or_latest()).filter(|reference| reference.digest().is_none()))
}

/// What a name points to.
fn target(bolt: &Bolt, record: &Bucket) -> Result<Descriptor> {
    let inner = bolt.entries(record)?.into_iter().find(|(key, _)| key == b"target");
    let Some((_, Entry::Bucket(target))) = inner else { return Err(Error::invalid("its record has no target")) };
    let text = |name: &str| -> Result<String> {
        let value = bolt.value(&target, name)?.ok_or_else(|| Error::invalid(format!("its record has no {name}")))?;
        String::from_utf8(value).map_err(|_| Error::invalid(format!("its {name} is not text")))
    };
    let size = bolt.value(&target, "size")?.and_then(|bytes| unsigned(&bytes)).map(|zigzag| zigzag >> 1);
    let size = size.ok_or_else(|| Error::invalid("its record has no size"))?;
    Ok(Descriptor::new(text("mediatype")?, text("digest")?.parse()?, size))
}

/// A number of seven bits a byte, lowest first.
fn unsigned(bytes: &[u8]) -> Option<u64> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).filter(|end| *end < 10)?;
    Some(bytes[..=end].iter().rev().fold(0, |number, byte| (number << 7) | u64::from(byte & 0x7f)))
}

/// Every blob of an image that is here: those of other platforms may never have been fetched.
fn collect(root: &Root, target: &Descriptor) -> Result<BTreeMap<Digest, Blob>> {
    let mut blobs = BTreeMap::new();
    let mut documents = vec![(target.clone(), 0)];
    while let Some((descriptor, depth)) = documents.pop() {
        if blobs.contains_key(&descriptor.digest) {
            continue;
        }
        let Some(bytes) = document(root, &descriptor)? else {
            if depth == 0 {
                return Err(Error::not_found(format!("{} is missing", descriptor.digest)));
            }
            continue;
        };
        blobs.insert(descriptor.digest, Blob::bytes(bytes.clone()));
        match Document::parse(&descriptor.media_type, &bytes).with_context(|| descriptor.digest.to_string())? {
            Document::Index(index) if depth < INDEX_DEPTH_MAX => {
                documents.extend(index.manifests.into_iter().map(|inner| (inner, depth + 1)));
            }
            Document::Index(_) => return Err(Error::invalid("its indexes are nested too deeply")),
            Document::Manifest(manifest) => {
                for part in manifest.layers.iter().chain([&manifest.config]) {
                    let path = blob_path(&part.digest);
                    let Some(file) = root.file(&path)? else { continue };
                    let size = file.metadata().context("look at a blob")?.len();
                    blobs.entry(part.digest).or_insert(Blob { size, data: Data::File(path) });
                }
            }
        }
    }
    Ok(blobs)
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new(BLOBS).join(digest.hex())
}

/// An index or a manifest, whole and undamaged; `None` where it is not here or is no document.
fn document(root: &Root, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
    if !media::is_index(&descriptor.media_type) && !media::is_manifest(&descriptor.media_type) {
        return Ok(None);
    }
    let Some(bytes) = root.read(blob_path(&descriptor.digest), DOCUMENT_BYTES_MAX)? else { return Ok(None) };
    if digest(&bytes) != descriptor.digest {
        return Err(Error::invalid(format!("{} is damaged: the digest is another", descriptor.digest)));
    }
    Ok(Some(bytes))
}

/// The directory of a container's changes, relative to the store; `None` where no snapshot is known.
pub(crate) fn changes(root: &Root, container: &str) -> Result<Option<PathBuf>> {
    let (Some(metadata), Some(snapshots)) = (root.file(METADATA)?, root.file(SNAPSHOTS)?) else { return Ok(None) };
    let metadata = Bolt::open(metadata)?;
    let Some(bucket) = metadata.find(&["v1", NAMESPACE, "snapshots", "overlayfs", container])? else { return Ok(None) };
    let Some(name) = metadata.value(&bucket, "name")? else { return Ok(None) };
    let name = String::from_utf8_lossy(&name).into_owned();
    let snapshots = Bolt::open(snapshots)?;
    let Some(bucket) = snapshots.find(&["v1", "snapshots", &name])? else { return Ok(None) };
    let id = snapshots.value(&bucket, "id")?.and_then(|bytes| unsigned(&bytes));
    let directory = Path::new(SNAPSHOTS).parent().unwrap_or(Path::new(""));
    Ok(id.map(|id| directory.join(format!("snapshots/{id}/fs"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_where_their_last_byte_says() {
        assert_eq!(unsigned(&[0x01]), Some(1));
        assert_eq!(unsigned(&[0xac, 0x02, 0xff]), Some(300));
        assert_eq!(unsigned(&[0x80]), None);
        assert_eq!(unsigned(&[0xff; 12]), None);
        assert_eq!(unsigned(&[]), None);
    }

    #[test]
    fn names_that_stand_for_none_are_none() {
        let digest = digest(b"");
        assert!(name(&format!("moby-dangling@{digest}")).unwrap().is_none());
        assert!(name(&format!("docker.io/library/a@{digest}")).unwrap().is_none());
        assert_eq!(name("docker.io/library/a:1").unwrap().unwrap().familiar(), "a:1");
    }
}
