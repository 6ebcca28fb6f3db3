//! An image archive on its way in: every file becomes a blob, small ones are also kept for reading.

use crate::{Images, commit::Lease, oci::DOCUMENT_BYTES_MAX};
use rorqual_error::{Context, Error, Result};
use rorqual_snapshot::{
    check_free_space, decompressed,
    tar::{Entry, EntryKind, Reader},
};
use rorqual_types::Digest;
use std::{
    collections::HashMap,
    io::{BufReader, Read, Write},
};

/// Files of one image archive: generous for images of 500 layers, several at once.
const FILES_MAX: usize = 20_000;
/// Links in a row from one name to a file.
const LINKS_MAX: usize = 8;
/// How often the free space is looked at.
const SPACE_CHECK_BYTES: u64 = 64 << 20;

/// What an archive held.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// Blobs by path.
    blobs: HashMap<String, (Digest, u64)>,
    /// Links by path: where they lead.
    links: HashMap<String, String>,
    /// The documents that say what the archive is.
    documents: HashMap<String, Vec<u8>>,
}

impl Archive {
    /// `index.json`, `manifest.json` or `oci-layout`.
    pub(crate) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// The blob under `path`, through links.
    pub(crate) fn blob(&self, path: &str) -> Option<(Digest, u64)> {
        let mut path = clean(path)?;
        for _ in 0..LINKS_MAX {
            if let Some(blob) = self.blobs.get(&path) {
                return Some(*blob);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }

    /// All blobs.
    pub(crate) fn all(&self) -> Vec<(Digest, u64)> {
        let all: HashMap<Digest, u64> = self.blobs.values().copied().collect();
        all.into_iter().collect()
    }
}

/// The names of documents: they say what the archive is, and are no blobs.
fn is_document(path: &str) -> bool {
    matches!(path, "index.json" | "manifest.json" | "oci-layout" | "repositories")
}

/// A path without `.` and empty parts; `None` where it climbs out.
fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

impl Images {
    /// Takes in the whole archive, plain or compressed, under `lease`.
    pub(crate) fn take_in(&self, archive: &mut (dyn Read + Send), lease: &mut Lease<'_>) -> Result<Archive> {
        let (stream, _) = decompressed(archive)?;
        let mut reader = Reader::new(BufReader::with_capacity(1 << 20, stream));
        let mut taken = Archive::default();
        let mut count = 0;
        while let Some(entry) = reader.next_entry()? {
            count += 1;
            if count > FILES_MAX {
                return Err(Error::invalid(format!("the image archive has more than {FILES_MAX} entries")));
            }
            let path = String::from_utf8(entry.path.clone())
                .map_err(|_| Error::invalid("the image archive has a name that is not UTF-8"))?;
            if taken.blobs.contains_key(&path) || taken.links.contains_key(&path) || taken.documents.contains_key(&path)
            {
                return Err(Error::invalid(format!("{:?} stands twice in the image archive", shown(&path))));
            }
            match entry.kind {
                EntryKind::Directory => {}
                EntryKind::File if is_document(&path) => {
                    let bytes = reader.read_data(DOCUMENT_BYTES_MAX).with_context(|| format!("read {path}"))?;
                    taken.documents.insert(path, bytes);
                }
                EntryKind::File => {
                    let blob = self.take_blob(&path, &entry, &mut reader, lease)?;
                    taken.blobs.insert(path, blob);
                }
                EntryKind::SymbolicLink | EntryKind::HardLink => {
                    let target = String::from_utf8_lossy(&entry.link).into_owned();
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let base = if entry.kind == EntryKind::HardLink { "" } else { parent };
                    let target = clean(&format!("{base}/{target}"))
                        .ok_or_else(|| Error::invalid(format!("{:?} leads outside the archive", shown(&path))))?;
                    taken.links.insert(path, target);
                }
                _ => return Err(Error::invalid(format!("{:?} is no file", shown(&path)))),
            }
        }
        Ok(taken)
    }

    fn take_blob<R: std::io::BufRead>(
        &self,
        path: &str,
        entry: &Entry,
        reader: &mut Reader<R>,
        lease: &mut Lease<'_>,
    ) -> Result<(Digest, u64)> {
        // In an OCI layout the name is a promise.
        let expected = match path.strip_prefix("blobs/sha256/") {
            Some(hex) => Some(Digest::from_hex(hex)?),
            None => None,
        };
        let mut ingest = self.content.ingest()?;
        let mut until_check = 0;
        loop {
            let data = reader.fill_data().map_err(|error| short(error, path, entry.size, ingest.len()))?;
            if data.is_empty() {
                break;
            }
            let length = data.len();
            if until_check < length as u64 {
                check_free_space(self.snapshots.layers_dir())?;
                until_check = SPACE_CHECK_BYTES;
            }
            until_check -= length as u64;
            ingest.write_all(data).with_context(|| format!("write {}", shown(path)))?;
            reader.consume_data(length);
        }
        ingest.finish_after(expected.as_ref(), |digest| lease.blob(digest))
    }
}

fn short(error: Error, path: &str, size: u64, got: u64) -> Error {
    if error.kind() != rorqual_error::Kind::InvalidArgument {
        return error;
    }
    let message = format!("failed to ingest {:?}: short read: expected {size} bytes but got {got}", shown(path));
    Error::invalid(message).caused_by(error)
}

pub(crate) fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
