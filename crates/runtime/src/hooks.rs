//! Hooks of the OCI runtime specification: programs that get the container's state on stdin.

use crate::{
    failure::{At, Outcome},
    plan::Hook,
    protocol::{Failure, Step},
};
use rorqual_linux::process;
use std::{
    io::{self, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How often a hook with a deadline is looked at.
const POLL: Duration = Duration::from_millis(2);

/// Runs hooks one after the other; the first that fails ends it. `state` is the beginning of the state document; the
/// process id, where the maker knows it, completes it.
pub fn run_all(hooks: &[Hook], state: &str, pid: Option<i32>) -> Outcome<()> {
    let document = match pid {
        Some(pid) => format!("{state},\"pid\":{pid}}}"),
        None => format!("{state},\"pid\":{}}}", rustix::process::getpid().as_raw_nonzero()),
    };
    hooks.iter().try_for_each(|hook| run(hook, &document))
}

fn run(hook: &Hook, document: &str) -> Outcome<()> {
    let what = || format!("run the hook {}", hook.path);
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(args);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|entry| entry.split_once('=')));
    let mut child = spawn_unblocked(command.stdin(Stdio::piped())).at_with(Step::Hook, what)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read it.
        let _ = stdin.write_all(document.as_bytes());
    }
    let deadline = hook.timeout_s.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let status = loop {
        match deadline {
            None => break child.wait().at_with(Step::Hook, what)?,
            Some(deadline) => {
                if let Some(status) = child.try_wait().at_with(Step::Hook, what)? {
                    break status;
                }
                if Instant::now() >= deadline {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Failure::new(Step::Hook, format!("{}: it did not end in time", what())));
                }
                std::thread::sleep(POLL);
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(Step::Hook, format!("error running hook {}: {status}", hook.path)))
}

/// Starts a program with no signal blocked, as ours are: a child begins with its parent's mask.
pub(crate) fn spawn_unblocked(command: &mut Command) -> io::Result<Child> {
    process::unblock_signals()?;
    let child = command.spawn();
    process::block_signals()?;
    child
}
