//! A further process in a running container.

use super::{
    external,
    launch::streams,
    process::{Ends, Process},
};
use crate::{
    failure::Outcome,
    plan::{IdMap, ProcessPlan},
    start::join,
};
use rorqual_linux::cgroup::AttachPlan;
use rorqual_logs::time;

/// What a daemon asks for.
pub(super) struct Wanted {
    pub id: String,
    pub process: Box<ProcessPlan>,
    pub stdin: bool,
    pub tty: bool,
    pub console_size: Option<(u16, u16)>,
    pub detach: bool,
}

/// The container it happens in.
pub(super) struct Context<'a> {
    pub first: i32,
    pub cgroup: &'a AttachPlan,
    pub map: Option<&'a IdMap>,
    pub own_user: bool,
    pub external: Option<&'a external::Handle>,
}

/// Starts it; returns once its program runs.
pub(super) fn start(context: &Context<'_>, wanted: &Wanted) -> Outcome<Process> {
    let (theirs, ours) = streams(wanted.tty, wanted.stdin, wanted.console_size, context.map)?;
    let (pid, terminal) = match context.external {
        Some(external) => external.exec(wanted, theirs)?,
        None => {
            let target = join::Target { first: context.first, cgroup: context.cgroup, own_user: context.own_user };
            join::exec(&target, &wanted.process, theirs, 0)?
        }
    };
    let ends = Ends { terminal, ..ours };
    Ok(Process::new(Some(wanted.id.clone()), pid, wanted.tty, ends, time::now()))
}
