//! Blobs by digest: written once, verified while written, never changed.

#![forbid(unsafe_code)]

use rorqual_error::Result;
use rorqual_types::Digest;
use std::{fs::File, io::Write, path::Path};

/// The blobs of one data root (`content/`).
#[derive(Debug)]
pub struct Content {}

/// A blob on its way in; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Ingest {}

impl Content {
    /// Opens `root` (made if absent) and removes what interrupted writes left.
    pub fn open(root: &Path) -> Result<Self> {
        let _ = root;
        todo!()
    }

    /// The blob's length; `None` where it is not here.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let _ = digest;
        todo!()
    }

    /// The blob, open for reading at its start.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let _ = digest;
        todo!()
    }

    /// A small blob whole, its digest verified again; larger than `limit` is an error.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let _ = (digest, limit);
        todo!()
    }

    /// Begins a blob.
    pub fn ingest(&self) -> Result<Ingest> {
        todo!()
    }

    /// Deletes a blob; absent is fine.
    pub fn delete(&self, digest: &Digest) -> Result<()> {
        let _ = digest;
        todo!()
    }
}

impl Ingest {
    /// Puts the blob under its digest, where `expected` (if given) is that digest. Returns digest and length.
    /// Survives a power cut after the content's next sync.
    pub fn finish(self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let _ = expected;
        todo!()
    }
}

impl Write for Ingest {
    fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
        todo!()
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
