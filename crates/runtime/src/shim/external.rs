//! Other OCI runtimes, driven by the shim: it mounts the root and holds the streams, they do the rest.
//!
//! The mounts live in a mount namespace of the shim's own, so that they end with it.

use super::{
    exec::Wanted,
    launch::{streams, tell, wait_go},
    process::{Ends, Process},
};
use crate::{
    failure::{At, Outcome},
    plan::{CapabilityMasks, Namespace, Plan, ProcessPlan, Rootfs, RuntimeKind, User},
    protocol::{Connection, Event, Failure, Step},
    start::{accounts, child::Streams, net, sources},
};
use rorqual_linux::{
    caps::CapSet,
    fdpass, mount,
    process::{self as linux, Forked, flags},
};
use rorqual_logs::time;
use rorqual_oci::runtime as oci;
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountPropagationFlags, UnmountFlags},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::Pid,
};
use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// How much of a runtime's log is read for its last words, bytes.
const LOG_MAX_BYTES: usize = 64 << 10;

/// A container another runtime made.
#[derive(Debug)]
pub(super) struct Handle {
    id: String,
    binary: PathBuf,
    args: Vec<String>,
    /// The shim's directory.
    dir: PathBuf,
    /// Where the root is mounted.
    root: PathBuf,
}

impl Handle {
    pub fn of(plan: &Plan) -> Option<Self> {
        let RuntimeKind::External { binary, args, bundle } = &plan.runtime else { return None };
        Some(Self {
            id: plan.id.clone(),
            binary: binary.clone(),
            args: args.clone(),
            dir: plan.dir.clone(),
            root: bundle.join("rootfs"),
        })
    }

    /// Lets the runtime clean up after the end.
    pub fn delete(&self) {
        let none = [Stdio::null(), Stdio::null(), Stdio::null()];
        let _ = self.run(&["delete", "--force", &self.id], none, Step::Runtime);
        for name in ["runtime.log", "pid", "console", "process.json"] {
            let _ = fs::remove_file(self.dir.join(name));
        }
    }

    /// Runs a process in the container; its id and, with a terminal, the master end.
    pub fn exec(&self, wanted: &Wanted, streams: Streams) -> Outcome<(i32, Option<OwnedFd>)> {
        let file = self.dir.join("process.json");
        let document = document(wanted, &self.root)?;
        let bytes = serde_json::to_vec(&document).map_err(|error| Failure::new(Step::Runtime, error.to_string()))?;
        fs::write(&file, bytes).at(Step::Runtime, "write the process's document")?;
        let file = file.to_string_lossy().into_owned();
        let result = self.make(&["exec", "--detach", "--process", &file], streams);
        result.map_err(|mut failure| {
            if failure.code == 125 {
                failure.code = 126;
            }
            failure
        })
    }

    /// Runs a verb that makes a process; its id from the pid file.
    fn make(&self, verb: &[&str], streams: Streams) -> Outcome<(i32, Option<OwnedFd>)> {
        let (pid_file, socket) = (self.dir.join("pid"), self.dir.join("console"));
        let (pid_text, socket_text) = (pid_file.to_string_lossy(), socket.to_string_lossy());
        let mut args = verb.to_vec();
        args.extend(["--pid-file", &pid_text]);
        let mut console = None;
        let stdio = match streams {
            Streams::Terminal { size } => {
                console = Some((Console::listen(&socket)?, size));
                args.extend(["--console-socket", &socket_text]);
                [Stdio::null(), Stdio::null(), Stdio::null()]
            }
            Streams::Given(ends) => ends.map(|end| end.map_or_else(Stdio::null, Stdio::from)),
        };
        args.push(&self.id);
        self.run(&args, stdio, Step::Exec)?;
        let terminal = match console {
            Some((console, size)) => {
                let terminal = console.accept()?;
                if let Some((rows, cols)) = size {
                    crate::terminal::resize(terminal.as_fd(), rows, cols)?;
                }
                Some(terminal)
            }
            None => None,
        };
        let text = fs::read_to_string(&pid_file).at(Step::Runtime, "read the runtime's pid file")?;
        let pid =
            text.trim().parse().map_err(|_| Failure::new(Step::Runtime, "the runtime's pid file holds no number"))?;
        Ok((pid, terminal))
    }

    /// Runs the runtime to its end; its last logged words are the failure.
    fn run(&self, verb: &[&str], stdio: [Stdio; 3], step: Step) -> Outcome<()> {
        let log = self.dir.join("runtime.log");
        let _ = fs::remove_file(&log);
        let [stdin, stdout, stderr] = stdio;
        let mut command = Command::new(&self.binary);
        command.args(&self.args).arg("--log").arg(&log).args(["--log-format", "json"]).args(verb);
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        // Signals are blocked in the shim; a runtime in Go would wait for its children's for ever.
        let status = crate::hooks::spawn_unblocked(&mut command).and_then(|mut child| child.wait());
        let what = || format!("run {}", self.binary.display());
        let status = status.at_with(Step::Runtime, what)?;
        if status.success() {
            return Ok(());
        }
        let words = last_words(&log).unwrap_or_else(|| format!("{}: {status}", what()));
        // runc and crun write them differently.
        let lower = words.to_lowercase();
        let code = match () {
            () if lower.contains("executable file not found") || lower.contains("no such file or directory") => 127,
            () if lower.contains("permission denied") || lower.contains("is a directory") => 126,
            () => 125,
        };
        Err(Box::new(Failure { step, errno: 0, code, message: words }))
    }
}

/// The message of the last error in a runtime's JSON log.
fn last_words(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_MAX_BYTES)..]).into_owned();
    let entries = text.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut errors = entries.filter(|entry| entry["level"] == "error");
    Some(errors.next()?["msg"].as_str()?.to_owned())
}

/// Makes and starts the container.
pub(super) fn start(plan: &Plan, control: &mut Connection) -> Outcome<(Process, Option<OwnedFd>)> {
    let Some(handle) = Handle::of(plan) else { return Err(Failure::new(Step::Runtime, "no runtime is named")) };
    if plan.userns.is_some() {
        return Err(Failure::new(Step::Runtime, "another runtime's containers need the host's user namespace"));
    }
    let root = prepare(plan, &handle)?;
    let (theirs, ours) = streams(plan.io.tty, plan.io.stdin_open, plan.io.console_size, None)?;
    let bundle = handle.root.parent().unwrap_or(&handle.root).to_string_lossy().into_owned();
    // Some leave a cgroup behind when they fail.
    let made = handle.make(&["create", "--bundle", &bundle], theirs).inspect_err(|_| handle.delete());
    let (pid, terminal) = made?;
    let started = (|| -> Outcome<()> {
        let netns = match plan.namespaces.net {
            Namespace::New => {
                let path = format!("/proc/{pid}/ns/net");
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                Some(rustix::fs::open(path, flags, Mode::empty()).at(Step::Network, "open the network namespace")?)
            }
            _ => None,
        };
        let fds: Vec<_> = netns.iter().map(AsFd::as_fd).collect();
        tell(control, &Event::Created { pid }, &fds)?;
        let network = wait_go(control)?;
        if let Some(netns) = &netns {
            configure_in(netns, &network)?;
        }
        handle.run(&["start", &handle.id], [Stdio::null(), Stdio::null(), Stdio::null()], Step::Exec)
    })();
    if let Err(failure) = started {
        handle.delete();
        return Err(failure);
    }
    super::avoid_oom_killer();
    tell(control, &Event::Started, &[])?;
    let ends = Ends { terminal, ..ours };
    Ok((Process::new(None, pid, plan.io.tty, ends, time::now()), Some(root)))
}

/// The mount namespace, the root in it, and the document made fit for a runtime that knows numbers only.
fn prepare(plan: &Plan, handle: &Handle) -> Outcome<OwnedFd> {
    linux::unshare(flags::NEWNS).at(Step::Rootfs, "make the shim's mount namespace")?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).at(Step::Rootfs, "cut propagation to the host")?;
    hide_empty_unified(&handle.binary);
    let root = sources::root(&plan.rootfs)?;
    let target = rustix::fs::open(&handle.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Rootfs, "open the bundle's root")?;
    mount::attach(root.as_fd(), target.as_fd()).at(Step::Rootfs, "mount the bundle's root")?;
    rewrite(plan, handle)?;
    Ok(root)
}

/// crun refuses a machine with controllers on version 1 while anything is left on version 2.
fn hide_empty_unified(binary: &Path) {
    let is_crun = binary.file_name().is_some_and(|name| name.to_string_lossy().starts_with("crun"));
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return };
    let kind =
        |line: &str| line.split_once(" - ").map(|(_, tail)| tail.split(' ').next().unwrap_or_default().to_owned());
    if !is_crun || !table.lines().any(|line| kind(line).as_deref() == Some("cgroup")) {
        return;
    }
    for line in table.lines().filter(|line| kind(line).as_deref() == Some("cgroup2")) {
        if let Some(target) = line.split(' ').nth(4) {
            let _ = rustix::mount::unmount(target, UnmountFlags::DETACH);
        }
    }
}

fn rewrite(plan: &Plan, handle: &Handle) -> Outcome<()> {
    let file = handle.root.with_file_name("config.json");
    let wrong = |error: String| Failure::new(Step::Runtime, format!("{}: {error}", file.display()));
    let bytes = fs::read(&file).at(Step::Runtime, "read the bundle's document")?;
    let mut spec = oci::Spec::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    let readonly = match plan.rootfs {
        Rootfs::Overlay { readonly, .. } | Rootfs::Bind { readonly, .. } => readonly,
    };
    spec.root = Some(oci::Root { path: "rootfs".into(), readonly });
    // The oldest that says all we use: some refuse a version newer than themselves.
    spec.oci_version = "1.0.2".into();
    if let Some(process) = &mut spec.process {
        process.terminal = plan.io.tty;
        process.console_size = console_size(plan.io.console_size);
        (process.user, process.env) = resolve(&plan.process, &handle.root)?;
        if plan.process.oom_score_adj.is_some_and(|score| score <= 0) {
            // As our own start: a machine that cannot lower it is no reason to fail.
            process.oom_score_adj = None;
        }
    }
    let bytes = serde_json::to_vec(&spec).map_err(|error| wrong(error.to_string()))?;
    fs::write(&file, bytes).at(Step::Runtime, "write the bundle's document")
}

/// User by number, and the environment with its home.
fn resolve(plan: &ProcessPlan, root: &Path) -> Outcome<(oci::User, Vec<String>)> {
    let account = match &plan.user {
        User::Named { user, groups } => accounts::Files::read(root)?.named(user, groups)?,
        User::Ids { uid, gid, groups } => {
            crate::start::identity::Account { uid: *uid, gid: *gid, groups: groups.clone(), home: None }
        }
    };
    let mut env = plan.env.clone();
    if let (Some(home), false) = (&account.home, env.iter().any(|entry| entry.starts_with("HOME="))) {
        env.push(format!("HOME={home}"));
    }
    let user = oci::User {
        uid: account.uid,
        gid: account.gid,
        umask: plan.umask,
        additional_gids: account.groups,
        username: String::new(),
    };
    Ok((user, env))
}

/// A plan as the document it came from, for `exec --process`. The filter is the container's own.
fn document(wanted: &Wanted, root: &Path) -> Outcome<oci::Process> {
    let plan = &wanted.process;
    let (user, env) = resolve(plan, root)?;
    let CapabilityMasks { bounding, effective, permitted, inheritable, ambient } = plan.capabilities;
    let names = |mask| CapSet(mask).names();
    Ok(oci::Process {
        terminal: wanted.tty,
        console_size: console_size(wanted.console_size),
        user,
        args: plan.args.clone(),
        env,
        cwd: if plan.cwd.is_empty() { "/".into() } else { plan.cwd.clone() },
        capabilities: Some(oci::Capabilities {
            bounding: names(bounding),
            effective: names(effective),
            inheritable: names(inheritable),
            permitted: names(permitted),
            ambient: names(ambient),
        }),
        no_new_privileges: plan.no_new_privileges,
        apparmor_profile: plan.apparmor.clone(),
        selinux_label: plan.selinux.clone(),
        ..oci::Process::default()
    })
}

fn console_size(size: Option<(u16, u16)>) -> Option<oci::ConsoleSize> {
    size.map(|(height, width)| oci::ConsoleSize { height, width })
}

/// Sends the network's requests from inside its namespace.
fn configure_in(netns: &OwnedFd, requests: &[Vec<u8>]) -> Outcome<()> {
    let (ours, theirs) = fdpass::stream_pair().at(Step::Network, "make a socket pair")?;
    let pid: Pid = match linux::clone3(0, None).at(Step::Network, "fork")? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            let done = linux::setns(netns.as_fd(), flags::NEWNET)
                .at(Step::Network, "join the network namespace")
                .and_then(|()| net::configure(requests));
            if let Err(failure) = done {
                let _ = Connection::new(theirs).send(&*failure, &[]);
            }
            linux::exit_now(0)
        }
    };
    drop(theirs);
    let failure = Connection::new(ours).receive::<Failure>().at(Step::Network, "read from the helper")?;
    let _ = linux::reap(Some(pid), true);
    failure.map_or(Ok(()), |(failure, _)| Err(Box::new(failure)))
}

/// The socket a runtime sends its terminal's master end to.
struct Console {
    socket: OwnedFd,
    path: PathBuf,
}

impl Console {
    fn listen(path: &Path) -> Outcome<Self> {
        let failed = "listen for the runtime's terminal";
        let _ = fs::remove_file(path);
        let address = SocketAddrUnix::new(path).at(Step::Terminal, failed)?;
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .at(Step::Terminal, failed)?;
        rustix::net::bind(&socket, &address).at(Step::Terminal, failed)?;
        rustix::net::listen(&socket, 1).at(Step::Terminal, failed)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// The runtime has ended well, so its message is there.
    fn accept(self) -> Outcome<OwnedFd> {
        let failed = "receive the runtime's terminal";
        let connection = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC).at(Step::Terminal, failed)?;
        let (mut name, mut fds) = (Vec::new(), Vec::new());
        fdpass::receive(connection.as_fd(), &mut name, 4096, &mut fds).at(Step::Terminal, failed)?;
        let _ = fs::remove_file(&self.path);
        fds.into_iter().next().ok_or_else(|| Failure::new(Step::Terminal, failed))
    }
}
