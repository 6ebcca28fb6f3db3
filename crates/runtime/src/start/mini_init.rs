//! `--init`: process 1 that reaps and passes signals on, and ends as the program ends.

use super::program::Program;
use crate::{
    failure::{At, Outcome},
    protocol::Step,
};
use rorqual_linux::process::{self, Forked};
use rustix::process::Pid;

/// SIGCHLD.
const CHILD: i32 = 17;

/// Returns in a new process, which becomes the program; the old one stays as init under the same restrictions.
pub(super) fn split(program: &Program) -> Outcome<()> {
    // Orphans come here even without a process id namespace of the container's own.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).at(Step::Setup, "become a subreaper")?;
    match process::clone3(0, None).at(Step::Clone, "fork the program from its init")? {
        Forked::Child => {
            // A process group of its own, in the foreground: the terminal's signals go to the program, not to both.
            let own = rustix::process::getpid();
            let _ = rustix::process::setpgid(None, None);
            if rustix::termios::isatty(rustix::stdio::stdin()) {
                // Signals are still blocked, SIGTTOU too.
                let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), own);
            }
            Ok(())
        }
        Forked::Parent(main) => {
            let _ = process::block_signals();
            let code = match program.restrict() {
                Ok(()) => serve(main),
                Err(_) => 255,
            };
            process::exit_now(code)
        }
    }
}

/// Passes signals to the program and reaps until it has ended.
fn serve(main: Pid) -> i32 {
    // Streams too: their end is the program's end.
    let _ = process::close_from(0);
    let main = main.as_raw_nonzero().get();
    loop {
        match process::wait_signal() {
            CHILD => {
                while let Ok(Some(ended)) = process::reap(None, false) {
                    if ended.pid == main {
                        return ended.code;
                    }
                }
            }
            signal => {
                let _ = process::kill(main, signal);
            }
        }
    }
}
