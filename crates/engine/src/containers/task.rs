//! The task that owns one container: it takes commands and the shim's events one at a time, moves the state machine, and
//! publishes a snapshot after each step. Nobody else writes a container's state.

use super::{
    exec::Exec,
    handle::Adopted,
    record::{Record, Status, View},
    restart::{Backoff, Ended, Policy},
    start::{Live, Streams},
    state::{Input, Phase, Refusal, next, refuse_start},
    stop::Teardown,
};
use crate::{
    events::Scope,
    parts::{Parts, blocking},
    stream::{AttachReader, AttachWriter, Promise},
    time,
};
use jiff::Timestamp;
use rorqual_error::{Error, Result};
use rorqual_metadata::{Durability, failpoint};
use rorqual_oci::runtime::Spec;
use rorqual_runtime::protocol::{Event, ExitStatus, Request};
use rorqual_types::{ContainerName, ExecId};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a task is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Start it. By hand begins a new life for the restart policy.
    Start { by_hand: bool, reply: Reply<()> },
    /// Begin to stop it: send this signal, and do not restart it. Answers whether it still has to end.
    Stop {
        signal: i32,
        /// An automatic removal is left out: a restart follows.
        keep: bool,
        reply: Reply<bool>,
    },
    /// Send a signal. `quietly` publishes no event of a stop by hand.
    Kill { signal: i32, by_user: bool, reply: Reply<()> },
    /// Freeze it.
    Pause(Reply<()>),
    /// Thaw it.
    Unpause(Reply<()>),
    /// Change its name; the new one is reserved.
    Rename { name: ContainerName, reply: Reply<()> },
    /// Set its terminal's size.
    Resize { rows: u16, columns: u16, reply: Reply<()> },
    /// Change limits and restart policy.
    Update { request: Box<rorqual_api_types::container::UpdateRequest>, reply: Reply<Vec<String>> },
    /// Open a session.
    Attach { streams: Streams, reply: Reply<(AttachReader, Option<AttachWriter>)> },
    /// The running container's document, for an exec.
    Spec(Reply<Arc<Spec>>),
    /// An exec was started; its end will be told to it.
    Watch { exec: Arc<Exec>, reply: Reply<()> },
    /// Undoes it for an exec that did not start.
    Unwatch { exec: ExecId, reply: Reply<()> },
    /// A request to the shim about an exec.
    Order { request: Request, reply: Reply<()> },
    /// Remove it; it does not run.
    Remove { volumes: bool, reply: Reply<()> },
}

/// The owner of one container.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) parts: Arc<Parts>,
    pub(super) record: Arc<Record>,
    pub(super) status: Status,
    pub(super) stops: u64,
    pub(super) exits: u64,
    removed: bool,
    removal_error: Option<String>,
    view: watch::Sender<Arc<View>>,
    mailbox: mpsc::Receiver<Command>,
    pub(super) live: Option<Live>,
    /// Events a shim kept for us while we were away.
    early: VecDeque<Event>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// A user's stop is under way: its event comes before the end's.
    stopping: bool,
    /// An automatic removal is left out once: a restart by hand follows.
    keep: bool,
    pub(super) promises: Vec<(Promise, Streams)>,
    execs: BTreeMap<ExecId, Arc<Exec>>,
    teardown: Option<JoinHandle<()>>,
}

enum Wake {
    Close,
    Event(Option<Event>),
    Command(Box<Command>),
    Retry,
}

impl Task {
    pub fn new(parts: Arc<Parts>, view: View, mailbox: mpsc::Receiver<Command>, adopted: Option<Adopted>) -> Self {
        let (record, status) = (view.record.clone(), view.status.clone());
        let (stops, exits) = (view.stops, view.exits);
        let (sender, _) = watch::channel(Arc::new(view));
        let mut task = Self {
            parts,
            record,
            status,
            stops,
            exits,
            removed: false,
            removal_error: None,
            view: sender,
            mailbox,
            live: None,
            early: VecDeque::new(),
            backoff: Backoff::default(),
            retry_at: None,
            stopping: false,
            keep: false,
            promises: Vec::new(),
            execs: BTreeMap::new(),
            teardown: None,
        };
        if let Some(adopted) = adopted {
            task.early = adopted.events.into();
            task.live = Some(Live::adopted(adopted.control, task.status.phase.pid(), adopted.started));
        }
        task
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Runs until the container is removed or the engine closes.
    pub async fn run(mut self) {
        while !self.removed {
            match self.wake().await {
                Wake::Close => return,
                Wake::Event(event) => self.on_event(event).await,
                Wake::Command(command) => self.on_command(*command).await,
                Wake::Retry => self.retry().await,
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        if let Some(event) = self.early.pop_front() {
            return Wake::Event(Some(event));
        }
        let closing = self.parts.closing.clone();
        let (live, retry_at) = (&mut self.live, self.retry_at);
        let event = async {
            match live {
                Some(live) => live.control.next().await,
                None => std::future::pending().await,
            }
        };
        let retry = async {
            match retry_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = closing.cancelled() => Wake::Close,
            event = event => Wake::Event(event),
            command = self.mailbox.recv() => match command {
                Some(command) => Wake::Command(Box::new(command)),
                None => Wake::Close,
            },
            () = retry => Wake::Retry,
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Start { by_hand, reply } => answer(reply, self.start(by_hand).await),
            Command::Stop { signal, keep, reply } => answer(reply, self.begin_stop(signal, keep).await),
            Command::Kill { signal, by_user, reply } => answer(reply, self.kill(signal, by_user).await),
            Command::Pause(reply) => answer(reply, self.pause().await),
            Command::Unpause(reply) => answer(reply, self.unpause().await),
            Command::Rename { name, reply } => answer(reply, self.rename(name).await),
            Command::Resize { rows, columns, reply } => {
                let request = Request::Resize { exec: None, rows, cols: columns };
                answer(reply, self.order(request).await);
            }
            Command::Update { request, reply } => answer(reply, self.update(*request).await),
            Command::Attach { streams, reply } => answer(reply, self.attach(streams).await),
            Command::Spec(reply) => answer(reply, self.spec()),
            Command::Watch { exec, reply } => {
                let watched = self.running().map(|_| ());
                if watched.is_ok() {
                    self.execs.insert(exec.id().clone(), exec);
                }
                answer(reply, watched);
            }
            Command::Unwatch { exec, reply } => {
                self.execs.remove(&exec);
                answer(reply, Ok(()));
            }
            Command::Order { request, reply } => answer(reply, self.order(request).await),
            Command::Remove { volumes, reply } => answer(reply, self.remove(volumes).await),
        }
    }

    /// The live container, or dockerd's refusal.
    pub(super) fn running(&mut self) -> Result<&mut Live> {
        let id = &self.record.id;
        self.live.as_mut().ok_or_else(|| Error::conflict(format!("container {id} is not running")))
    }

    async fn order(&mut self, request: Request) -> Result<()> {
        self.running()?.control.order(&request).await
    }

    fn spec(&mut self) -> Result<Arc<Spec>> {
        let (parts, record, status) = (self.parts.clone(), self.record.clone(), self.status.clone());
        let live = self.running()?;
        if live.spec.is_none() {
            live.spec = Some(Arc::new(super::document::build(&parts, &record, &status)?));
        }
        live.spec.clone().ok_or_else(|| Error::internal("the container has no document"))
    }

    /// Shows the present state to readers.
    pub(super) fn publish(&self) {
        self.view.send_replace(Arc::new(View {
            record: self.record.clone(),
            status: self.status.clone(),
            stops: self.stops,
            exits: self.exits,
            removed: self.removed,
            removal_error: self.removal_error.clone(),
        }));
    }

    /// Stores the present status.
    pub(super) async fn save(&self) -> Result<()> {
        let (parts, key, status) = (self.parts.clone(), self.record.id.to_string(), self.status.clone());
        blocking(move || parts.tables.statuses.put(&key, &status, Durability::Grouped)).await
    }

    /// As [`Task::save`] where there is nobody to tell: the state in memory stays true, the next save mends the disk.
    pub(super) async fn save_or_log(&self) {
        if let Err(error) = self.save().await {
            tracing::error!(%error, container = %self.record.id, "the container's state could not be stored");
        }
    }

    pub(super) fn event(&self, action: &str, more: &[(&str, String)]) {
        let mut attributes = self.record.attributes();
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.parts.events.publish(Scope::Container, action, self.record.id.as_str(), attributes);
    }

    /// Starts it. A start by hand begins a new life for the restart policy.
    async fn start(&mut self, by_hand: bool) -> Result<()> {
        let phase = next(&self.status.phase, Input::Start).map_err(refuse_start)?;
        let ran = self.status.last.started_at.is_some();
        self.finish_teardown().await;
        self.retry_at = None;
        if by_hand {
            self.status.restart_count = 0;
            self.status.stopped_by_user = false;
            self.backoff = Backoff::default();
        }
        self.status.phase = phase;
        self.status.last.error.clear();
        self.status.last.exit_code = 0;
        self.status.last.oom_killed = false;
        match self.launch().await {
            Ok(live) => self.started(live).await,
            Err(failure) => {
                self.status.phase = next(&self.status.phase, Input::StartFailed { ran }).unwrap_or(if ran {
                    Phase::Exited
                } else {
                    Phase::Created
                });
                self.status.last.error = failure.error.to_string();
                self.status.last.exit_code = failure.exit_code;
                self.come_to_rest().await;
                self.remove_if_asked().await;
                Err(failure.error)
            }
        }
    }

    async fn started(&mut self, live: Live) -> Result<()> {
        let pid = live.pid;
        self.status.phase = next(&self.status.phase, Input::Started { pid })
            .map_err(|_| Error::internal("a container that was not starting has started"))?;
        self.status.last.started_at = Some(live.started_at);
        self.live = Some(live);
        self.save_or_log().await;
        self.publish();
        self.event("start", &[]);
        Ok(())
    }

    /// Stores and shows a state that nothing moves any more, and lets the waiters go.
    async fn come_to_rest(&mut self) {
        self.status.endpoint = None;
        self.status.userns = None;
        self.stops += 1;
        self.exits += 1;
        self.promises.clear();
        self.save_or_log().await;
        self.publish();
    }

    async fn on_event(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Exited(exit)) => self.ended(exit, false).await,
            Some(Event::ExecExited { id, code }) => self.exec_ended(&id, code),
            Some(Event::State(state)) => {
                for exec in state.execs {
                    if let Some(code) = exec.code {
                        self.exec_ended(&exec.id, code);
                    }
                }
            }
            Some(other) => tracing::warn!(?other, container = %self.record.id, "an answer without a question"),
            None => self.supervisor_gone().await,
        }
    }

    /// The shim is gone without a word: perhaps it left one on disk; else what it watched is ended.
    async fn supervisor_gone(&mut self) {
        let dir = self.parts.run_dir(&self.record.id);
        let (parts, status) = (self.parts.clone(), self.status.cgroup.clone());
        let left = blocking(move || {
            let left = rorqual_runtime::spawn::read_exit(&dir).unwrap_or_default();
            if left.is_none() {
                parts.cgroups.open(&status).kill_all()?;
            }
            Ok(left)
        });
        let lost = || ExitStatus {
            code: 137,
            signal: Some(9),
            at_ns: i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
            oom_killed: false,
            error: Some("the container's supervisor ended unexpectedly; the container was killed".into()),
        };
        let exit = left.await.ok().flatten().unwrap_or_else(lost);
        self.ended(exit, true).await;
    }

    /// The program has ended: record it, say so, then clean up.
    async fn ended(&mut self, exit: ExitStatus, supervisor_gone: bool) {
        let Some(live) = self.live.take() else { return };
        let finished_at = time::from_ns(exit.at_ns);
        let ran = finished_at.duration_since(live.started_at);
        let ended = Ended {
            exit_code: i64::from(exit.code),
            restarts: self.status.restart_count,
            by_user: self.status.stopped_by_user,
        };
        let policy = Policy::parse(&self.record.host_config.restart_policy).unwrap_or_default();
        let restart = policy.wants_restart(&ended);
        self.status.phase = next(&self.status.phase, Input::Ended { restart }).unwrap_or(Phase::Exited);
        self.status.last.finished_at = Some(finished_at);
        self.status.last.exit_code = ended.exit_code;
        self.status.last.oom_killed = exit.oom_killed;
        self.status.last.error = exit.error.clone().unwrap_or_default();
        let had_endpoint = self.status.endpoint.take();
        self.status.userns = None;
        self.exits += 1;
        if restart {
            self.status.restart_count += 1;
        } else {
            self.stops += 1;
        }
        let parts = self.parts.clone();
        let id = self.record.id.clone();
        // Ports are free before anyone hears of the end; the links follow on their own.
        let released = blocking(move || {
            parts.networks.release(&id);
            failpoint!("exit.released")
        });
        if let Err(error) = released.await {
            tracing::warn!(%error, container = %self.record.id, "release of the network failed");
        }
        self.save_or_log().await;
        self.publish();
        self.tear_down(live, supervisor_gone);
        self.publish_end(&exit, ran, had_endpoint.as_ref());
        for (_, exec) in std::mem::take(&mut self.execs) {
            self.exec_event(&exec, 137);
        }
        if restart {
            let pause = self.backoff.next(std::time::Duration::try_from(ran).unwrap_or_default());
            self.retry_at = Some(Instant::now() + pause);
        } else {
            self.remove_if_asked().await;
        }
    }

    fn publish_end(
        &mut self,
        exit: &ExitStatus,
        ran: jiff::SignedDuration,
        endpoint: Option<&rorqual_network::Endpoint>,
    ) {
        self.network_event("disconnect", endpoint);
        self.volume_events("unmount");
        if exit.oom_killed {
            self.event("oom", &[]);
        }
        if std::mem::take(&mut self.stopping) {
            self.event("stop", &[]);
        }
        let seconds = ran.as_secs().max(0).to_string();
        self.event("die", &[("exitCode", exit.code.to_string()), ("execDuration", seconds)]);
    }

    pub(super) fn network_event(&self, action: &str, endpoint: Option<&rorqual_network::Endpoint>) {
        let mode = &self.record.host_config.network_mode;
        let (name, id, kind) = match endpoint {
            Some(endpoint) => (endpoint.network.clone(), endpoint.network_id.clone(), "bridge"),
            None if mode == "host" || mode == "none" => match self.parts.networks.inspect(mode) {
                Ok(network) => (network.name, network.id, network.driver.as_str()),
                Err(_) => return,
            },
            None => return,
        };
        let attributes = [
            ("container".to_owned(), self.record.id.to_string()),
            ("name".to_owned(), name),
            ("type".to_owned(), kind.to_owned()),
        ];
        self.parts.events.publish(Scope::Network, action, id, attributes.into());
    }

    pub(super) fn volume_events(&self, action: &str) {
        let volumes = self.record.mounts.iter().filter(|mount| mount.kind == super::mounts::Kind::Volume);
        for mount in volumes {
            let mut attributes = BTreeMap::from([("container".to_owned(), self.record.id.to_string())]);
            if action == "mount" {
                attributes.insert("destination".into(), mount.destination.clone());
                attributes.insert("propagation".into(), mount.propagation.clone());
                attributes.insert("read/write".into(), (!mount.read_only).to_string());
            }
            self.parts.volume_event(action, &mount.name, &mount.driver, attributes);
        }
    }

    /// Cleans up after a run in the background; the next start waits for it.
    fn tear_down(&mut self, live: Live, supervisor_gone: bool) {
        let told = live.control.tell(&Request::Forget);
        let teardown = Teardown {
            parts: self.parts.clone(),
            id: self.record.id.clone(),
            cgroup: self.status.cgroup.clone(),
            child: live.child,
            kill_child: supervisor_gone || told.is_err(),
        };
        self.teardown = Some(tokio::task::spawn_blocking(move || teardown.run()));
    }

    pub(super) async fn finish_teardown(&mut self) {
        if let Some(teardown) = self.teardown.take() {
            let _ = teardown.await;
        }
    }

    /// The pause before a restart is over.
    async fn retry(&mut self) {
        self.retry_at = None;
        if let Err(error) = self.start(false).await {
            // As in dockerd, a container that cannot be started at all is not tried again.
            tracing::warn!(%error, container = %self.record.id, "the restart failed");
        }
    }

    async fn begin_stop(&mut self, signal: i32, keep: bool) -> Result<bool> {
        match self.status.phase {
            Phase::Restarting => {
                self.call_off().await;
                self.event("stop", &[]);
                Ok(false)
            }
            Phase::Running { .. } => {
                self.stopping = true;
                self.keep = keep;
                self.signal(signal, true).await?;
                Ok(true)
            }
            Phase::Created | Phase::Starting | Phase::Exited | Phase::Removing | Phase::Dead => Ok(false),
        }
    }

    /// Calls a pending restart off.
    async fn call_off(&mut self) {
        self.retry_at = None;
        self.status.stopped_by_user = true;
        self.status.phase = next(&self.status.phase, Input::CallOff).unwrap_or(Phase::Exited);
        self.come_to_rest().await;
    }

    async fn kill(&mut self, signal: i32, by_user: bool) -> Result<()> {
        if self.status.phase == Phase::Restarting {
            if by_user {
                self.call_off().await;
            }
            return Err(Error::conflict(format!("container {} is not running", self.record.id)));
        }
        self.running()?;
        self.signal(signal, by_user).await
    }

    async fn signal(&mut self, signal: i32, by_user: bool) -> Result<()> {
        if by_user && !self.status.stopped_by_user {
            self.status.stopped_by_user = true;
            self.save_or_log().await;
        }
        let paused = self.status.phase.is_paused();
        let sent = self.running()?.control.order(&Request::Signal { signal, all: false }).await;
        if signal == 9 && sent.is_err() {
            // A supervisor that does not listen does not save its container.
            let (parts, cgroup) = (self.parts.clone(), self.status.cgroup.clone());
            blocking(move || parts.cgroups.open(&cgroup).kill_all()).await?;
        } else {
            sent?;
        }
        if paused && by_user {
            self.thaw().await?;
        }
        self.event("kill", &[("signal", signal.to_string())]);
        Ok(())
    }

    async fn pause(&mut self) -> Result<()> {
        let id = &self.record.id;
        let phase = next(&self.status.phase, Input::Pause).map_err(|refusal| match refusal {
            Refusal::Paused => Error::conflict(format!("Container {id} is already paused")),
            Refusal::Restarting => {
                Error::conflict(format!("Container {id} is restarting, wait until the container is running"))
            }
            Refusal::AlreadyRunning
            | Refusal::NotPaused
            | Refusal::NotRunning
            | Refusal::Removing
            | Refusal::MustStop
            | Refusal::Impossible => Error::conflict(format!("container {id} is not running")),
        })?;
        let (parts, cgroup) = (self.parts.clone(), self.status.cgroup.clone());
        blocking(move || parts.cgroups.open(&cgroup).freeze()).await?;
        self.status.phase = phase;
        self.save_or_log().await;
        self.publish();
        self.event("pause", &[]);
        Ok(())
    }

    async fn unpause(&mut self) -> Result<()> {
        next(&self.status.phase, Input::Unpause)
            .map_err(|_| Error::internal(format!("Container {} is not paused", self.record.id)))?;
        self.thaw().await
    }

    async fn thaw(&mut self) -> Result<()> {
        let (parts, cgroup) = (self.parts.clone(), self.status.cgroup.clone());
        blocking(move || parts.cgroups.open(&cgroup).thaw()).await?;
        if let Ok(phase) = next(&self.status.phase, Input::Unpause) {
            self.status.phase = phase;
            self.save_or_log().await;
            self.publish();
            self.event("unpause", &[]);
        }
        Ok(())
    }

    async fn rename(&mut self, name: ContainerName) -> Result<()> {
        let old = self.record.name.clone();
        let mut record = Record::clone(&self.record);
        record.name = name;
        self.replace_record(record).await?;
        self.event("rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// Stores a changed record, then shows it.
    pub(super) async fn replace_record(&mut self, record: Record) -> Result<()> {
        let record = Arc::new(record);
        let (parts, stored) = (self.parts.clone(), record.clone());
        blocking(move || {
            parts.tables.records.put(&stored.id.to_string(), &stored, Durability::Grouped)?;
            failpoint!("record.replaced")
        })
        .await?;
        self.record = record;
        self.publish();
        Ok(())
    }

    fn exec_ended(&mut self, id: &str, code: i32) {
        match self.execs.remove(id) {
            Some(exec) => self.exec_event(&exec, code),
            None => tracing::debug!(id, code, "an exec that this daemon did not start has ended"),
        }
    }

    fn exec_event(&self, exec: &Exec, code: i32) {
        if exec.finish(code) {
            self.event("exec_die", &[("execID", exec.id().to_string()), ("exitCode", code.to_string())]);
        }
    }

    /// Removes it, whoever runs it having been stopped.
    async fn remove(&mut self, volumes: bool) -> Result<()> {
        let name = self.record.name.clone();
        let refuse = |why: &str| Error::conflict(format!("cannot remove container \"{name}\": {why}"));
        let phase = next(&self.status.phase, Input::Remove).map_err(|refusal| match refusal {
            Refusal::Paused => refuse("container is paused and must be unpaused first"),
            Refusal::Restarting => {
                refuse("container is restarting: stop the container before removing or force remove")
            }
            Refusal::Removing => {
                Error::conflict(format!("removal of container {} is already in progress", self.record.id))
            }
            Refusal::AlreadyRunning
            | Refusal::NotPaused
            | Refusal::NotRunning
            | Refusal::MustStop
            | Refusal::Impossible => refuse("container is running: stop the container before removing or force remove"),
        })?;
        self.finish_teardown().await;
        self.status.phase = phase;
        self.status.remove_volumes = volumes;
        self.save().await?;
        self.publish();
        let (parts, view) = (self.parts.clone(), self.view.borrow().clone());
        match blocking(move || super::remove::remove_files(&parts, &view)).await {
            Ok(destroyed) => {
                self.parts.index().remove(&self.record.id);
                self.parts.execs.forget(&self.record.id);
                self.removed = true;
                self.promises.clear();
                self.publish();
                for (volume, driver) in destroyed {
                    self.parts.volume_event("destroy", &volume, &driver, BTreeMap::new());
                }
                self.event("destroy", &[]);
                Ok(())
            }
            Err(error) => {
                self.status.phase = next(&self.status.phase, Input::RemoveFailed).unwrap_or(Phase::Dead);
                self.removal_error = Some(error.to_string());
                self.save_or_log().await;
                self.publish();
                Err(error)
            }
        }
    }

    async fn remove_if_asked(&mut self) {
        if std::mem::take(&mut self.keep) || !self.record.host_config.auto_remove {
            return;
        }
        if let Err(error) = self.remove(true).await {
            tracing::error!(%error, container = %self.record.id, "the automatic removal failed");
        }
    }
}

/// Sends an answer; a caller that went away does not mind.
fn answer<T>(reply: Reply<T>, result: Result<T>) {
    let _ = reply.send(result);
}
