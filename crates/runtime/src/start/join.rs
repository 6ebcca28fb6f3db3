//! A process that joins a running container: one clone, straight into the container's process id namespace, then the
//! other namespaces, then the same step down as the container's first process took.

use super::{
    child::{Program, Streams, attach_cgroup, become_namespace_root},
    identity,
    maker::in_pid_namespace,
    program,
    sync::{self, ToChild, ToMaker},
};
use crate::{
    failure::{At, Outcome},
    plan::ProcessPlan,
    protocol::{Connection, Failure, Step},
};
use rorqual_linux::{
    cgroup::AttachPlan,
    fdpass,
    process::{self, Forked, flags},
    root::Root,
};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::{
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// The container to join.
#[derive(Debug)]
pub struct Target<'a> {
    /// Its first process.
    pub first: i32,
    /// Its cgroup.
    pub cgroup: &'a AttachPlan,
    /// Whether its user namespace is not the caller's.
    pub own_user: bool,
}

/// Runs `plan` there; returns its process id and, with a terminal, the master end, once the program runs. A failure's code
/// is 126 where docker has no better one.
pub fn exec(
    target: &Target<'_>,
    plan: &ProcessPlan,
    streams: Streams,
    preserved_fds: u32,
) -> Outcome<(i32, Option<OwnedFd>)> {
    let first = Pid::from_raw(target.first).ok_or_else(|| Failure::new(Step::State, "the container has no process"))?;
    let pidfd =
        rustix::process::pidfd_open(first, PidfdFlags::empty()).at(Step::State, "open the container's process")?;
    let cgroup = target.cgroup.open().at(Step::Cgroup, "open the container's cgroup")?;
    let (ours, theirs) = fdpass::stream_pair().at(Step::Setup, "make the start's socket pair")?;
    let unified = cgroup.unified.as_ref().map(AsFd::as_fd);
    let pid = match in_pid_namespace(pidfd.as_fd(), || process::clone3(0, unified))? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(ours);
            let mut sync = Connection::new(theirs);
            let failure = match run(target, plan, streams, preserved_fds, pidfd.as_fd(), &cgroup.tasks, &mut sync) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            let _ = sync::send(&sync, &ToMaker::Failed(*failure), &[]);
            process::exit_now(1)
        }
    };
    drop((theirs, streams));
    let raw = pid.as_raw_nonzero().get();
    wait_started(Connection::new(ours), raw, plan).map(|terminal| (raw, terminal)).map_err(|mut failure| {
        let _ = process::kill(raw, 9);
        let _ = process::reap(Some(pid), true);
        if failure.code == 125 {
            failure.code = 126;
        }
        failure
    })
}

fn wait_started(mut sync: Connection, pid: i32, plan: &ProcessPlan) -> Outcome<Option<OwnedFd>> {
    let mut terminal = None;
    if let Some(score) = plan.oom_score_adj {
        // As for the first process: not every machine lets it be lowered.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string());
    }
    sync::send(&sync, &ToChild::Continue, &[])?;
    loop {
        match sync.receive::<ToMaker>().at(Step::Setup, "read from the exec's process")? {
            None => return Ok(terminal),
            Some((ToMaker::Ready { .. }, fds)) => terminal = fds.into_iter().next(),
            Some((ToMaker::Limits, _)) => {
                for limit in &plan.rlimits {
                    process::set_rlimit(pid, limit.resource, limit.soft, limit.hard)
                        .at_with(Step::Rlimit, || format!("error setting rlimit type {}", limit.resource))?;
                }
                sync::send(&sync, &ToChild::Continue, &[])?;
            }
            Some((ToMaker::Failed(failure), _)) => return Err(Box::new(failure)),
            Some((ToMaker::BeforePivot, _)) => return Err(Failure::new(Step::Setup, "the exec is out of step")),
        }
    }
}

fn run(
    target: &Target<'_>,
    plan: &ProcessPlan,
    mut streams: Streams,
    preserved_fds: u32,
    pidfd: BorrowedFd<'_>,
    tasks: &[OwnedFd],
    sync: &mut Connection,
) -> Outcome<Infallible> {
    let die =
        || rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Setup, "set the death signal");
    die()?;
    attach_cgroup(tasks)?;
    wait_continue(sync)?;
    let mut kinds = flags::NEWNS | flags::NEWNET | flags::NEWIPC | flags::NEWUTS | flags::NEWCGROUP;
    if target.own_user {
        kinds |= flags::NEWUSER;
    }
    process::setns(pidfd, kinds).at(Step::Clone, "join the container's namespaces")?;
    if target.own_user {
        become_namespace_root()?;
        die()?;
    }
    rustix::process::setsid().at(Step::Setup, "make a session")?;
    let root = Root::open_path("/".as_ref()).at(Step::Rootfs, "open the root")?;
    let mut program = Program::open(
        &mut streams,
        || super::rootfs::open_null(&root),
        || {
            let pts = root.locate("/dev/pts").at(Step::Terminal, "open /dev/pts")?;
            crate::terminal::open_ptmx(pts.as_fd())
        },
    )?;
    let account = identity::look_up(plan)?;
    if let Some(master) = program.take_master() {
        sync::send(sync, &ToMaker::Ready { terminal: true }, &[master.as_fd()])?;
    }
    program.take_over(account.uid)?;
    let labelled = !(plan.apparmor.is_empty() && plan.selinux.is_empty());
    let proc = if labelled { rorqual_linux::mount::filesystem("proc", "proc", &[], 0).ok() } else { None };
    let limits = || {
        sync::send(sync, &ToMaker::Limits, &[])?;
        wait_continue(sync)
    };
    let mut ready = identity::assume(plan, &account, proc.as_ref().map(AsFd::as_fd), limits)?;
    ready.program = program::find(plan, &plan.cwd)?;
    process::close_on_exec_from(3 + preserved_fds as i32).at(Step::Setup, "mark descriptors")?;
    rustix::process::set_parent_process_death_signal(None).at(Step::Setup, "clear the death signal")?;
    ready.execute()
}

fn wait_continue(sync: &mut Connection) -> Outcome<()> {
    match sync::receive::<ToChild>(sync)?.0 {
        ToChild::Continue => Ok(()),
        _ => Err(Failure::new(Step::Setup, "the maker is out of step")),
    }
}
