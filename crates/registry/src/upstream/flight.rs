//! Blobs on their way from upstream. One fetch of a blob serves everybody who asks for it meanwhile, each at their own
//! pace: they read what has come from the file that it is written to.

use super::{Found, Upstream};
use crate::{
    body::Source,
    limits::{FLIGHTS, READ, TELL},
    name::Repository,
    records,
    refusal::{Code, Refusal},
    registry::Registry,
    storage::Upload,
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use rorqual_error::{Context, Error, Result};
use rorqual_oci::image::Descriptor;
use rorqual_types::Digest;
use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Locks under which fetches begin; blobs that share one wait for each other needlessly, and that is all.
const STARTS: usize = 64;

/// The fetches under way.
#[derive(Debug)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Digest, Arc<Flight>>>,
    starts: Vec<tokio::sync::Mutex<()>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    root: PathBuf,
}

/// One fetch.
#[derive(Debug)]
pub(crate) struct Flight {
    size: u64,
    /// What has come, from byte 0 on.
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone, Copy, Debug)]
enum Progress {
    /// So many bytes have come. Never all: nobody gets the last one before the blob is known to be what it should be.
    Bytes(u64),
    /// It is kept.
    Whole,
    Failed,
}

impl Flights {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            under_way: Mutex::default(),
            starts: std::iter::repeat_with(tokio::sync::Mutex::default).take(STARTS).collect(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            root,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Flight>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all fetches; what has come of them stays, and the next fetch goes on there.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Flight {
    /// The length of the blob.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes `start..end`, as they come.
    pub(crate) fn source(&self, start: u64, end: u64) -> Source {
        let (file, size, progress) = (self.file.clone(), self.size, self.progress.clone());
        let next = move |(at, mut progress): (u64, watch::Receiver<Progress>)| {
            let file = file.clone();
            async move {
                if at >= end {
                    return Ok(None);
                }
                let there = come(&mut progress, at, size).await?.min(end);
                let length = usize::try_from(there - at).unwrap_or(READ).min(READ);
                let read = tokio::task::spawn_blocking(move || {
                    let mut bytes = BytesMut::zeroed(length);
                    file.read_exact_at(&mut bytes, at).map(|()| bytes.freeze())
                });
                let bytes = read.await.map_err(io::Error::other)??;
                Ok(Some((bytes, (at + length as u64, progress))))
            }
        };
        Source::Stream(stream::try_unfold((start, progress), next).boxed())
    }
}

/// Waits for bytes beyond `at`; returns how many have come.
async fn come(progress: &mut watch::Receiver<Progress>, at: u64, size: u64) -> io::Result<u64> {
    let beyond = |progress: &Progress| !matches!(progress, Progress::Bytes(count) if *count <= at);
    match *progress.wait_for(beyond).await.map_err(io::Error::other)? {
        Progress::Bytes(count) => Ok(count),
        Progress::Whole => Ok(size),
        Progress::Failed => Err(io::Error::other("the blob did not come whole from upstream")),
    }
}

/// Joins the fetch of a blob, or begins one.
pub(super) async fn join(
    registry: &Arc<Registry>,
    upstream: &Upstream,
    repository: rorqual_distribution::Repository,
    name: &Repository,
    descriptor: Descriptor,
) -> crate::refusal::Result<Found> {
    let (flights, digest, size) = (&upstream.flights, descriptor.digest, descriptor.size);
    let place = usize::from(digest.bytes()[0]) % STARTS;
    let _start = flights.starts[place].lock().await;
    if let Some(flight) = flights.lock().get(&digest).filter(|flight| flight.size == size) {
        return Ok(Found::Coming(flight.clone()));
    }
    if record(registry, name, &digest, size).await? {
        return Ok(Found::Kept(size));
    }
    if flights.lock().len() >= FLIGHTS {
        return Err(Refusal::new(Code::TooManyRequests, format!("{FLIGHTS} blobs are on their way from upstream")));
    }
    let fetch = Fetch::begin(registry, &flights.root, name, descriptor).await?;
    let (tell, progress) = watch::channel(Progress::Bytes(fetch.told));
    let flight = Arc::new(Flight { size, file: fetch.file.clone(), progress });
    flights.lock().insert(digest, flight.clone());
    let landing = Landing { registry: registry.clone(), digest };
    let stop = flights.stop.clone();
    flights.tasks.spawn(async move {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Error::unavailable("the registry stops")),
            outcome = fetch.run(&landing.registry, &repository, &tell) => outcome,
        };
        tell.send_replace(match &outcome {
            Ok(()) => Progress::Whole,
            Err(_) => Progress::Failed,
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, %digest, "a blob did not come from upstream; the next request for it goes on");
        }
    });
    Ok(Found::Coming(flight))
}

/// Records that the repository has a blob, where the storage has it.
async fn record(registry: &Registry, name: &Repository, digest: &Digest, size: u64) -> Result<bool> {
    let _push = registry.lock(name).read().await;
    let _content = registry.content.read().await;
    registry.leases.touch(name, &[*digest]);
    if registry.storage.blob_size(*digest).await? != Some(size) {
        return Ok(false);
    }
    registry.storage.apply(vec![records::put_repository(name), records::put_blob(name, digest, size)?]).await?;
    Ok(true)
}

/// Takes a fetch off the table when its task ends, however that ends.
struct Landing {
    registry: Arc<Registry>,
    digest: Digest,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some(upstream) = &self.registry.upstream {
            upstream.flights.lock().remove(&self.digest);
        }
    }
}

/// The work of one fetch.
struct Fetch {
    name: Repository,
    descriptor: Descriptor,
    upload: Box<dyn Upload>,
    /// What has come, from byte 0 on.
    file: Arc<File>,
    /// Where the upload is no such file: bytes that `file` has not got yet.
    spooled: Option<BytesMut>,
    /// Bytes that `file` has.
    told: u64,
}

impl Fetch {
    /// Takes up what an earlier fetch left.
    async fn begin(registry: &Registry, root: &Path, name: &Repository, descriptor: Descriptor) -> Result<Self> {
        let (storage, key) = (&registry.storage, format!("proxy-{}", descriptor.digest.hex()));
        let mut upload = storage.begin_or_resume(key.clone()).await?;
        if upload.length() > descriptor.size {
            upload.discard().await?;
            upload = storage.begin(key.clone()).await?;
        }
        let (file, spooled) = match upload.file()? {
            Some(file) => (file, None),
            None => {
                if upload.length() > 0 {
                    upload.discard().await?;
                    upload = storage.begin(key.clone()).await?;
                }
                (unnamed(&root.join(key))?, Some(BytesMut::new()))
            }
        };
        let told = upload.length().min(descriptor.size.saturating_sub(1));
        Ok(Self { name: name.clone(), descriptor, upload, file: Arc::new(file), spooled, told })
    }

    async fn run(
        mut self,
        registry: &Registry,
        repository: &rorqual_distribution::Repository,
        tell: &watch::Sender<Progress>,
    ) -> Result<()> {
        let received = self.receive(repository, tell).await;
        if received.is_err() {
            // Whoever asks next goes on with what has come, as far as that could be written.
            let _ = self.upload.settle().await;
            return received;
        }
        let (wanted, size) = (self.descriptor.digest, self.descriptor.size);
        let digest = self.upload.digest().await?;
        if digest != wanted {
            self.upload.discard().await?;
            return Err(Error::invalid(format!("upstream sent {digest} where {wanted} was asked for")));
        }
        let _push = registry.lock(&self.name).read().await;
        let _content = registry.content.read().await;
        registry.leases.touch(&self.name, &[digest]);
        self.upload.publish().await?;
        let changes = vec![records::put_repository(&self.name), records::put_blob(&self.name, &digest, size)?];
        registry.storage.apply(changes).await
    }

    async fn receive(
        &mut self,
        repository: &rorqual_distribution::Repository,
        tell: &watch::Sender<Progress>,
    ) -> Result<()> {
        let mut download = repository.fetch(&self.descriptor, self.upload.length()).digest_checked_by_receiver();
        while let Some(bytes) = download.chunk().await? {
            if let Some(spooled) = &mut self.spooled {
                spooled.extend_from_slice(&bytes);
            }
            self.upload.write(bytes).await?;
            if self.upload.length() - self.told >= TELL {
                self.show().await?;
                tell.send_replace(Progress::Bytes(self.told));
            }
        }
        self.show().await
    }

    /// Sees to it that `file` has what has come.
    async fn show(&mut self) -> Result<()> {
        match &mut self.spooled {
            None => self.upload.settle().await?,
            Some(spooled) => {
                let (file, bytes) = (self.file.clone(), spooled.split().freeze());
                let at = self.upload.length() - bytes.len() as u64;
                spool(file, bytes, at).await?;
            }
        }
        self.told = self.upload.length().min(self.descriptor.size.saturating_sub(1));
        Ok(())
    }
}

async fn spool(file: Arc<File>, bytes: Bytes, at: u64) -> Result<()> {
    let written = tokio::task::spawn_blocking(move || file.write_all_at(&bytes, at));
    written.await.context("a task of the disk failed")?.context("write what comes from upstream")
}

/// A new file that has no name any more.
fn unnamed(path: &Path) -> Result<File> {
    let context = || format!("make {}", path.display());
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).with_context(context)?;
    fs::remove_file(path).with_context(context)?;
    Ok(file)
}
