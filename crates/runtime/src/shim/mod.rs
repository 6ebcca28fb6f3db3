//! The shim: one process per container that makes it, holds its streams, writes its log, reaps, and answers a socket.
//!
//! It has one thread and no state that is not in this module. It outlives the daemon that started it.

mod client;
mod exec;
mod external;
mod launch;
mod process;
mod supervisor;

use crate::{
    failure::{At, Outcome},
    plan::Plan,
    protocol::{Connection, Event, Failure, Step},
};
use rorqual_linux::{memory, process as linux};
use rustix::{
    fs::{Mode, OFlags},
    process::DumpableBehavior,
};
use std::fs;

/// Runs the shim on the control connection that is descriptor 0. Returns the process's exit code.
pub fn supervise() -> i32 {
    // Not 0 itself: that becomes /dev/null. Whatever else the daemon's parents left open is no business of ours.
    let _ = linux::close_from(3);
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return 2 };
    let mut control = Connection::new(control);
    if let Err(failure) = prepare_self() {
        let _ = control.send(&Event::Failed(*failure), &[]);
        return 1;
    }
    let plan = match control.receive::<Plan>() {
        Ok(Some((plan, _))) => plan,
        Ok(None) => return 0,
        Err(error) => {
            let failure = Failure::new(Step::Setup, format!("read the plan: {error}"));
            let _ = control.send(&Event::Failed(*failure), &[]);
            return 1;
        }
    };
    let mut supervisor = match launch::launch(plan, control) {
        Ok(supervisor) => supervisor,
        Err((control, failure)) => {
            let _ = control.send(&Event::Failed(*failure), &[]);
            return 1;
        }
    };
    // The plan is gone; what it took goes back to the kernel.
    memory::trim_heap();
    supervisor.run()
}

/// What a process that outlives its parent and holds a container needs: a session of its own, no signal that ends it by
/// chance, no way in for others (R5), and 0 to 2 taken, so that no later descriptor lands there.
fn prepare_self() -> Outcome<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Setup, "open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).at(Step::Setup, "set up stdin")?;
    linux::block_signals().at(Step::Setup, "block signals")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Setup, "become undumpable")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).at(Step::Setup, "become a subreaper")?;
    // It may lead a session already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::thread::set_name(c"rorqual-shim").at(Step::Setup, "set the name")
}

/// Protects the shim from the kernel's search for memory; refused without CAP_SYS_RESOURCE.
fn avoid_oom_killer() {
    let _ = fs::write("/proc/self/oom_score_adj", "-999");
}
