//! Blobs by digest: written once, verified while written, never changed.
//!
//! `blobs/sha256/HEX` are whole; `ingest/` holds what is being written and is emptied at open; `partial/KEY` holds what
//! an interrupted transfer may go on with. Which of them are needed is known above; this crate deletes only what it is
//! told to.

#![forbid(unsafe_code)]

mod partial;

pub use partial::{Partial, Partials};

use aws_lc_rs::digest::{Context as Hasher, SHA256};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::failpoint;
use rorqual_types::Digest;
use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// The blobs of one data root (`content/`).
#[derive(Debug)]
pub struct Content {
    blobs: PathBuf,
    ingest: PathBuf,
    partial: PathBuf,
    next: AtomicU64,
    /// The keys of the partial blobs that are open.
    open: Arc<Mutex<BTreeSet<String>>>,
}

/// A blob on its way in; dropped unfinished, it leaves nothing.
pub struct Ingest<'a> {
    content: &'a Content,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    length: u64,
    finished: bool,
}

/// The SHA-256 digest of `bytes`.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref());
    Digest::from_bytes(out)
}

fn finish(hasher: Hasher) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(hasher.finish().as_ref());
    Digest::from_bytes(out)
}

impl Content {
    /// Opens `root` (made if absent) and removes what interrupted writes left; partial blobs stay.
    pub fn open(root: &Path) -> Result<Self> {
        let content = Self::open_as_is(root)?;
        let ingest = &content.ingest;
        for entry in fs::read_dir(ingest).with_context(|| format!("list {}", ingest.display()))? {
            let path = entry.with_context(|| format!("list {}", ingest.display()))?.path();
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(content)
    }

    /// As [`Content::open`], but nothing is removed.
    pub fn open_as_is(root: &Path) -> Result<Self> {
        let (blobs, ingest, partial) = (root.join("blobs/sha256"), root.join("ingest"), root.join("partial"));
        for directory in [&blobs, &ingest, &partial] {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        Ok(Self { blobs, ingest, partial, next: AtomicU64::new(0), open: Arc::default() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// The blob's length; `None` where it is not here.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        match fs::metadata(self.path(digest)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("look for blob {digest}")),
        }
    }

    /// Every blob here and its length.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let context = || format!("list {}", self.blobs.display());
        let mut blobs = Vec::new();
        for entry in fs::read_dir(&self.blobs).with_context(context)? {
            let entry = entry.with_context(context)?;
            if let Some(digest) = entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()) {
                blobs.push((digest, entry.metadata().with_context(context)?.len()));
            }
        }
        Ok(blobs)
    }

    /// The blob, open for reading at its start.
    ///
    /// # Errors
    /// `NotFound` where it is not here.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        File::open(self.path(digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(format!("content digest {digest}: not found")),
            _ => Error::internal(format!("open blob {digest}")).caused_by(error),
        })
    }

    /// The digest that a blob's bytes really have; reads it whole.
    pub fn digest_of(&self, digest: &Digest) -> Result<Digest> {
        let mut file = self.open_blob(digest)?;
        let mut hasher = Hasher::new(&SHA256);
        partial::reread(&mut file, &mut hasher).with_context(|| format!("read blob {digest}"))?;
        Ok(finish(hasher))
    }

    /// A small blob whole, its digest verified again; larger than `limit` is an error.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.open_blob(digest)?;
        file.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("read blob {digest}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::invalid(format!("blob {digest} is larger than {limit} bytes")));
        }
        if crate::digest(&bytes) != *digest {
            return Err(Error::internal(format!("blob {digest} is damaged on disk")));
        }
        Ok(bytes)
    }

    /// Begins a blob.
    pub fn ingest(&self) -> Result<Ingest<'_>> {
        let path = self.ingest.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("create {}", path.display()))?;
        let hasher = Hasher::new(&SHA256);
        Ok(Ingest { content: self, path, file, hasher, length: 0, finished: false })
    }

    /// A small blob at once. Returns its digest and length.
    pub fn put(&self, bytes: &[u8]) -> Result<(Digest, u64)> {
        let digest = digest(bytes);
        if self.size(&digest)? == Some(bytes.len() as u64) {
            return Ok((digest, bytes.len() as u64));
        }
        let mut ingest = self.ingest()?;
        ingest.write_all(bytes).context("write a blob")?;
        ingest.finish(Some(&digest))
    }

    /// Deletes a blob; absent is fine.
    pub fn delete(&self, digest: &Digest) -> Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("delete blob {digest}"))
            }
            _ => Ok(()),
        }
    }

    /// Waits until these finished blobs survive a power cut; what others write on the file system does not matter.
    pub fn sync(&self, blobs: impl IntoIterator<Item = Digest>) -> Result<()> {
        for digest in blobs {
            let blob = self.open_blob(&digest)?;
            blob.sync_data().with_context(|| format!("sync blob {digest}"))?;
        }
        let sync = || File::open(&self.blobs)?.sync_all();
        sync().with_context(|| format!("sync {}", self.blobs.display()))
    }
}

impl Ingest<'_> {
    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts the blob under its digest, where `expected` (if given) is that digest. Returns digest and length.
    /// Survives a power cut after [`Content::sync`].
    pub fn finish(self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        self.finish_after(expected, |_| {})
    }

    /// As [`Ingest::finish`]; `before` is told the digest before the blob can be seen under it.
    pub fn finish_after(mut self, expected: Option<&Digest>, before: impl FnOnce(Digest)) -> Result<(Digest, u64)> {
        let digest = finish(std::mem::replace(&mut self.hasher, Hasher::new(&SHA256)));
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(Error::invalid(format!("unexpected digest {digest}, expected {expected}")));
        }
        failpoint!("content.ingested")?;
        before(digest);
        let place = self.content.path(&digest);
        fs::rename(&self.path, &place).with_context(|| format!("put blob {digest} in its place"))?;
        self.finished = true;
        failpoint!("content.finished")?;
        Ok((digest, self.length))
    }
}

impl Write for Ingest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl fmt::Debug for Ingest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ingest({}, {} bytes)", self.path.display(), self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_kept_under_its_digest() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let (name, length) = content.put(b"hello").unwrap();
        assert_eq!((name, length), (digest(b"hello"), 5));
        assert_eq!(content.put(b"hello").unwrap(), (name, 5));
        assert_eq!(content.read(&name, 5).unwrap(), b"hello");
        assert!(content.read(&name, 4).is_err());
        assert_eq!(content.list().unwrap(), [(name, 5)]);
        content.delete(&name).unwrap();
        content.delete(&name).unwrap();
        assert_eq!(content.open_blob(&name).unwrap_err().kind(), rorqual_error::Kind::NotFound);
    }

    #[test]
    fn a_wrong_or_unfinished_blob_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let mut wrong = content.ingest().unwrap();
        wrong.write_all(b"x").unwrap();
        assert!(wrong.finish(Some(&digest(b"y"))).is_err());
        drop(content.ingest().unwrap());
        fs::write(root.path().join("ingest/7"), "from a killed daemon").unwrap();
        drop(content);
        let content = Content::open(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path().join("ingest")).unwrap().count(), 0);
        assert!(content.list().unwrap().is_empty());
    }

    #[test]
    fn a_blob_that_changed_on_disk_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let (name, _) = content.put(b"hello").unwrap();
        fs::write(root.path().join("blobs/sha256").join(name.hex()), "hellO").unwrap();
        assert!(content.read(&name, 100).is_err());
    }
}
