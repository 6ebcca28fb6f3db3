//! Containers: the component that callers hold. Every container has one task that owns its state (`task.rs`); the
//! methods here find the container, ask its task, and wait for what they were asked to wait for.

mod accounts;
mod control;
mod create;
mod document;
mod exec;
mod handle;
mod index;
mod inspect;
mod list;
mod logs;
mod merge;
mod mounts;
mod names;
mod networking;
mod options;
mod record;
mod recover;
mod remove;
mod restart;
mod start;
mod state;
mod status;
mod stop;
mod task;
mod top;
mod update;
mod users;
mod wait;

pub use options::{
    AttachOptions, CreateOptions, Created, ExecStartOptions, ExecStarted, ListOptions, LogOptions, RemoveOptions,
    Sizes, StopOptions, WaitCondition, WaitResult,
};
pub use wait::Wait;

pub(crate) use create::random;
pub(crate) use exec::{Exec, Execs};
pub(crate) use handle::Handle;
pub(crate) use index::Index;
pub(crate) use inspect::DRIVER;
pub(crate) use merge::host_name;
pub(crate) use mounts::Kind as MountKind;
pub(crate) use record::{Record, Tables};
pub(crate) use recover::recover;
pub(crate) use users::IdRanges;

use crate::{
    detach::parse_detach_keys,
    events::Scope,
    framing::Framing,
    parts::Parts,
    stream::{AttachStream, DetachEvent, LogStream},
};
use jiff::Timestamp;
use rorqual_api_types::container::{Inspect, PruneReport, UpdateRequest, UpdateResponse};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_types::{ContainerName, Filters, Signal};
use start::Streams;
use state::Phase;
use std::sync::Arc;
use task::Command;

/// The containers of this node. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Containers {
    pub(crate) parts: Arc<Parts>,
}

impl Containers {
    fn find(&self, name: &str) -> Result<Arc<Handle>> {
        self.parts.index().find(name).cloned()
    }

    /// Creates a container.
    pub async fn create(&self, options: CreateOptions) -> Result<Created> {
        create::create(&self.parts, options).await
    }

    /// Starts it; `NotModified` where it runs already.
    pub async fn start(&self, name: &str) -> Result<()> {
        self.find(name)?.ask(|reply| Command::Start { by_hand: true, reply }).await
    }

    /// Arms a wait at once; the result comes from [`Wait::finished`].
    pub fn wait(&self, name: &str, condition: WaitCondition) -> Result<Wait> {
        Ok(Wait::new(self.find(name)?.as_ref(), condition))
    }

    /// Opens a session with its streams; of a container that does not run yet, the session begins with its start.
    pub async fn attach(&self, name: &str, options: AttachOptions) -> Result<AttachStream> {
        let handle = self.find(name)?;
        let view = handle.view();
        if view.status.phase.is_paused() {
            return Err(Error::conflict(format!("container {name} is paused, unpause the container before attach")));
        }
        if view.status.phase == Phase::Restarting {
            return Err(Error::conflict(format!(
                "container {name} is restarting, wait until the container is running"
            )));
        }
        let detach_keys = parse_detach_keys(options.detach_keys.as_deref().unwrap_or_default())?;
        let record = view.record.clone();
        let history = if options.logs {
            let past = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
            Some(logs::open(&self.parts, &handle, past).await?.bytes)
        } else {
            None
        };
        let streams = Streams {
            stdin: options.stdin && record.config.open_stdin && options.stream,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        let (reader, writer) = if options.stream {
            handle.ask(|reply| Command::Attach { streams, reply }).await?
        } else {
            // Only the past was asked for: the promise of a session is dropped, and the session ends after it.
            let (reader, writer, _) = crate::stream::Promise::new(false);
            (reader, writer)
        };
        self.parts.events.publish(Scope::Container, "attach", record.id.as_str(), record.attributes());
        let on_detach = DetachEvent {
            events: self.parts.events.clone(),
            action: "detach",
            id: record.id.to_string(),
            attributes: record.attributes(),
        };
        Ok(AttachStream {
            tty: record.config.tty,
            framing: Framing::Kept,
            history,
            reader,
            writer,
            detach_keys,
            close_stdin: record.config.stdin_once,
            on_detach: Some(on_detach),
            exec: None,
        })
    }

    /// What it wrote so far, and what comes while `follow`.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<LogStream> {
        let handle = self.find(name)?;
        logs::open(&self.parts, &handle, options).await
    }

    /// Stops it; `NotModified` where it does not run.
    pub async fn stop(&self, name: &str, options: StopOptions) -> Result<()> {
        let handle = self.find(name)?;
        if !handle.view().status.phase.is_running() {
            return Err(Error::not_modified("container is already stopped"));
        }
        stop::stop(&handle, &options, self.parts.config.stop_timeout_s, false)
            .await
            .with_context(|| format!("cannot stop container: {name}"))
    }

    /// Sends a signal; SIGKILL also waits for the end.
    pub async fn kill(&self, name: &str, signal: Option<Signal>) -> Result<()> {
        let attempt = || format!("cannot kill container: {name}");
        let handle = self.find(name).with_context(attempt)?;
        self.kill_handle(&handle, signal.unwrap_or(Signal::KILL)).await.with_context(attempt)
    }

    async fn kill_handle(&self, handle: &Handle, signal: Signal) -> Result<()> {
        let mut view = handle.subscribe();
        let (stops, configured) = {
            let view = view.borrow_and_update();
            (view.stops, view.record.config.stop_signal.clone())
        };
        if signal == Signal::KILL {
            return stop::kill(handle, &mut view, stops).await;
        }
        // A signal that means "stop" to the container keeps the restart policy away, by dockerd's rule.
        let by_user = configured.is_empty() || configured.parse::<Signal>().is_ok_and(|own| own == signal);
        handle.ask(|reply| Command::Kill { signal: signal.number(), by_user, reply }).await
    }

    /// Stops it where it runs, and starts it.
    pub async fn restart(&self, name: &str, options: StopOptions) -> Result<()> {
        let handle = self.find(name)?;
        let attempt = || format!("Cannot restart container {name}");
        if handle.view().status.phase.is_running() {
            stop::stop(&handle, &options, self.parts.config.stop_timeout_s, true).await.with_context(attempt)?;
        }
        match handle.ask(|reply| Command::Start { by_hand: true, reply }).await {
            Err(error) if error.kind() != Kind::NotModified => return Err(error).with_context(attempt),
            _ => {}
        }
        let record = handle.view().record.clone();
        self.parts.events.publish(Scope::Container, "restart", record.id.as_str(), record.attributes());
        Ok(())
    }

    /// Freezes it.
    pub async fn pause(&self, name: &str) -> Result<()> {
        self.find(name)?.ask(Command::Pause).await
    }

    /// Thaws it.
    pub async fn unpause(&self, name: &str) -> Result<()> {
        self.find(name)?.ask(Command::Unpause).await
    }

    /// Gives it another name.
    pub async fn rename(&self, name: &str, new: ContainerName) -> Result<()> {
        let handle = self.find(name)?;
        let old = handle.view().record.name.clone();
        if old == new {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        let id = handle.id();
        self.parts.index().reserve(&new, id).context("Error when allocating new name")?;
        let renamed = handle.ask(|reply| Command::Rename { name: new.clone(), reply }).await;
        self.parts.index().release(if renamed.is_ok() { &old } else { &new }, id);
        renamed
    }

    /// Sets its terminal's size.
    pub async fn resize(&self, name: &str, rows: u16, columns: u16) -> Result<()> {
        let handle = self.find(name)?;
        handle.ask(|reply| Command::Resize { rows, columns, reply }).await?;
        let mut attributes = handle.view().record.attributes();
        attributes.insert("height".into(), rows.to_string());
        attributes.insert("width".into(), columns.to_string());
        self.parts.events.publish(Scope::Container, "resize", handle.id().as_str(), attributes);
        Ok(())
    }

    /// Changes its limits and restart policy.
    pub async fn update(&self, name: &str, request: UpdateRequest) -> Result<UpdateResponse> {
        let handle = self.find(name)?;
        let request = Box::new(request);
        let warnings = handle.ask(|reply| Command::Update { request, reply }).await?;
        Ok(UpdateResponse { warnings: Some(warnings).filter(|warnings| !warnings.is_empty()) })
    }

    /// Removes it.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let handle = self.find(name)?;
        if options.link {
            return self.remove_link(name, &handle);
        }
        let view = handle.view();
        if view.status.phase == Phase::Removing {
            return Err(Error::conflict(format!("removal of container {name} is already in progress")));
        }
        if options.force && view.status.phase.is_running() {
            self.end_for_removal(&handle)
                .await
                .with_context(|| format!("cannot remove container \"{name}\": could not kill container"))?;
        }
        let volumes = options.volumes;
        match handle.ask(|reply| Command::Remove { volumes, reply }).await {
            // Someone else, or its own automatic removal, was quicker.
            Err(error) if error.kind() == Kind::NotFound && options.force => Ok(()),
            Err(error) => Err(rename_in_error(error, &view.record.name, name)),
            Ok(()) => Ok(()),
        }
    }

    async fn end_for_removal(&self, handle: &Handle) -> Result<()> {
        match self.kill_handle(handle, Signal::KILL).await {
            // It ended by itself meanwhile, or a restart was pending and is called off now.
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => Ok(()),
            result => result,
        }
    }

    /// Legacy links are names in `/etc/hosts` here; only the error for a container's own name is left.
    fn remove_link(&self, name: &str, handle: &Handle) -> Result<()> {
        let own = name.trim_start_matches('/') == handle.view().record.name.as_str();
        if own || !name.trim_start_matches('/').contains('/') {
            return Err(Error::internal("Conflict, cannot remove the default link name of the container"));
        }
        Err(Error::not_found(format!("Could not get parent {name}")))
    }

    /// All that is known of it. Never touches the disk.
    pub fn inspect(&self, name: &str) -> Result<Inspect> {
        let handle = self.find(name)?;
        Ok(inspect::inspect(&self.parts, &handle.view(), None))
    }

    /// As [`Containers::inspect`], with its size on disk.
    pub async fn inspect_with_size(&self, name: &str) -> Result<Inspect> {
        let view = self.find(name)?.view();
        let sizes = self.sizes_of(&view).await?;
        Ok(inspect::inspect(&self.parts, &view, Some(sizes)))
    }

    /// Its size on disk.
    pub async fn sizes(&self, name: &str) -> Result<Sizes> {
        let view = self.find(name)?.view();
        self.sizes_of(&view).await
    }

    /// Removes those that do not run and match the filters (`label`, `label!`, `until`).
    pub async fn prune(&self, filters: Filters) -> Result<PruneReport> {
        filters.validate(&["label", "label!", "until"])?;
        let until = match filters.get("until") {
            [] => None,
            [until] => Some(crate::time::parse_until(until)?),
            _ => return Err(Error::invalid("more than one until filter specified")),
        };
        let mut report = PruneReport::default();
        let mut deleted = Vec::new();
        let handles: Vec<Arc<Handle>> = self.parts.index().all().cloned().collect();
        for handle in handles {
            let view = handle.view();
            let rests = matches!(view.status.phase, Phase::Created | Phase::Exited | Phase::Dead);
            let labels = view.record.config.labels.clone().unwrap_or_default();
            let old = until.is_none_or(|until: Timestamp| view.record.created <= until);
            if !rests || !old || !filters.match_labels(&labels) {
                continue;
            }
            let size = self.sizes_of(&view).await.map_or(0, |sizes| sizes.rw);
            match handle.ask(|reply| Command::Remove { volumes: false, reply }).await {
                Ok(()) => {
                    report.space_reclaimed += u64::try_from(size).unwrap_or(0);
                    deleted.push(handle.id().to_string());
                }
                Err(error) => tracing::warn!(%error, container = %handle.id(), "a container could not be pruned"),
            }
        }
        report.containers_deleted = Some(deleted).filter(|deleted| !deleted.is_empty());
        let reclaimed = report.space_reclaimed.to_string();
        self.parts.events.publish(Scope::Container, "prune", "", [("reclaimed".to_owned(), reclaimed)].into());
        Ok(report)
    }
}

/// dockerd's refusals name a container as the caller did.
fn rename_in_error(error: Error, own: &ContainerName, named: &str) -> Error {
    let text = error.message().replace(&format!("container \"{own}\""), &format!("container \"{named}\""));
    if text == error.message() { error } else { Error::new(error.kind(), text) }
}
