//! The start of a container (runtime.md §1): what can be made before its processes exist is made first, then the shim is
//! spawned, its network is connected while it mounts, and it is let go. A failure at any step is unwound completely.

use super::{
    control::{Control, unexpected},
    document,
    record::{Record, Status},
    stop::Teardown,
    task::Task,
};
use crate::{
    limits::{SHIM_ANSWER, START_DEADLINE},
    parts::{Parts, blocking},
    stream::{AttachReader, AttachWriter, Promise},
};
use jiff::Timestamp;
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_metadata::{Durability, failpoint};
use rorqual_network::{EndpointRequest, NetworkMode, PortRequest};
use rorqual_oci::runtime::Spec;
use rorqual_runtime::{
    protocol::{Event, Failure as ShimFailure, Request, Step},
    spawn::{self, Spawned},
};
use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::Path,
    process::Child,
    sync::Arc,
};

/// A running container's processes, as its task holds them.
#[derive(Debug)]
pub(super) struct Live {
    /// The connection to its shim.
    pub control: Control,
    /// The program's process id.
    pub pid: i32,
    /// When the program started.
    pub started_at: Timestamp,
    /// The shim, where it is a child of this process.
    pub child: Option<Child>,
    /// The document it was made from; made again when needed after an adoption.
    pub spec: Option<Arc<Spec>>,
}

/// Which streams a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Why a start failed, and the exit code that is recorded.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub exit_code: i64,
}

/// The exit code of a start that failed before the program was looked at.
const NEVER_RAN: i64 = 128;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, exit_code: NEVER_RAN }
    }
}

impl Live {
    /// Of a container that another process of ours started.
    pub fn adopted(control: Control, pid: i32, started_at: Timestamp) -> Self {
        Self { control, pid, started_at, child: None, spec: None }
    }
}

/// What stands before the shim is let go.
struct Prepared {
    spawned: Spawned,
    status: Status,
    spec: Arc<Spec>,
}

impl Task {
    /// Makes the container's processes. On a failure nothing is left of them.
    pub(super) async fn launch(&mut self) -> Result<Live, Failure> {
        let (parts, record, status) = (self.parts.clone(), self.record.clone(), self.status.clone());
        let prepared = blocking(move || prepare(&parts, &record, status)).await?;
        self.status = prepared.status;
        let Spawned { child, control } = prepared.spawned;
        let released = match Control::new(control) {
            Ok(mut control) => self.release(&mut control).await.map(|pid| (control, pid)),
            Err(error) => Err(error.into()),
        };
        match released {
            Ok((control, pid)) => {
                Ok(Live { control, pid, started_at: Timestamp::now(), child: Some(child), spec: Some(prepared.spec) })
            }
            Err(failure) => {
                self.network_event("disconnect", self.status.endpoint.as_ref());
                self.volume_events("unmount");
                let teardown = Teardown {
                    parts: self.parts.clone(),
                    id: self.record.id.clone(),
                    cgroup: self.status.cgroup.clone(),
                    child: Some(child),
                    kill_child: true,
                };
                let _ = tokio::task::spawn_blocking(move || teardown.run()).await;
                self.status.endpoint = None;
                self.status.userns = None;
                Err(failure)
            }
        }
    }

    /// From the shim's first word to the running program.
    async fn release(&mut self, control: &mut Control) -> Result<i32, Failure> {
        let (pid, netns) = created(control).await?;
        let messages = self.connect_network(netns).await?;
        let sessions = self.ask_for_sessions();
        self.volume_events("mount");
        failpoint!("start.before_go")?;
        // A shim that failed meanwhile hears nothing any more, but has said why.
        let told = control.tell(&Request::Go { network: messages });
        let answer = match control.answer(START_DEADLINE).await {
            Ok(answer) => answer,
            Err(error) => return Err(told.err().unwrap_or(error).into()),
        };
        match answer {
            Event::Started => {
                for (promise, session) in sessions {
                    keep(promise, session).await;
                }
                failpoint!("start.started")?;
                self.network_event("connect", self.status.endpoint.as_ref());
                Ok(pid)
            }
            Event::Failed(failure) => Err(never_ran(&failure)),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Links the container to its bridge and opens its ports; the messages are for its own network namespace.
    async fn connect_network(&self, netns: Option<OwnedFd>) -> Result<Vec<Vec<u8>>> {
        let Some(endpoint) = self.status.endpoint.clone() else {
            return Ok(match NetworkMode::parse(&self.record.host_config.network_mode) {
                NetworkMode::None => rorqual_network::loopback_messages(),
                NetworkMode::Bridge | NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Named(_) => {
                    Vec::new()
                }
            });
        };
        let netns = netns.ok_or_else(|| Error::internal("the shim gave no network namespace"))?;
        let parts = self.parts.clone();
        blocking(move || {
            let messages =
                parts.networks.connect(&endpoint, netns.as_fd()).context("failed to set up container networking")?;
            failpoint!("start.connected")?;
            parts.networks.publish(&endpoint).context("failed to set up container networking")?;
            failpoint!("start.published")?;
            Ok(messages)
        })
        .await
    }

    /// Connects the sessions that were asked for before the start. The shim takes them up before it reads the program's
    /// first output, so that they miss nothing, and answers then.
    fn ask_for_sessions(&mut self) -> Vec<(Promise, Control)> {
        let dir = self.parts.run_dir(&self.record.id);
        let promises = std::mem::take(&mut self.promises);
        let mut sessions = Vec::with_capacity(promises.len());
        for (promise, streams) in promises.into_iter().filter(|(promise, _)| !promise.is_stale()) {
            match ask_for_session(&dir, streams) {
                Ok(session) => sessions.push((promise, session)),
                Err(error) => {
                    tracing::warn!(%error, container = %self.record.id, "a session could not be opened");
                }
            }
        }
        sessions
    }

    /// A session now, or with the next start.
    pub(super) async fn attach(&mut self, streams: Streams) -> Result<(AttachReader, Option<AttachWriter>)> {
        let (reader, writer, promise) = Promise::new(streams.stdin);
        if self.live.is_some() {
            keep(promise, ask_for_session(&self.parts.run_dir(&self.record.id), streams)?).await;
        } else {
            self.promises.retain(|(promise, _)| !promise.is_stale());
            self.promises.push((promise, streams));
        }
        Ok((reader, writer))
    }
}

/// Asks the shim for a session. Connecting to a socket that listens does not block.
fn ask_for_session(dir: &Path, streams: Streams) -> Result<Control> {
    let control = Control::new(spawn::connect(dir)?)?;
    let Streams { stdin, stdout, stderr } = streams;
    control.tell(&Request::Attach { exec: None, stdin, stdout, stderr })?;
    Ok(control)
}

/// Hands a session over once the shim has agreed to it.
async fn keep(promise: Promise, mut session: Control) {
    match session.answer(SHIM_ANSWER).await {
        Ok(Event::Ok) => promise.keep(session.into_stream()),
        Ok(other) => tracing::warn!(?other, "a session was refused"),
        Err(error) => tracing::warn!(%error, "a session could not be opened"),
    }
}

/// Waits until the container's namespaces exist.
async fn created(control: &mut Control) -> Result<(i32, Option<OwnedFd>), Failure> {
    let first = tokio::time::timeout(START_DEADLINE, control.receive());
    match first.await {
        Ok(Ok(Some((Event::Created { pid }, fds)))) => Ok((pid, fds.into_iter().next())),
        Ok(Ok(Some((Event::Failed(failure), _)))) => Err(never_ran(&failure)),
        Ok(Ok(Some((other, _)))) => Err(unexpected(&other).into()),
        Ok(Ok(None)) => Err(Error::internal("the container's supervisor ended before it made the container").into()),
        Ok(Err(error)) => Err(Error::internal("read from the container's supervisor").caused_by(error).into()),
        Err(_) => Err(Error::unavailable("the container's supervisor does not answer").into()),
    }
}

/// The shim's failure in dockerd's words, its runtime's name included: clients read the exit code out of them.
fn never_ran(failure: &ShimFailure) -> Failure {
    let kind = failure.to_error().kind();
    let message = plain_message(failure);
    let exit_code = match failure.code {
        code @ (126 | 127) => i64::from(code),
        _ => NEVER_RAN,
    };
    let not_a_directory = failure.errno == rustix::io::Errno::NOTDIR.raw_os_error();
    // dockerd looks these up itself, before it asks its runtime.
    match failure.step {
        Step::User => return Failure { error: Error::new(kind, message), exit_code },
        Step::Cwd if not_a_directory => {
            let path = message.split('"').nth(1).unwrap_or_default();
            return Failure { error: Error::internal(format!("Cannot mkdir: {path} is not a directory")), exit_code };
        }
        _ => {}
    }
    let mut message = format!(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: \
         unable to start container process: error during container init: {message}"
    );
    if failure.step == Step::Mount && not_a_directory {
        message.push_str(
            ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and \
             is the expected type",
        );
        return Failure { error: Error::new(Kind::InvalidArgument, message), exit_code: 126 };
    }
    Failure { error: Error::new(kind, message), exit_code }
}

/// What went wrong, as dockerd 28 ends its messages.
pub(super) fn plain_message(failure: &ShimFailure) -> String {
    let message = failure.message.strip_suffix(": unknown").unwrap_or(&failure.message);
    match message.strip_suffix("is a directory") {
        Some(_) if failure.step == Step::Exec => format!("{message}: permission denied"),
        _ => message.to_owned(),
    }
}

/// Everything up to the spawned shim. Unwinds by itself.
fn prepare(parts: &Arc<Parts>, record: &Arc<Record>, mut status: Status) -> Result<Prepared> {
    status.cgroup = parts.cgroup_path(record);
    match prepare_steps(parts, record, &mut status) {
        Ok((spawned, spec)) => Ok(Prepared { spawned, status, spec }),
        Err(error) => {
            let teardown = Teardown {
                parts: parts.clone(),
                id: record.id.clone(),
                cgroup: status.cgroup,
                child: None,
                kill_child: false,
            };
            teardown.run();
            Err(error)
        }
    }
}

fn prepare_steps(parts: &Parts, record: &Record, status: &mut Status) -> Result<(Spawned, Arc<Spec>)> {
    let dir = parts.run_dir(&record.id);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("create the run directory {}", dir.display()))?;
    failpoint!("start.directory")?;
    document::choose_userns(parts, record, status)?;
    status.endpoint = lease(parts, record)?;
    failpoint!("start.leased")?;
    document::write_files(parts, record, status)?;
    document::make_sources(record)?;
    document::mount_shm(parts, record)?;
    for mount in record.mounts.iter().filter(|mount| mount.kind == super::mounts::Kind::Volume) {
        parts.volumes.mount(&mount.name, &record.id)?;
    }
    let spec = Arc::new(document::build(parts, record, status)?);
    let resources = spec.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    let cgroup = parts.cgroups.create(&status.cgroup, &resources)?;
    failpoint!("start.cgroup")?;
    let plan = document::plan(parts, record, status, &spec, cgroup.attach_plan())?;
    // From here on a crash leaves a shim: the record says where to look for it, and what it has of the network.
    parts.tables.statuses.put(&record.id.to_string(), status, Durability::Grouped)?;
    failpoint!("start.recorded")?;
    let spawned = spawn::spawn(&parts.shim, &plan)?;
    failpoint!("start.spawned")?;
    Ok((spawned, spec))
}

fn lease(parts: &Parts, record: &Record) -> Result<Option<rorqual_network::Endpoint>> {
    if let NetworkMode::Named(name) = NetworkMode::parse(&record.host_config.network_mode) {
        return Err(Error::not_found(format!("failed to set up container networking: network {name} not found")));
    }
    if NetworkMode::parse(&record.host_config.network_mode) != NetworkMode::Bridge {
        return Ok(None);
    }
    let settings = record.networks.get("bridge").or_else(|| record.networks.get("default"));
    let mac = settings
        .map(|settings| settings.mac_address.as_str())
        .filter(|mac| !mac.is_empty())
        .unwrap_or(&record.config.mac_address);
    let request = EndpointRequest {
        container: record.id.clone(),
        name: record.name.to_string(),
        mac: if mac.is_empty() { None } else { Some(mac.parse()?) },
        ports: ports(record)?,
    };
    parts.networks.lease(&request).context("failed to set up container networking").map(Some)
}

/// What the container publishes: its bindings, and with `--publish-all` every exposed port on a free one.
fn ports(record: &Record) -> Result<Vec<PortRequest>> {
    let mut ports = Vec::new();
    let host = &record.host_config;
    for (key, bindings) in host.port_bindings.iter().flatten() {
        // An empty list publishes nothing, as in dockerd.
        for binding in bindings.iter().flatten() {
            ports.push(PortRequest::from_binding(key, &binding.host_ip, &binding.host_port)?);
        }
    }
    if host.publish_all_ports {
        for key in record.config.exposed_ports.iter().flat_map(|ports| ports.keys()) {
            let request = PortRequest::from_binding(key, "", "")?;
            let published =
                |port: &PortRequest| port.container_port == request.container_port && port.protocol == request.protocol;
            if !ports.iter().any(published) {
                ports.push(request);
            }
        }
    }
    Ok(ports)
}
