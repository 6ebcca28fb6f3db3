//! Images: the component that callers hold. The work is `rorqual_image`'s; here it is run on blocking threads, told which
//! containers use what, and its events are published.

use crate::{
    budget::{self, Collect, Collected},
    events::Scope,
    limits::STREAM_QUEUE,
    parts::{Parts, blocking},
    registry::{Access, Blocking, Credentials, Registry},
    stream::ByteStream,
};
use bytes::Bytes;
use rorqual_error::{Error, Result};
use rorqual_image::{
    DeleteOptions, Deleted, HistoryEntry, ImageEvent, ImportOptions, Inspect, LayerStep, ListOptions, Progress, Pruned,
    PullOptions, PushOptions, Summary,
};
use rorqual_oci::image::Descriptor;
use rorqual_types::{Digest, Filters, Platform, Reference};
use std::{
    io::{self, Write},
    sync::Arc,
};
use tokio::{io::AsyncRead, sync::mpsc};
use tokio_util::io::SyncIoBridge;

/// The images of this node. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Images {
    pub(crate) parts: Arc<Parts>,
}

/// What a load, import, pull or push reports as it goes.
#[derive(Clone, Debug)]
pub enum Step {
    /// A line for the user.
    Progress(Progress),
    /// The imported image; the last item of a successful import.
    Imported(Digest),
    /// One manifest was pushed, since not all of its index is here.
    PushedInstead {
        /// The index.
        index: Box<Descriptor>,
        /// The manifest.
        manifest: Box<Descriptor>,
    },
}

/// The reports of a load, import, pull or push. Loads and imports go on when this is dropped.
#[derive(Debug)]
pub struct Steps {
    /// A step that was waited for already.
    first: Option<Step>,
    steps: mpsc::Receiver<Result<Step>>,
}

/// What to pull.
#[derive(Clone, Debug)]
pub struct Pull {
    /// The name.
    pub reference: Reference,
    /// The platform; the host's where not given.
    pub platform: Option<Platform>,
    /// For the registry that the name has.
    pub credentials: Credentials,
}

/// What to push.
#[derive(Clone, Debug)]
pub struct Push {
    /// The name, with or without a tag.
    pub reference: Reference,
    /// Only the manifest of this platform.
    pub platform: Option<Platform>,
    /// For the registry that the name has.
    pub credentials: Credentials,
}

impl Steps {
    /// The next report; an error is the last one. `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Step>> {
        match self.first.take() {
            Some(step) => Some(Ok(step)),
            None => self.steps.recv().await,
        }
    }
}

impl Images {
    /// The images, as `docker images` lists them, with the containers that use each counted.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Summary>> {
        self.run(move |parts| parts.images.list(&options)).await
    }

    /// One image. `manifests` fills the list of manifests.
    pub async fn inspect(&self, name: &str, platform: Option<Platform>, manifests: bool) -> Result<Inspect> {
        let name = name.to_owned();
        self.run(move |parts| parts.images.inspect(&name, platform.as_ref(), manifests)).await
    }

    /// Its history, newest first.
    pub async fn history(&self, name: &str, platform: Option<Platform>) -> Result<Vec<HistoryEntry>> {
        let name = name.to_owned();
        self.run(move |parts| parts.images.history(&name, platform.as_ref())).await
    }

    /// Gives it another name.
    pub async fn tag(&self, name: &str, target: Reference) -> Result<()> {
        let name = name.to_owned();
        self.run(move |parts| {
            let events = parts.images.tag(&name, &target)?;
            publish(parts, events);
            Ok(())
        })
        .await
    }

    /// Removes a name, or the image.
    pub async fn delete(&self, name: &str, options: DeleteOptions) -> Result<Deleted> {
        let name = name.to_owned();
        self.run(move |parts| {
            let mut deleted = parts.images.delete(&name, options, &|| parts.image_users())?;
            publish(parts, std::mem::take(&mut deleted.events));
            Ok(deleted)
        })
        .await
    }

    /// Removes images that nothing uses.
    pub async fn prune(&self, filters: Filters) -> Result<Pruned> {
        self.run(move |parts| {
            let mut pruned = parts.images.prune(&filters, &|| parts.image_users())?;
            publish(parts, std::mem::take(&mut pruned.events));
            let reclaimed = pruned.reclaimed.to_string();
            parts.events.publish(Scope::Image, "prune", "", [("reclaimed".to_owned(), reclaimed)].into());
            Ok(pruned)
        })
        .await
    }

    /// Removes what the disk budget says, or what takes images down to a size.
    pub async fn collect(&self, what: Collect) -> Result<Collected> {
        self.run(move |parts| budget::collect(parts, what)).await
    }

    /// Loads an archive while it is received.
    pub fn load(&self, archive: impl AsyncRead + Send + Unpin + 'static, platform: Option<Platform>) -> Steps {
        self.steps(archive, move |parts, archive, report| {
            let progress = &mut |progress| report(Step::Progress(progress));
            let events = parts.images.load(archive, platform.as_ref(), progress)?;
            publish(parts, events);
            Ok(())
        })
    }

    /// Makes an image of one layer from a tarball while it is received.
    pub fn import(&self, archive: impl AsyncRead + Send + Unpin + 'static, options: ImportOptions) -> Steps {
        self.steps(archive, move |parts, archive, report| {
            let progress = &mut |progress| report(Step::Progress(progress));
            let (digest, events) = parts.images.import(archive, options, progress)?;
            publish(parts, events);
            report(Step::Imported(digest));
            Ok(())
        })
    }

    /// The archive of one or many images. Names are checked before the first byte.
    pub async fn save(&self, names: Vec<String>, platform: Option<Platform>) -> Result<ByteStream> {
        let parts = self.parts.clone();
        let (names, parts) = blocking(move || {
            for name in &names {
                parts.images.inspect(name, platform.as_ref(), false)?;
            }
            Ok(((names, platform), parts))
        })
        .await?;
        let (sender, chunks) = mpsc::channel(STREAM_QUEUE);
        tokio::task::spawn_blocking(move || {
            let mut out = io::BufWriter::with_capacity(64 << 10, ChunkWriter { sender: sender.clone() });
            let saved = parts.images.save(&names.0, names.1.as_ref(), &mut out);
            let saved = saved.and_then(|events| {
                out.flush().map_err(|error| Error::internal("send the archive").caused_by(error))?;
                Ok(events)
            });
            match saved {
                Ok(events) => publish(&parts, events),
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                }
            }
        });
        Ok(ByteStream { chunks })
    }

    /// Pulls an image, or every tag of its repository where the name has none. An error before anything was fetched is
    /// the call's; what happens later is told by the steps. Dropping them ends the pull.
    pub async fn pull(&self, pull: Pull) -> Result<Steps> {
        let named = pull.reference.tag().is_some() || pull.reference.digest().is_some();
        let references = match named {
            true => vec![pull.reference.clone()],
            false => {
                let tags =
                    Registry { parts: self.parts.clone() }.tags(&pull.reference, pull.credentials.clone()).await?;
                tags.iter().map(|tag| pull.reference.with_tag(tag)).collect::<Result<_>>()?
            }
        };
        let mut steps = self.remote(move |parts, cancelled, report| {
            for reference in &references {
                pull_one(parts, reference, &pull, cancelled, report)?;
            }
            Ok(())
        });
        match steps.next().await {
            Some(Err(error)) => Err(error),
            first => Ok(Steps { first: first.transpose()?, ..steps }),
        }
    }

    /// Pushes an image, or every tag of its repository where the name has none. Dropping the steps ends the push.
    pub fn push(&self, push: Push) -> Steps {
        self.remote(move |parts, cancelled, report| {
            let name = push.reference.name();
            report(Step::Progress(status("", format!("The push refers to repository [{name}]"))));
            let references = match push.reference.tag() {
                Some(_) => vec![push.reference.clone()],
                None => parts.images.tags_of(&push.reference),
            };
            if references.is_empty() {
                let shown = push.reference.familiar_name();
                return Err(Error::not_found(format!("An image does not exist locally with the tag: {shown}")));
            }
            for reference in &references {
                push_one(parts, reference, &push, cancelled, report)?;
            }
            Ok(())
        })
    }

    /// Work with a registry on a thread of its own, which ends when nobody listens.
    fn remote(
        &self,
        work: impl FnOnce(&Parts, &(dyn Fn() -> bool + Sync), &mut (dyn FnMut(Step) + Send)) -> Result<()> + Send + 'static,
    ) -> Steps {
        let parts = self.parts.clone();
        let (sender, steps) = mpsc::channel(STREAM_QUEUE);
        let last = sender.clone();
        let work = tokio::task::spawn_blocking(move || {
            let report = &mut |step| match step {
                // Of these the next one says more; a client that does not read must not hold the work up.
                Step::Progress(Progress::Layer {
                    step: LayerStep::Downloading { .. } | LayerStep::Extracting { .. } | LayerStep::Pushing { .. },
                    ..
                }) => drop(sender.try_send(Ok(step))),
                step => drop(sender.blocking_send(Ok(step))),
            };
            work(&parts, &|| sender.is_closed(), report)
        });
        tokio::spawn(async move {
            let ended =
                work.await.unwrap_or_else(|cause| Err(Error::internal("the transfer broke off").caused_by(cause)));
            if let Err(error) = ended {
                let _ = last.send(Err(error)).await;
            }
        });
        Steps { first: None, steps }
    }

    /// The containers that use the image with this id.
    pub fn users(&self, image: &Digest) -> Vec<rorqual_types::ContainerId> {
        self.parts.image_users().into_iter().filter(|user| user.image == *image).map(|user| user.id).collect()
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Parts) -> Result<T> + Send + 'static) -> Result<T> {
        let parts = self.parts.clone();
        blocking(move || work(&parts)).await
    }

    fn steps(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        work: impl FnOnce(&Parts, &mut (dyn io::Read + Send), &mut (dyn FnMut(Step) + Send)) -> Result<()> + Send + 'static,
    ) -> Steps {
        let parts = self.parts.clone();
        let (sender, steps) = mpsc::channel(STREAM_QUEUE);
        let mut archive = SyncIoBridge::new(archive);
        tokio::task::spawn_blocking(move || {
            // A client that went away does not stop the load: its body has ended then, which is an error of its own.
            let report = &mut |step| {
                let _ = sender.blocking_send(Ok(step));
            };
            if let Err(error) = work(&parts, &mut archive, report) {
                let _ = sender.blocking_send(Err(error));
            }
            parts.grown.notify_one();
        });
        Steps { first: None, steps }
    }
}

fn status(id: impl Into<String>, status: impl Into<String>) -> Progress {
    Progress::Status { id: id.into(), status: status.into(), current: 0, total: 0 }
}

fn pull_one(
    parts: &Parts,
    reference: &Reference,
    pull: &Pull,
    cancelled: &(dyn Fn() -> bool + Sync),
    report: &mut (dyn FnMut(Step) + Send),
) -> Result<()> {
    let source = Blocking::new(&parts.registries(), reference, pull.credentials.clone(), Access::Pull)?;
    let policy = parts.pull_policy();
    let options = PullOptions {
        reference,
        platform: pull.platform.as_ref(),
        downloads: parts.config.max_downloads,
        policy: &|reference, target, chosen| policy.check(reference, target, chosen),
        cancelled,
    };
    let pulled = parts.images.pull(&source, &options, &mut |progress| report(Step::Progress(progress)))?;
    report(Step::Progress(status("", format!("Digest: {}", pulled.target.digest))));
    let outcome = if pulled.newer { "Downloaded newer image for" } else { "Image is up to date for" };
    report(Step::Progress(status("", format!("Status: {outcome} {}", reference.familiar()))));
    publish(parts, pulled.events);
    parts.grown.notify_one();
    Ok(())
}

fn push_one(
    parts: &Parts,
    reference: &Reference,
    push: &Push,
    cancelled: &(dyn Fn() -> bool + Sync),
    report: &mut (dyn FnMut(Step) + Send),
) -> Result<()> {
    let destination = Blocking::new(&parts.registries(), reference, push.credentials.clone(), Access::Push)?;
    let options =
        PushOptions { reference, platform: push.platform.as_ref(), uploads: parts.config.max_uploads, cancelled };
    let pushed = parts.images.push(&destination, &options, &mut |progress| report(Step::Progress(progress)))?;
    let (digest, size) = (pushed.target.digest, pushed.target.size);
    let tag = reference.tag().unwrap_or_default();
    report(Step::Progress(status("", format!("{tag}: digest: {digest} size: {size}"))));
    if let Some(index) = pushed.instead_of {
        report(Step::PushedInstead { index: Box::new(index), manifest: Box::new(pushed.target) });
    }
    publish(parts, pushed.events);
    Ok(())
}

pub(crate) fn publish(parts: &Parts, events: Vec<ImageEvent>) {
    for event in events {
        parts.events.publish(Scope::Image, event.action, event.id, event.attributes);
    }
}

/// Writes into a channel of chunks.
struct ChunkWriter {
    sender: mpsc::Sender<Result<Bytes>>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
