//! What is left of a run is taken away; and the dance of a stop: signal, patience, SIGKILL.

use super::{StopOptions, handle::Handle, record::View, task::Command};
use crate::{limits::KILL_DEADLINE, parts::Parts};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::failpoint;
use rorqual_types::{ContainerId, Signal};
use std::{process::Child, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Everything a run leaves: processes, cgroup, network, mounts of volumes, ids and files. Each step goes on when another
/// fails; what stays is taken up again when the engine opens, for its run directory is removed last.
#[derive(Debug)]
pub(super) struct Teardown {
    pub parts: Arc<Parts>,
    pub id: ContainerId,
    pub cgroup: String,
    /// The shim, to be reaped.
    pub child: Option<Child>,
    /// Whether the shim must be ended first.
    pub kill_child: bool,
}

impl Teardown {
    /// Blocks until all is gone or has failed.
    pub fn run(self) {
        let mut left = Left::default();
        let cgroup = self.parts.cgroups.open(&self.cgroup);
        left.note("kill", cgroup.kill_all());
        if let Some(mut child) = self.child {
            if self.kill_child {
                // It may have ended by itself.
                let _ = child.kill();
            }
            left.note("reap", child.wait().map(drop).context("wait for the shim"));
        }
        self.parts.networks.release(&self.id);
        left.note("fail point", failpoint!("teardown.released"));
        self.parts.volumes.unmount(&self.id);
        left.note("shm", unmount_shm(&super::document::shm_dir(&self.parts, &self.id)));
        left.note("cgroup", cgroup.remove());
        left.note("fail point", failpoint!("teardown.cgroup"));
        self.parts.id_ranges.release(&self.id);
        if left.errors.is_empty() {
            left.note("run directory", remove_dir(&self.parts.run_dir(&self.id)));
        }
        if !left.errors.is_empty() {
            tracing::error!(container = %self.id, errors = left.errors.join("; "), "something is left of a run");
        }
    }
}

/// What could not be taken away.
#[derive(Default)]
struct Left {
    errors: Vec<String>,
}

impl Left {
    fn note(&mut self, step: &str, result: Result<()>) {
        if let Err(error) = result {
            self.errors.push(format!("{step}: {error}"));
        }
    }
}

/// Unmounts the `/dev/shm` that others could join, where there is one.
fn unmount_shm(dir: &std::path::Path) -> Result<()> {
    use rustix::{io::Errno, mount::UnmountFlags};
    match rustix::mount::unmount(dir, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => Ok(()),
        Err(error) => Err(Error::internal(format!("unmount {}", dir.display())).caused_by(error)),
    }
}

/// Removes a directory and all in it; a missing one is fine.
fn remove_dir(dir: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::internal(format!("remove {}", dir.display())).caused_by(error))
        }
        _ => Ok(()),
    }
}

/// Waits until the container has come to rest more often than `stops` times, or is gone.
async fn rest(view: &mut watch::Receiver<Arc<View>>, stops: u64) {
    // An error is the end of its task: it is gone, or the engine closes.
    let _ = view.wait_for(|view| view.stops > stops || view.removed).await;
}

/// Stops a running container. `keep` leaves an automatic removal out, for a restart follows.
pub(super) async fn stop(handle: &Handle, options: &StopOptions, default_timeout_s: i64, keep: bool) -> Result<()> {
    let mut view = handle.subscribe();
    let (signal, timeout_s, stops) = {
        let view = view.borrow_and_update();
        let signal = options.signal.unwrap_or_else(|| view.record.stop_signal());
        let timeout_s = options.timeout_s.or(view.record.config.stop_timeout).unwrap_or(default_timeout_s);
        (signal, timeout_s, view.stops)
    };
    if !handle.ask(|reply| Command::Stop { signal: signal.number(), keep, reply }).await? {
        return Ok(());
    }
    match u64::try_from(timeout_s) {
        Err(_) => {
            rest(&mut view, stops).await;
            return Ok(());
        }
        Ok(seconds) => {
            if tokio::time::timeout(Duration::from_secs(seconds), rest(&mut view, stops)).await.is_ok() {
                return Ok(());
            }
        }
    }
    kill(handle, &mut view, stops).await
}

/// Sends SIGKILL and waits for the end.
pub(super) async fn kill(handle: &Handle, view: &mut watch::Receiver<Arc<View>>, stops: u64) -> Result<()> {
    let signal = Signal::KILL.number();
    match handle.ask(|reply| Command::Kill { signal, by_user: true, reply }).await {
        // It has ended in the meantime.
        Err(_) if view.borrow().stops > stops || view.borrow().removed => return Ok(()),
        result => result?,
    }
    match tokio::time::timeout(KILL_DEADLINE, rest(view, stops)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::internal("tried to kill container, but did not receive an exit event")),
    }
}
