//! Blobs on their way from a registry: each once, whoever asks for it, and continued where an earlier attempt ended.

use crate::{Images, oci::Descriptor, remote::Source};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_snapshot::check_free_space;
use rorqual_types::Digest;
use rustix::{
    io::Errno,
    pipe::{SpliceFlags, splice},
};
use std::{
    collections::HashMap,
    fs::File,
    io::Write as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Between two looks at a blob that another operation is about to begin or has just finished.
const CLAIM_WAIT: Duration = Duration::from_millis(5);
/// How often a waiting operation looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(200);
/// A download that brought less than [`SLOW_BYTES`] in this time is handed over to an operation that waits for it and has
/// not had it yet: its own registry may be faster, and goes on at the same byte.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// 100 KiB/s is below any line that images are pulled over, and above a registry that only drips.
const SLOW_BYTES: u64 = 1 << 20;
/// How long who hands a download over stays out of the way.
const GIVE_WAY: Duration = Duration::from_millis(250);
/// How long what an interrupted pull has fetched waits for the next one.
pub(crate) const PARTIAL_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often the free space is looked at.
const SPACE_CHECK_BYTES: u64 = 64 << 20;
/// What is passed on at once of a file that another thread writes; as much as a pipe may hold.
pub(crate) const FOLLOW_BYTES: usize = 1 << 20;

/// Downloads under way, by digest.
pub(crate) type Downloads = Mutex<HashMap<Digest, Arc<Download>>>;

/// One download, seen by its owner and by all who wait for it.
#[derive(Debug)]
pub(crate) struct Download {
    size: u64,
    /// The file that is written, open for reading.
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Bytes that can be read.
    available: u64,
    /// Whether the end was reached and the digest was right; `None` as long as it goes on.
    whole: Option<bool>,
    /// Whether another operation waits and would rather go on by itself.
    wanted: bool,
}

impl Download {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until more than `seen` bytes are there or the download has ended; at most [`LOOK`].
    fn wait(&self, seen: u64) -> State {
        let waiting = |state: &mut State| state.available <= seen && state.whole.is_none();
        let (state, _) =
            self.changed.wait_timeout_while(self.lock(), LOOK, waiting).unwrap_or_else(PoisonError::into_inner);
        *state
    }

    /// Gives the bytes to the pipe `out` as they arrive, to their end; `at` counts them.
    ///
    /// # Errors
    /// Where the download failed, or nobody reads the pipe any more.
    pub(crate) fn follow(&self, at: &mut u64, out: &File) -> Result<()> {
        loop {
            let state = self.wait(*at);
            while *at < state.available {
                let length = usize::try_from(state.available - *at).unwrap_or(usize::MAX).min(FOLLOW_BYTES);
                // The kernel hands its own pages on: nothing is copied here.
                match splice(&self.file, Some(at), out, None, length, SpliceFlags::empty()) {
                    Ok(0) => return Err(Error::internal("a blob that is being downloaded has become shorter")),
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error).context("pass on a blob"),
                }
            }
            match state.whole {
                Some(true) if *at >= self.size => return Ok(()),
                Some(false) => return Err(Error::unavailable("the download failed")),
                _ => {}
            }
        }
    }
}

/// What a download is told by the operation that asks for it.
pub(crate) struct Wishes<'a> {
    /// Whether the operation was given up.
    pub(crate) cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Told when bytes begin to come, from this operation or another.
    pub(crate) begun: &'a mut (dyn FnMut(&Arc<Download>) + Send),
    /// Told the bytes that are there.
    pub(crate) progress: &'a mut (dyn FnMut(u64) + Send),
}

pub(crate) fn cancelled() -> Error {
    Error::unavailable("context canceled")
}

/// How a blob that is not here comes.
enum Join<'a> {
    /// Another operation fetches it.
    Theirs(Arc<Download>),
    /// This one does.
    Ours(Owner<'a>, Box<rorqual_content::Partial>),
    /// It has just come, or another operation is about to begin: look again.
    Again,
}

/// Who carries a download out. Dropped, even by a panic, it ends it for all who wait.
struct Owner<'a> {
    downloads: &'a Downloads,
    digest: Digest,
    download: Arc<Download>,
    whole: bool,
}

impl Owner<'_> {
    fn ended(mut self, whole: bool) {
        self.whole = whole;
    }
}

impl Drop for Owner<'_> {
    fn drop(&mut self) {
        lock(self.downloads).remove(&self.digest);
        let whole = self.whole;
        self.download.update(|state| state.whole = Some(whole));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Images {
    /// Sees to it that the blob is here, verified and on the disk. The caller holds a lease on it.
    pub(crate) fn download(&self, source: &dyn Source, blob: &Descriptor, wishes: &mut Wishes<'_>) -> Result<()> {
        let mut was_ours = false;
        loop {
            if let Some(size) = self.content.size(&blob.digest)? {
                return if size == blob.size { Ok(()) } else { Err(lying(blob, size)) };
            }
            if (wishes.cancelled)() {
                return Err(cancelled());
            }
            match self.join(blob)? {
                // What it brings is not followed: where it fails, our own attempt begins anew, with our credentials.
                Join::Theirs(download) => self.wait_for(&download, was_ours, wishes)?,
                Join::Ours(owner, partial) => {
                    (wishes.begun)(&owner.download);
                    let download = owner.download.clone();
                    let result = self.receive(source, blob, *partial, &download, wishes);
                    owner.ended(result.is_ok());
                    if result.is_ok() || !download.lock().wanted || (wishes.cancelled)() {
                        return result;
                    }
                    was_ours = true;
                    self.give_way(&blob.digest);
                }
                Join::Again => std::thread::sleep(CLAIM_WAIT),
            }
        }
    }

    /// The download of the blob that is under way, or a new one, which is the caller's to carry out.
    fn join(&self, blob: &Descriptor) -> Result<Join<'_>> {
        if let Some(download) = lock(&self.downloads).get(&blob.digest) {
            return Ok(Join::Theirs(download.clone()));
        }
        // Not under the lock: what is there already is hashed again.
        let mut partial = match self.content.partial(&blob.digest.hex()) {
            Err(error) if error.kind() == Kind::Conflict => return Ok(Join::Again),
            partial => partial?,
        };
        // A blob is linked before its writer lets go of the partial blob. Ours may be that very file, not to be written.
        if self.content.size(&blob.digest)?.is_some() {
            return Ok(Join::Again);
        }
        if partial.len() > blob.size {
            partial.restart()?;
        }
        let state = Mutex::new(State { available: partial.len(), whole: None, wanted: false });
        let file = partial.reader()?;
        let download = Arc::new(Download { size: blob.size, file, state, changed: Condvar::new() });
        lock(&self.downloads).insert(blob.digest, download.clone());
        Ok(Join::Ours(
            Owner { downloads: &self.downloads, digest: blob.digest, download, whole: false },
            Box::new(partial),
        ))
    }

    /// Waits until another operation has begun what was handed over, or does not.
    fn give_way(&self, digest: &Digest) {
        let until = Instant::now() + GIVE_WAY;
        while Instant::now() < until && !lock(&self.downloads).contains_key(digest) {
            std::thread::sleep(CLAIM_WAIT);
        }
    }

    /// Waits until the download has ended. One that is very slow is asked to be handed over, unless it `was_ours`.
    fn wait_for(&self, download: &Download, was_ours: bool, wishes: &mut Wishes<'_>) -> Result<()> {
        let mut seen: u64 = 0;
        let (mut since, mut from) = (Instant::now(), download.lock().available);
        loop {
            if !was_ours && since.elapsed() >= self.patience {
                if seen.saturating_sub(from) < SLOW_BYTES {
                    tracing::info!("a download is slow; another operation goes on with it");
                    download.update(|state| state.wanted = true);
                }
                (since, from) = (Instant::now(), seen);
            }
            let state = download.wait(seen);
            if state.available > seen {
                seen = state.available;
                (wishes.progress)(seen);
            }
            if state.whole.is_some() {
                return Ok(());
            }
            if (wishes.cancelled)() {
                return Err(cancelled());
            }
        }
    }

    fn receive(
        &self,
        source: &dyn Source,
        blob: &Descriptor,
        mut partial: rorqual_content::Partial,
        download: &Download,
        wishes: &mut Wishes<'_>,
    ) -> Result<()> {
        let mut until_check = 0;
        let offset = partial.len();
        if offset > 0 {
            tracing::info!(digest = %blob.digest, offset, size = blob.size, "download continued");
        }
        if offset < blob.size {
            source.fetch(blob, offset, &mut |bytes| {
                if (wishes.cancelled)() {
                    return Err(cancelled());
                }
                if download.lock().wanted {
                    return Err(Error::unavailable("another operation goes on with the download"));
                }
                if until_check < bytes.len() as u64 {
                    check_free_space(self.snapshots.layers_dir())?;
                    until_check = SPACE_CHECK_BYTES;
                }
                until_check -= bytes.len() as u64;
                if partial.len() + bytes.len() as u64 > blob.size {
                    return Err(Error::invalid(format!("blob {} is longer than {} bytes", blob.digest, blob.size)));
                }
                partial.write_all(bytes).with_context(|| format!("write blob {}", blob.digest))?;
                let available = partial.len();
                download.update(|state| state.available = available);
                (wishes.progress)(available);
                Ok(())
            })?;
        }
        if partial.len() != blob.size {
            // Kept: the next attempt goes on from here.
            let got = partial.len();
            return Err(Error::unavailable(format!("blob {} ended after {got} of {} bytes", blob.digest, blob.size)));
        }
        if offset > 0 && partial.digest() != blob.digest {
            // What was kept may be of another source, or of a file that a power cut tore.
            partial.discard()?;
            return Err(Error::unavailable(format!(
                "what an earlier attempt fetched of blob {} is damaged and was removed; try again",
                blob.digest
            )));
        }
        // Where the pull fails all the same, the blob goes and this stays for the next one.
        partial.finish_and_keep(&self.content, &blob.digest)?;
        self.content.sync([blob.digest])
    }
}

impl Images {
    /// Forgets what was kept of blobs that now belong to an image.
    pub(crate) fn forget_partials(&self, blobs: &[(Digest, u64)]) {
        for (digest, _) in blobs {
            // One that another pull writes is that one's to forget.
            if let Err(error) = self.content.delete_partial(&digest.hex())
                && error.kind() != Kind::Conflict
            {
                tracing::warn!(%digest, %error, "what was kept of a download stays until the next start");
            }
        }
    }

    /// Removes what interrupted pulls have left that is older than `age`, or belongs to an image by now. Gives the bytes.
    pub(crate) fn sweep_partials(&self, age: Duration) -> Result<u64> {
        let mut freed = 0;
        for partial in self.content.partials()? {
            let whole = Digest::from_hex(&partial.key).is_ok_and(|digest| self.state().blobs.contains_key(&digest));
            let leased = Digest::from_hex(&partial.key).is_ok_and(|digest| self.state().leases.contains_key(&digest));
            if !leased && (whole || partial.age >= age) && self.content.delete_partial(&partial.key).is_ok() {
                freed += if whole { 0 } else { partial.length };
            }
        }
        Ok(freed)
    }
}

fn lying(blob: &Descriptor, size: u64) -> Error {
    Error::invalid(format!("{} has {size} bytes where its descriptor says {}", blob.digest, blob.size))
}
