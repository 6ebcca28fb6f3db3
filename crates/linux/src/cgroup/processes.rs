//! What concerns the processes of a cgroup: list, freeze, kill, wait for the last.

use super::{Cgroup, Part, write_file};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

/// Rounds of the version 1 kill loop; each sees the processes forked during the one before.
const KILL_ROUNDS: usize = 64;
/// Processes watched at once while waiting on version 1.
const WATCHED_MAX: usize = 64;

/// The directory whose process list is complete: version 2's, or any of version 1.
fn tree(cgroup: &Cgroup) -> Option<&Part> {
    let named = |name: &str| cgroup.parts.iter().find(|part| part.has(name));
    cgroup
        .parts
        .iter()
        .find(|part| part.v2)
        .or_else(|| named("freezer"))
        .or_else(|| named("pids"))
        .or_else(|| cgroup.parts.first())
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

pub(super) fn pids(cgroup: &Cgroup) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    if let Some(part) = tree(cgroup) {
        collect(&part.dir, &mut found)?;
    }
    Ok(found)
}

fn collect(dir: &Path, found: &mut Vec<i32>) -> io::Result<()> {
    let text = match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => text,
        Err(error) if gone(&error) => return Ok(()),
        // A threaded cgroup: its processes are listed by the domain above.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => String::new(),
        Err(error) => return Err(error),
    };
    // A process of another PID namespace reads as 0.
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found)?;
        }
    }
    Ok(())
}

pub(super) fn freeze(cgroup: &Cgroup, deadline: Instant) -> io::Result<()> {
    if let Some(dir) = cgroup.unified() {
        write_file(&dir.join("cgroup.freeze"), "1")?;
        return if wait_event(dir, "frozen 1", deadline)? { Ok(()) } else { Err(give_up(cgroup)) };
    }
    let state = freezer(cgroup)?.dir.join("freezer.state");
    loop {
        // Written again each time: a process that forked meanwhile would stay in FREEZING.
        write_file(&state, "FROZEN")?;
        if fs::read_to_string(&state)?.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(give_up(cgroup));
        }
        // Version 1 tells nobody when it is done.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Half frozen is worse than not at all.
fn give_up(cgroup: &Cgroup) -> io::Error {
    let _ = thaw(cgroup);
    io::Error::new(io::ErrorKind::TimedOut, "some process does not stop")
}

pub(super) fn thaw(cgroup: &Cgroup) -> io::Result<()> {
    match cgroup.unified() {
        Some(dir) => write_file(&dir.join("cgroup.freeze"), "0"),
        None => write_file(&freezer(cgroup)?.dir.join("freezer.state"), "THAWED"),
    }
}

fn freezer(cgroup: &Cgroup) -> io::Result<&Part> {
    let missing = || io::Error::new(io::ErrorKind::Unsupported, "the freezer controller is not mounted");
    cgroup.parts.iter().find(|part| part.has("freezer")).ok_or_else(missing)
}

pub(super) fn kill_all(cgroup: &Cgroup) -> io::Result<()> {
    if let Some(dir) = cgroup.unified() {
        match write_file(&dir.join("cgroup.kill"), "1") {
            Ok(()) => {}
            // Not there before 5.14, or the whole cgroup is gone: the loop finds out.
            Err(error) if gone(&error) => return kill_loop(cgroup),
            Err(error) => return Err(error),
        }
        // Normally nothing is left; but a process that was only put into the version 1 cgroups must die too.
        return if stragglers(cgroup)?.is_empty() { Ok(()) } else { kill_loop(cgroup) };
    }
    kill_loop(cgroup)
}

/// Processes of a version 1 part; all that are not in the version 2 one, and those that are dying.
fn stragglers(cgroup: &Cgroup) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    let by_name = |name: &str| cgroup.parts.iter().find(|part| !part.v2 && part.has(name));
    if let Some(part) = by_name("freezer").or_else(|| by_name("pids")) {
        collect(&part.dir, &mut found)?;
    } else if let Some(part) = tree(cgroup) {
        collect(&part.dir, &mut found)?;
    }
    Ok(found)
}

/// Freezes (so that nothing forks away), signals, thaws (so that the signal is taken); without a freezer, until no new
/// process appears.
fn kill_loop(cgroup: &Cgroup) -> io::Result<()> {
    let state = freezer(cgroup).ok().map(|part| part.dir.join("freezer.state"));
    let mut signalled: Vec<i32> = Vec::new();
    let mut result = Ok(());
    for _ in 0..KILL_ROUNDS {
        if let Some(state) = &state {
            let _ = write_file(state, "FROZEN");
        }
        let mut fresh = stragglers(cgroup)?;
        fresh.retain(|pid| !signalled.contains(pid));
        if fresh.is_empty() {
            break;
        }
        for pid in &fresh {
            result = result.and(kill(*pid));
        }
        signalled.append(&mut fresh);
        if let Some(state) = &state {
            let _ = write_file(state, "THAWED");
        }
    }
    if let Some(state) = &state {
        let _ = write_file(state, "THAWED");
    }
    result
}

fn kill(pid: i32) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    match kill_process(pid, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until nothing runs inside; false when the deadline came first.
pub(super) fn wait_empty(cgroup: &Cgroup, deadline: Instant) -> io::Result<bool> {
    if let Some(dir) = cgroup.unified()
        && !wait_event(dir, "populated 0", deadline)?
    {
        return Ok(false);
    }
    loop {
        let left = stragglers(cgroup)?;
        if left.is_empty() {
            return Ok(true);
        }
        // Without an event for the cgroup as a whole: the end of any of its processes.
        let handles: Vec<OwnedFd> = left.iter().take(WATCHED_MAX).filter_map(|pid| handle(*pid)).collect();
        if handles.is_empty() {
            // All are gone or dying; their entries follow in a moment.
            std::thread::sleep(Duration::from_micros(200));
        } else {
            let mut watched: Vec<PollFd<'_>> = handles.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            wait(&mut watched, deadline)?;
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
    }
}

fn handle(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Waits until `cgroup.events` has the line; a removed cgroup has every line.
fn wait_event(dir: &Path, line: &str, deadline: Instant) -> io::Result<bool> {
    let mut file = match File::open(dir.join("cgroup.events")) {
        Err(error) if gone(&error) => return Ok(true),
        other => other?,
    };
    let mut text = String::new();
    loop {
        text.clear();
        file.rewind()?;
        match file.read_to_string(&mut text) {
            Err(error) if gone(&error) => return Ok(true),
            other => other?,
        };
        if text.lines().any(|found| found == line) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        wait(&mut [PollFd::new(&file, PollFlags::PRI)], deadline)?;
    }
}

fn wait(watched: &mut [PollFd<'_>], deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) as _ };
    match poll(watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
