//! The container's first process, from the clone to the program.

use super::{
    identity, mini_init, net, program, rootfs,
    sync::{self, Sources, ToChild, ToMaker},
};
use crate::{
    failure::{At, Outcome},
    plan::{Namespace, Plan},
    protocol::{Connection, Failure, Step},
};
use rorqual_linux::process::{self, flags};
use rustix::{
    fs::{Gid, Mode, OFlags, Uid},
    process::Signal,
};
use std::{
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// The program's ends of its streams.
#[derive(Debug)]
pub enum Streams {
    /// Given by the maker; an absent one is the container's `/dev/null`.
    Given([Option<OwnedFd>; 3]),
    /// A terminal made inside the container.
    Terminal {
        /// First size: rows, columns.
        size: Option<(u16, u16)>,
    },
}

/// What holds the program back once everything is there.
#[derive(Debug)]
pub enum Gate {
    /// The maker's [`ToChild::Go`]. The maker's death is the child's.
    Maker,
    /// A fifo, after the maker's Go: opening it for writing waits for the reader (`start` of the OCI command line).
    Fifo(OwnedFd),
}

/// What the child has of its maker.
#[derive(Debug)]
pub struct Inherited<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// To the maker.
    pub sync: Connection,
    /// Streams.
    pub streams: Streams,
    /// What to wait for.
    pub gate: Gate,
    /// `tasks` files of the container's v1 cgroups.
    pub tasks: &'a [OwnedFd],
    /// Namespaces to join, and their kinds.
    pub joins: &'a [(OwnedFd, u64)],
    /// Descriptors from 3 on that the program gets.
    pub preserved_fds: u32,
}

/// Runs the child. It becomes the program, or tells the maker why not and ends.
pub fn run(mut inherited: Inherited<'_>) -> ! {
    let failure = match start(&mut inherited) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let _ = sync::send(&inherited.sync, &ToMaker::Failed(*failure), &[]);
    process::exit_now(1)
}

fn start(inherited: &mut Inherited<'_>) -> Outcome<Infallible> {
    let plan = inherited.plan;
    let supervised = matches!(inherited.gate, Gate::Maker);
    die_with_maker(supervised)?;
    attach_cgroup(inherited.tasks)?;
    for (fd, kind) in inherited.joins {
        process::setns(fd.as_fd(), *kind).at(Step::Clone, "join a namespace")?;
    }
    let (sources, fds) = receive_sources(&mut inherited.sync)?;
    become_root(plan)?;
    die_with_maker(supervised)?;
    if plan.namespaces.cgroup == Namespace::New {
        process::unshare(flags::NEWCGROUP).at(Step::Clone, "make a cgroup namespace")?;
    }
    rustix::process::umask(Mode::empty());
    rustix::process::setsid().at(Step::Setup, "make a session")?;

    let mut arranged = rootfs::arrange(plan, sources, fds)?;
    let null = || rootfs::open_null(&arranged.root);
    let mut streams = Program::open(&mut inherited.streams, null, || arranged.open_ptmx())?;
    if let (Some(tty), true) = (&streams.terminal, plan.namespaces.mount == Namespace::New) {
        arranged.bind_console(tty.as_fd())?;
    }
    if !(plan.hooks.create_runtime.is_empty() && plan.hooks.create_container.is_empty()) {
        sync::send(&inherited.sync, &ToMaker::BeforePivot, &[])?;
        wait_continue(&mut inherited.sync)?;
        crate::hooks::run_all(&plan.hooks.create_container, &plan.hooks.state, None)?;
    }
    arranged.enter(plan)?;
    if !plan.hostname.is_empty() {
        rustix::system::sethostname(plan.hostname.as_bytes()).at(Step::Hostname, "sethostname")?;
    }
    if !plan.domainname.is_empty() {
        rustix::system::setdomainname(plan.domainname.as_bytes()).at(Step::Hostname, "setdomainname")?;
    }
    arranged.write_sysctls(&plan.sysctls)?;
    let account = identity::look_up(&plan.process)?;
    make_cwd(&plan.process.cwd)?;
    let mut found = None;
    if let Gate::Fifo(_) = inherited.gate {
        // `create` must already say that the program is missing.
        found = Some(program::find(&plan.process, &plan.process.cwd)?);
    }
    report_ready(inherited, &arranged, &mut streams)?;
    let network = wait_go(&mut inherited.sync)?;
    net::configure(&network)?;
    wait_fifo(&inherited.gate, &arranged)?;
    crate::hooks::run_all(&plan.hooks.start_container, &plan.hooks.state, None)?;
    streams.take_over(account.uid)?;

    let sync = &mut inherited.sync;
    let limits = || -> Outcome<()> {
        sync::send(sync, &ToMaker::Limits, &[])?;
        wait_continue(sync)
    };
    let label = arranged.proc.as_ref().map(AsFd::as_fd);
    let mut ready = identity::assume(&plan.process, &account, label, limits)?;
    ready.program = match found {
        Some(found) => found,
        None => program::find(&plan.process, &plan.process.cwd)?,
    };
    let preserved = inherited.preserved_fds;
    process::close_on_exec_from(3 + preserved as i32).at(Step::Setup, "mark descriptors")?;
    rustix::process::set_parent_process_death_signal(None).at(Step::Setup, "clear the death signal")?;
    if plan.init {
        mini_init::split(&ready)?;
    }
    ready.execute()
}

/// Until the program runs, the maker's end is the child's.
fn die_with_maker(supervised: bool) -> Outcome<()> {
    if supervised {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Setup, "set the death signal")?;
    }
    Ok(())
}

/// `0` into `tasks`, while there is one thread, costs no grace period of the kernel; a process id in `cgroup.procs` does.
pub(crate) fn attach_cgroup(tasks: &[OwnedFd]) -> Outcome<()> {
    tasks.iter().try_for_each(|file| {
        rustix::io::write(file, b"0").at(Step::Cgroup, "attach to the container's cgroup")?;
        Ok(())
    })
}

fn receive_sources(sync: &mut Connection) -> Outcome<(Sources, Vec<OwnedFd>)> {
    let (message, mut fds) = sync::receive::<ToChild>(sync)?;
    let ToChild::Mapped(sources) = message else { return Err(out_of_step()) };
    let expected =
        [sources.layers, sources.root, sources.dev].into_iter().filter(|has| *has).count() + sources.binds as usize;
    while fds.len() < expected {
        let (_, more) = sync::receive::<ToChild>(sync)?;
        if more.is_empty() {
            return Err(out_of_step());
        }
        fds.extend(more);
    }
    Ok((sources, fds))
}

/// In a user namespace of its own the process is nobody until it says otherwise.
fn become_root(plan: &Plan) -> Outcome<()> {
    if plan.namespaces.user == Namespace::Host {
        return Ok(());
    }
    become_namespace_root()
}

/// The first ids of the user namespace this process is in.
pub(crate) fn become_namespace_root() -> Outcome<()> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    // Not permitted where the maps were made without setgroups (a rootless namespace that was joined).
    let _ = rustix::thread::set_thread_groups(&[]);
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::IdMap, "become group 0 of the user namespace")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::IdMap, "become user 0 of the user namespace")
}

fn make_cwd(cwd: &str) -> Outcome<()> {
    if cwd.is_empty() || cwd == "/" {
        return Ok(());
    }
    let root = rorqual_linux::root::Root::open_path("/".as_ref()).at(Step::Cwd, "open the root")?;
    let made = root.make(cwd, rorqual_linux::root::Make::Directory);
    // A read-only root is no reason to fail here: entering it will say what is wrong.
    if made.as_ref().is_err_and(|error| error.kind() != std::io::ErrorKind::ReadOnlyFilesystem) {
        made.at_with(Step::Cwd, || format!("mkdir {cwd}"))?;
    }
    Ok(())
}

fn report_ready(inherited: &Inherited<'_>, arranged: &rootfs::Arranged, streams: &mut Program) -> Outcome<()> {
    let master = streams.take_master();
    let fds: Vec<BorrowedFd<'_>> =
        [arranged.made_root.as_ref(), master.as_ref()].into_iter().flatten().map(AsFd::as_fd).collect();
    sync::send(&inherited.sync, &ToMaker::Ready { terminal: master.is_some() }, &fds)
}

fn wait_go(sync: &mut Connection) -> Outcome<Vec<Vec<u8>>> {
    match sync::receive::<ToChild>(sync)?.0 {
        ToChild::Go { network } => Ok(network),
        _ => Err(out_of_step()),
    }
}

fn wait_continue(sync: &mut Connection) -> Outcome<()> {
    match sync::receive::<ToChild>(sync)?.0 {
        ToChild::Continue => Ok(()),
        _ => Err(out_of_step()),
    }
}

/// The fifo was opened by path before the root was entered; it is reopened through our own procfs.
fn wait_fifo(gate: &Gate, arranged: &rootfs::Arranged) -> Outcome<()> {
    let Gate::Fifo(fifo) = gate else { return Ok(()) };
    let proc = arranged.proc.as_ref().ok_or_else(|| Failure::new(Step::Setup, "no procfs to open the start's fifo"))?;
    let path = format!("self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fifo));
    let opened = rustix::fs::openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Setup, "open the start's fifo")?;
    rustix::io::write(&opened, b"0").at(Step::Setup, "write to the start's fifo")?;
    Ok(())
}

fn out_of_step() -> Box<Failure> {
    Failure::new(Step::Setup, "the maker is out of step")
}

/// The program's streams, ready to become descriptors 0 to 2.
#[derive(Debug)]
pub struct Program {
    ends: [OwnedFd; 3],
    terminal: Option<OwnedFd>,
    master: Option<OwnedFd>,
}

impl Program {
    pub(crate) fn open(
        streams: &mut Streams,
        null: impl Fn() -> Outcome<OwnedFd>,
        ptmx: impl FnOnce() -> Outcome<OwnedFd>,
    ) -> Outcome<Self> {
        match streams {
            Streams::Terminal { size } => {
                let (master, slave) = crate::terminal::open(ptmx()?, *size)?;
                let copy = |fd: &OwnedFd| fd.try_clone().at(Step::Terminal, "copy the terminal");
                Ok(Self {
                    ends: [copy(&slave)?, copy(&slave)?, copy(&slave)?],
                    terminal: Some(slave),
                    master: Some(master),
                })
            }
            Streams::Given(given) => {
                let mut end = |index: usize| match given[index].take() {
                    Some(fd) => Ok(fd),
                    None => null(),
                };
                Ok(Self { ends: [end(0)?, end(1)?, end(2)?], terminal: None, master: None })
            }
        }
    }

    /// The terminal's master end, for the one who holds the streams.
    pub(crate) fn take_master(&mut self) -> Option<OwnedFd> {
        self.master.take()
    }

    /// Puts the streams in place; they belong to the program's user, so that it may reopen `/dev/stderr`.
    pub(crate) fn take_over(self, uid: u32) -> Outcome<()> {
        if let Some(terminal) = &self.terminal {
            rustix::process::ioctl_tiocsctty(terminal).at(Step::Terminal, "make the terminal the session's own")?;
        }
        put_in_place(&self.ends, uid)
    }
}

/// Makes three descriptors 0, 1 and 2.
pub(crate) fn put_in_place(ends: &[OwnedFd; 3], uid: u32) -> Outcome<()> {
    for end in ends {
        own(end, uid)?;
    }
    rustix::stdio::dup2_stdin(&ends[0]).at(Step::Setup, "set up stdin")?;
    rustix::stdio::dup2_stdout(&ends[1]).at(Step::Setup, "set up stdout")?;
    rustix::stdio::dup2_stderr(&ends[2]).at(Step::Setup, "set up stderr")
}

/// Gives a stream to the user, except `/dev/null` and what is not ours to give (a file of the caller, another namespace).
fn own(end: &OwnedFd, uid: u32) -> Outcome<()> {
    use rustix::io::Errno;
    let stat = rustix::fs::fstat(end).at(Step::Setup, "look at a stream")?;
    if stat.st_uid == uid || stat.st_rdev == rustix::fs::makedev(1, 3) {
        return Ok(());
    }
    match rustix::fs::fchown(end, Some(Uid::from_raw(uid)), None) {
        Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(error) => Err(error).at(Step::Setup, "give a stream to the program's user"),
    }
}
