//! The layers of one pull: threads that download, and the caller's that unpacks what arrives.

use crate::{
    Images, LayerStep, Progress, PullOptions,
    commit::Lease,
    download::{Download, FOLLOW_BYTES, Wishes},
    name::short,
    oci::Descriptor,
    remote::Source,
    resolve::Chosen,
    unpack::NewLayers,
};
use rorqual_error::{Context, Error, Result};
use rorqual_snapshot::LayerKind;
use rorqual_types::Digest;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::{
    collections::HashSet,
    fs::File,
    io::{Seek, SeekFrom},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{Builder, Scope},
    time::Instant,
};

/// Bytes between two lines about one layer.
const REPORT_BYTES: u64 = 1 << 20;

/// What is known of a layer's download.
#[derive(Clone, Debug)]
enum Slot {
    Waiting,
    Arriving(Arc<Download>),
    Here,
    Failed,
}

/// See the module.
pub(super) struct Layers<'a> {
    images: &'a Images,
    source: &'a dyn Source,
    chosen: &'a Chosen,
    options: &'a PullOptions<'a>,
    progress: Mutex<&'a mut (dyn FnMut(Progress) + Send)>,
    /// Each blob once: a manifest may name one several times.
    blobs: Vec<&'a Descriptor>,
    /// Those that were here before.
    present: HashSet<Digest>,
    slots: Mutex<Vec<Slot>>,
    changed: Condvar,
    next: AtomicUsize,
    stop: AtomicBool,
    error: Mutex<Option<Error>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Layers<'a> {
    /// The caller holds leases on the layers' blobs.
    pub(super) fn new(
        images: &'a Images,
        source: &'a dyn Source,
        chosen: &'a Chosen,
        options: &'a PullOptions<'a>,
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Result<Self> {
        let mut seen = HashSet::new();
        let blobs: Vec<&Descriptor> = chosen.manifest.layers.iter().filter(|layer| seen.insert(layer.digest)).collect();
        let mut present = HashSet::new();
        let mut slots = Vec::new();
        for blob in &blobs {
            let here = images.content.size(&blob.digest)? == Some(blob.size);
            slots.push(if here { Slot::Here } else { Slot::Waiting });
            present.extend(here.then_some(blob.digest));
        }
        Ok(Self {
            images,
            source,
            chosen,
            options,
            progress: Mutex::new(progress),
            blobs,
            present,
            slots: Mutex::new(slots),
            changed: Condvar::new(),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            error: Mutex::default(),
        })
    }

    /// Downloads and unpacks; what was unpacked is the caller's to record.
    pub(super) fn run(&self, lease: &mut Lease<'_>) -> Result<NewLayers> {
        let missing = self.blobs.len() - self.present.len();
        if missing > 0 {
            for blob in &self.blobs {
                let here = self.present.contains(&blob.digest);
                self.tell(blob, if here { LayerStep::Present } else { LayerStep::Waiting });
            }
        }
        let mut told = HashSet::new();
        let unpacked = std::thread::scope(|scope| {
            for started in 0..missing.min(self.options.downloads.max(1)) {
                let spawned = Builder::new().name("download".into()).spawn_scoped(scope, || self.work());
                if started == 0 && spawned.is_err() {
                    spawned.context("start a thread to download with")?;
                }
            }
            let unpacked = self.unpack(scope, lease, &mut told);
            if unpacked.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            unpacked
        });
        if let Some(error) = lock(&self.error).take() {
            return Err(error);
        }
        let unpacked = unpacked?;
        for blob in
            self.blobs.iter().filter(|blob| !self.present.contains(&blob.digest) && !told.contains(&blob.digest))
        {
            self.tell(blob, LayerStep::Pulled);
        }
        Ok(unpacked)
    }

    fn tell(&self, layer: &Descriptor, step: LayerStep) {
        let mut progress = match step {
            // A client that does not read must not hold up a download that others wait for.
            LayerStep::Downloading { .. } | LayerStep::Extracting { .. } => match self.progress.try_lock() {
                Ok(progress) => progress,
                Err(_) => return,
            },
            _ => lock(&self.progress),
        };
        progress(Progress::Layer { id: short(&layer.digest), step });
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || (self.options.cancelled)()
    }

    fn set(&self, number: usize, state: Slot) {
        if let Some(slot) = lock(&self.slots).get_mut(number) {
            *slot = state;
        }
        self.changed.notify_all();
    }

    /// One thread: takes one blob after the other until none is left or one failed.
    fn work(&self) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(blob) = self.blobs.get(number) else { return };
            if self.present.contains(&blob.digest) {
                continue;
            }
            let downloaded = std::panic::catch_unwind(AssertUnwindSafe(|| self.download(number, blob)));
            match downloaded.unwrap_or_else(|_| Err(Error::internal("a download broke off"))) {
                Ok(()) => self.set(number, Slot::Here),
                Err(error) => {
                    // What comes after the first failure follows from it.
                    if !self.stop.swap(true, Ordering::Relaxed) {
                        *lock(&self.error) = Some(error);
                    }
                    self.set(number, Slot::Failed);
                }
            }
        }
    }

    fn download(&self, number: usize, blob: &Descriptor) -> Result<()> {
        let mut reported = 0;
        let mut wishes = Wishes {
            cancelled: &|| self.stopped(),
            begun: &mut |download| self.set(number, Slot::Arriving(download.clone())),
            progress: &mut |current| {
                if current >= reported + REPORT_BYTES {
                    reported = current;
                    self.tell(blob, LayerStep::Downloading { current, total: blob.size });
                }
            },
        };
        self.images.download(self.source, blob, &mut wishes)?;
        self.tell(blob, LayerStep::Downloaded);
        Ok(())
    }

    fn unpack<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        lease: &mut Lease<'_>,
        told: &mut HashSet<Digest>,
    ) -> Result<NewLayers> {
        let open = |layer: &Descriptor| self.open(scope, layer);
        let layers = &self.chosen.manifest.layers;
        // When each was begun, and the seconds that were told.
        let mut begun: Vec<Option<(Instant, u64)>> = vec![None; layers.len()];
        self.images.unpack_from(self.chosen, &[], lease, &open, &mut |number, position| {
            let (Some(layer), Some(begun)) = (layers.get(number), begun.get_mut(number)) else { return };
            if position.is_none() {
                if !self.present.contains(&layer.digest) && told.insert(layer.digest) {
                    self.tell(layer, LayerStep::Pulled);
                }
                return;
            }
            let (since, told) = begun.get_or_insert_with(|| (Instant::now(), 0));
            let seconds = since.elapsed().as_secs() + 1;
            if seconds > *told {
                *told = seconds;
                self.tell(layer, LayerStep::Extracting { seconds });
            }
        })
    }

    /// The archive of a layer, from the store or as it arrives; and whether its own digest is known to be right.
    fn open<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, layer: &Descriptor) -> Result<(File, bool)> {
        let number = self.blobs.iter().position(|blob| blob.digest == layer.digest);
        let number = number.ok_or_else(|| Error::internal("a layer of another manifest"))?;
        // What is not compressed is stored once, as the blob and as the layer: that takes a whole blob, and nothing is
        // written twice for it.
        if self.images.snapshots.layer_kind() == LayerKind::Archive
            && self.chosen.config.rootfs.diff_ids.contains(&layer.digest)
        {
            self.wait_decided(number);
        }
        match self.wait_for(number) {
            Slot::Here => Ok((self.images.content.open_blob(&layer.digest)?, true)),
            Slot::Arriving(download) => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
                // Larger than usual, so that neither side waits for the other all the time; as it is where that is refused.
                let _ = fcntl_setpipe_size(&write, FOLLOW_BYTES);
                let follow = move || {
                    let mut write = File::from(write);
                    let mut at = 0;
                    if download.follow(&mut at, &write).is_err() && self.wait_decided(number) {
                        // It was handed over, and came by another operation: the rest is in the store. That all of it
                        // is right is seen from the digest of what is unpacked.
                        let _ = self.pass_on(number, at, &mut write);
                    }
                };
                Builder::new().name("follow".into()).spawn_scoped(scope, follow).context("start a thread")?;
                Ok((read.into(), false))
            }
            _ => Err(Error::unavailable("the download failed")),
        }
    }

    /// Waits until a blob is here or has failed, which is told before a reader sees an archive that ends early.
    fn wait_decided(&self, number: usize) -> bool {
        let mut slots = lock(&self.slots);
        loop {
            match slots.get(number) {
                Some(Slot::Here) => return true,
                Some(Slot::Failed) | None => return false,
                Some(Slot::Waiting | Slot::Arriving(_)) => {}
            }
            slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a blob from byte `at` on.
    fn pass_on(&self, number: usize, at: u64, out: &mut File) -> Result<()> {
        let Some(blob) = self.blobs.get(number) else { return Ok(()) };
        let mut file = self.images.content.open_blob(&blob.digest)?;
        file.seek(SeekFrom::Start(at)).context("read a blob")?;
        std::io::copy(&mut file, out).context("pass on a blob").map(drop)
    }

    fn wait_for(&self, number: usize) -> Slot {
        let mut slots = lock(&self.slots);
        loop {
            match slots.get(number) {
                Some(Slot::Waiting) if !self.stop.load(Ordering::Relaxed) => {}
                found => return found.cloned().unwrap_or(Slot::Failed),
            }
            slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
