//! Blobs that come in several attempts: what an interrupted one brought stays on the disk, and the next goes on there.
//!
//! The state is the file itself, so it survives the process. A power cut may cost the end of it: whoever goes on must
//! ask [`Partial::len`] first.

use crate::{Content, finish};
use aws_lc_rs::digest::{Context as Hasher, SHA256};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::failpoint;
use rorqual_types::Digest;
use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

/// The longest key: a file name of ext4 and xfs.
const KEY_MAX: usize = 255;
/// Bytes read at once when a partial blob is hashed again.
const REREAD: usize = 1 << 20;

/// A blob on its way in, in as many attempts as it takes. Dropped unfinished, it stays for the next attempt.
pub struct Partial {
    key: String,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    length: u64,
    /// Gives the key back when this is dropped.
    _claim: Claim,
}

/// One partial blob of [`Content::partials`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partials {
    /// Its key.
    pub key: String,
    /// Bytes so far.
    pub length: u64,
    /// How long ago it last grew.
    pub age: Duration,
}

/// The right to write one key.
struct Claim {
    keys: Arc<Mutex<BTreeSet<String>>>,
    key: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Content {
    fn partial_path(&self, key: &str) -> Result<PathBuf> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        let good = !key.is_empty() && key.len() <= KEY_MAX && !key.starts_with('.') && key.bytes().all(safe);
        match good {
            true => Ok(self.partial.join(key)),
            false => Err(Error::invalid("a partial blob's key is letters, digits, '-', '_', '.' and ':'")),
        }
    }

    fn open_keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partial blob `key`, made if absent, ready for its next byte: what is there is read and hashed again, once.
    ///
    /// # Errors
    /// `Conflict` while another has it open.
    pub fn partial(&self, key: &str) -> Result<Partial> {
        let path = self.partial_path(key)?;
        if !self.open_keys().insert(key.to_owned()) {
            return Err(Error::conflict(format!("partial blob {key} is being written already")));
        }
        let claim = Claim { keys: self.open.clone(), key: key.to_owned() };
        let mut file = open_file(&path)?;
        if file.metadata().with_context(|| format!("look at {}", path.display()))?.nlink() > 1 {
            // Also a blob or a layer by now, which whoever goes on here must not change.
            let own = self.ingest.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
            let part = || fs::copy(&path, &own).and_then(|_| fs::rename(&own, &path));
            part().with_context(|| format!("take {} apart from what it has become", path.display()))?;
            file = open_file(&path)?;
        }
        let mut hasher = Hasher::new(&SHA256);
        let length = reread(&mut file, &mut hasher).with_context(|| format!("read {}", path.display()))?;
        Ok(Partial { key: key.to_owned(), path, file, hasher, length, _claim: claim })
    }

    /// Whether a partial blob `key` is there.
    pub fn has_partial(&self, key: &str) -> Result<bool> {
        let path = self.partial_path(key)?;
        path.try_exists().with_context(|| format!("look for {}", path.display()))
    }

    /// Every partial blob, those that are open too.
    pub fn partials(&self) -> Result<Vec<Partials>> {
        let context = || format!("list {}", self.partial.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.partial).with_context(context)? {
            let entry = entry.with_context(context)?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.with_context(context)?,
            };
            let Ok(key) = entry.file_name().into_string() else { continue };
            let grown = metadata.modified().with_context(context)?;
            let age = SystemTime::now().duration_since(grown).unwrap_or_default();
            found.push(Partials { key, length: metadata.len(), age });
        }
        Ok(found)
    }

    /// Deletes the partial blob `key`; absent is fine.
    ///
    /// # Errors
    /// `Conflict` while it is open: [`Partial::discard`] is for its owner.
    pub fn delete_partial(&self, key: &str) -> Result<()> {
        let path = self.partial_path(key)?;
        let keys = self.open_keys();
        if keys.contains(key) {
            return Err(Error::conflict(format!("partial blob {key} is being written")));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("delete {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

fn open_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o600).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

/// Hashes all of a file; gives its length.
pub(crate) fn reread(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(0);
    }
    let mut buffer = vec![0; REREAD];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            count => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                total += count as u64;
            }
        }
    }
}

impl Partial {
    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Bytes so far: where the next one goes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes so far, for reading at any offset while more are written.
    pub fn reader(&self) -> Result<File> {
        self.file.try_clone().with_context(|| format!("open {}", self.path.display()))
    }

    /// Forgets all bytes: the source does not go on where this one stopped.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).with_context(|| format!("empty {}", self.path.display()))?;
        self.hasher = Hasher::new(&SHA256);
        self.length = 0;
        Ok(())
    }

    /// The digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        finish(self.hasher.clone())
    }

    /// Puts the blob under its digest, where `expected` (if given) is that digest; returns digest and length. A blob with
    /// another digest is deleted: no further byte can mend it. Survives a power cut after [`Content::sync`].
    ///
    /// # Errors
    /// `InvalidArgument` where the digest is another.
    pub fn finish(self, content: &Content, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let digest = self.digest();
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            self.discard()?;
            return Err(Error::invalid(format!("unexpected digest {digest}, expected {expected}")));
        }
        failpoint!("content.partial-whole")?;
        let place = content.path(&digest);
        fs::rename(&self.path, &place).with_context(|| format!("put blob {digest} in its place"))?;
        failpoint!("content.partial-finished")?;
        Ok((digest, self.length))
    }

    /// As [`Partial::finish`], but the partial blob stays too, as a second name of the same file. Whoever fails to make use
    /// of the blob deletes that alone, and the next attempt finds here all that had come; whoever succeeds calls
    /// [`Content::delete_partial`].
    ///
    /// # Errors
    /// `InvalidArgument` where the digest is another; the partial blob is deleted then.
    pub fn finish_and_keep(self, content: &Content, expected: &Digest) -> Result<()> {
        let digest = self.digest();
        if *expected != digest {
            self.discard()?;
            return Err(Error::invalid(format!("unexpected digest {digest}, expected {expected}")));
        }
        failpoint!("content.partial-kept")?;
        match fs::hard_link(&self.path, content.path(&digest)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("put blob {digest} in its place"))
            }
            _ => Ok(()),
        }
    }

    /// Deletes it.
    pub fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("delete {}", self.path.display()))
    }

    /// Waits until the bytes so far survive a power cut.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("sync {}", self.path.display()))
    }
}

impl Write for Partial {
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

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partial({}, {} bytes)", self.key, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rorqual_error::Kind;

    #[test]
    fn an_interrupted_blob_goes_on_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let wanted = crate::digest(b"hello world");
        let content = Content::open(root.path()).unwrap();
        let mut first = content.partial("sha256:x").unwrap();
        assert!(first.is_empty());
        first.write_all(b"hello ").unwrap();
        drop((first, content));

        let content = Content::open(root.path()).unwrap();
        assert_eq!(content.partials().unwrap()[0].key, "sha256:x");
        assert_eq!(content.partials().unwrap()[0].length, 6);
        let mut second = content.partial("sha256:x").unwrap();
        assert_eq!(second.len(), 6);
        second.write_all(b"world").unwrap();
        assert_eq!(second.finish(&content, Some(&wanted)).unwrap(), (wanted, 11));
        content.sync([wanted]).unwrap();
        assert_eq!(content.read(&wanted, 100).unwrap(), b"hello world");
        assert!(content.partials().unwrap().is_empty());
    }

    #[test]
    fn a_kept_blob_that_was_of_no_use_is_there_for_the_next_attempt() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let name = crate::digest(b"whole");
        let mut partial = content.partial("k").unwrap();
        partial.write_all(b"whole").unwrap();
        partial.finish_and_keep(&content, &name).unwrap();
        assert_eq!(content.read(&name, 5).unwrap(), b"whole");
        content.delete(&name).unwrap();
        let again = content.partial("k").unwrap();
        assert_eq!(again.len(), 5);
        again.finish_and_keep(&content, &name).unwrap();
        content.delete_partial("k").unwrap();
        assert_eq!(content.read(&name, 5).unwrap(), b"whole");
        let other = content.partial("k").unwrap();
        assert!(other.finish_and_keep(&content, &name).is_err());
        assert!(content.partials().unwrap().is_empty());
    }

    #[test]
    fn going_on_changes_nothing_that_has_come_of_it() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let name = crate::digest(b"whole");
        let mut partial = content.partial("k").unwrap();
        partial.write_all(b"whole").unwrap();
        partial.finish_and_keep(&content, &name).unwrap();
        let mut again = content.partial("k").unwrap();
        assert_eq!(again.len(), 5);
        again.write_all(b" and more").unwrap();
        again.restart().unwrap();
        assert_eq!(content.read(&name, 100).unwrap(), b"whole");
    }

    #[test]
    fn a_blob_with_another_digest_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let mut partial = content.partial("k").unwrap();
        partial.write_all(b"x").unwrap();
        let error = partial.finish(&content, Some(&crate::digest(b"y"))).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(content.partials().unwrap().is_empty());
        assert!(content.list().unwrap().is_empty());
    }

    #[test]
    fn a_partial_blob_may_start_over() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let mut partial = content.partial("k").unwrap();
        partial.write_all(b"wrong").unwrap();
        partial.restart().unwrap();
        partial.write_all(b"right").unwrap();
        assert_eq!(partial.finish(&content, None).unwrap(), (crate::digest(b"right"), 5));
    }

    #[test]
    fn one_writer_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let held = content.partial("k").unwrap();
        assert_eq!(content.partial("k").unwrap_err().kind(), Kind::Conflict);
        assert_eq!(content.delete_partial("k").unwrap_err().kind(), Kind::Conflict);
        drop(held);
        assert!(content.has_partial("k").unwrap());
        content.partial("k").unwrap().discard().unwrap();
        assert!(!content.has_partial("k").unwrap());
        content.delete_partial("k").unwrap();
    }

    #[test]
    fn a_key_is_one_file_name() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        for bad in ["", ".", "..", ".x", "a/b", "a\0", "ä", &"k".repeat(KEY_MAX + 1)] {
            assert!(content.partial(bad).is_err(), "{bad}");
        }
        content.partial(&"k".repeat(KEY_MAX)).unwrap();
    }
}
