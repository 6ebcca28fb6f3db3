//! From a plan to a supervised program.

use super::{
    external,
    process::{Ends, Process},
    supervisor::{Cgroup, Supervisor},
};
use crate::{
    failure::{At, Outcome},
    plan::{IdMap, LogPlan, Namespace, Plan, RuntimeKind},
    protocol::{Connection, Event, Failure, Request, Step},
    spawn::SOCKET,
    start::{
        child::{Gate, Streams},
        maker,
    },
};
use rorqual_logs::{Config, Writer, time};
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

/// Connections that may wait for the shim to accept them.
const BACKLOG: i32 = 64;

/// Starts the container. On failure the connection comes back, to be told.
pub(super) fn launch(plan: Plan, mut control: Connection) -> Result<Supervisor, (Connection, Box<Failure>)> {
    let dir = match open_directory(&plan.dir) {
        Ok(dir) => dir,
        Err(failure) => return Err((control, failure)),
    };
    match start(&plan, &dir, &mut control) {
        Ok((process, root, log, listener)) => {
            let own_pids = plan.namespaces.pid == Namespace::New;
            let cgroup = Cgroup::new(plan.cgroup.clone(), own_pids);
            let joined_user = plan.namespaces.user != Namespace::Host;
            let external = external::Handle::of(&plan);
            let map = plan.userns.clone();
            let mut supervisor =
                Supervisor::new(plan.id.clone(), dir, process, root, log, cgroup, map, joined_user, external);
            drop(plan);
            match supervisor.register(listener, control) {
                Ok(()) => Ok(supervisor),
                Err((control, failure)) => {
                    supervisor.kill_all();
                    Err((control, failure))
                }
            }
        }
        Err(failure) => {
            let _ = rustix::fs::unlinkat(&dir, SOCKET, AtFlags::empty());
            Err((control, failure))
        }
    }
}

type Launched = (Process, Option<OwnedFd>, Option<Writer>, OwnedFd);

fn start(plan: &Plan, dir: &OwnedFd, control: &mut Connection) -> Outcome<Launched> {
    let listener = listen(dir)?;
    let log = plan.log.as_ref().map(open_log).transpose()?;
    if let RuntimeKind::External { .. } = plan.runtime {
        let (process, root) = external::start(plan, control)?;
        return Ok((process, root, log, listener));
    }
    let (streams, ours) = streams(plan.io.tty, plan.io.stdin_open, plan.io.console_size, plan.userns.as_ref())?;
    let mut begun = maker::begin(plan, streams, Gate::Maker, 0)?;
    super::avoid_oom_killer();
    let pid = begun.pid.as_raw_nonzero().get();
    let netns: Vec<_> = begun.netns.iter().map(AsFd::as_fd).collect();
    tell(control, &Event::Created { pid }, &netns).map_err(|failure| begun.abort(failure))?;
    let hooks = |pid: rustix::process::Pid| {
        crate::hooks::run_all(&plan.hooks.create_runtime, &plan.hooks.state, Some(pid.as_raw_nonzero().get()))
    };
    let prepared = begun.prepared(hooks)?;
    let network = wait_go(control).map_err(|failure| begun.abort(failure))?;
    begun.go(network)?;
    begun.started(plan)?;
    let started_ns = time::now();
    tell(control, &Event::Started, &[])?;
    let process = Process::new(None, pid, plan.io.tty, Ends { terminal: prepared.terminal, ..ours }, started_ns);
    Ok((process, prepared.root, log, listener))
}

pub(super) fn tell(control: &Connection, event: &Event, fds: &[std::os::fd::BorrowedFd<'_>]) -> Outcome<()> {
    control.send(event, fds).map_err(|error| Failure::new(Step::Setup, error.to_string()))
}

/// A daemon that goes away before this point has not started the container.
pub(super) fn wait_go(control: &mut Connection) -> Outcome<Vec<Vec<u8>>> {
    match control.receive::<Request>().at(Step::Setup, "read from the daemon")? {
        Some((Request::Go { network }, _)) => Ok(network),
        Some(_) => Err(Failure::new(Step::State, "the container is being created")),
        None => Err(Failure::new(Step::Setup, "the daemon has gone before the start")),
    }
}

/// The program's ends and ours. Pipes are given to the container's root, who may give them on.
pub(super) fn streams(
    tty: bool,
    stdin: bool,
    size: Option<(u16, u16)>,
    map: Option<&IdMap>,
) -> Outcome<(Streams, Ends)> {
    if tty {
        return Ok((Streams::Terminal { size }, Ends::default()));
    }
    let pipe = || -> Outcome<(OwnedFd, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(Step::Setup, "make a pipe")?;
        if let Some(map) = map {
            let (uid, gid) = (map.host_uid(0).map(Uid::from_raw), map.host_gid(0).map(Gid::from_raw));
            rustix::fs::fchown(&write, uid, gid).at(Step::Setup, "give a pipe to the container")?;
        }
        Ok((read, write))
    };
    let (stdin_theirs, stdin_ours) =
        if stdin { pipe().map(|(read, write)| (Some(read), Some(write)))? } else { (None, None) };
    let (stdout_ours, stdout_theirs) = pipe()?;
    let (stderr_ours, stderr_theirs) = pipe()?;
    let ends = Ends { stdin: stdin_ours, stdout: Some(stdout_ours), stderr: Some(stderr_ours), terminal: None };
    Ok((Streams::Given([stdin_theirs, Some(stdout_theirs), Some(stderr_theirs)]), ends))
}

fn open_log(plan: &LogPlan) -> Outcome<Writer> {
    Writer::open(Config {
        path: plan.path.clone(),
        max_size: plan.max_size,
        max_file: plan.max_file,
        attrs: plan.attrs.clone().into_bytes(),
    })
    .at_with(Step::Setup, || format!("open the log {}", plan.path.display()))
}

fn open_directory(path: &Path) -> Outcome<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at_with(Step::Setup, || format!("open {}", path.display()))
}

/// Listens on `sock` in the directory, however long its path is.
fn listen(dir: &OwnedFd) -> Outcome<OwnedFd> {
    let failed = "listen on the shim's socket";
    let _ = rustix::fs::unlinkat(dir, SOCKET, AtFlags::empty());
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd())).at(Step::Setup, failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).at(Step::Setup, failed)?;
    // The umask makes it 0700.
    rustix::net::bind(&socket, &address).at(Step::Setup, failed)?;
    rustix::net::listen(&socket, BACKLOG).at(Step::Setup, failed)?;
    Ok(socket)
}
