//! What happens to a container that exists.

use super::{
    Global,
    arguments::Arguments,
    create::run_hooks,
    state::{Directory, Record},
};
use rorqual_error::{Context, Error, Result};
use rorqual_linux::process;
use rorqual_oci::runtime::{Resources, Status};
use rorqual_types::Signal;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{Mode, OFlags},
};
use serde_json::json;
use std::{
    fs,
    io::Read,
    time::{Duration, Instant},
};

/// How often a dead container is looked for while it should start, ns.
const START_POLL_NS: i64 = 100_000_000;
/// How long a killed container may take to end before its deletion fails.
const KILL_WAIT: Duration = Duration::from_secs(10);
const KILL_POLL: Duration = Duration::from_millis(2);

fn id_only(arguments: &mut Arguments) -> Result<String> {
    if let Some(option) = arguments.option()? {
        return Err(arguments.unknown(&option));
    }
    arguments.id()
}

pub(super) fn start(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let id = id_only(arguments)?;
    release(global, &id)?;
    Ok(0)
}

/// Lets a created container go on to its program.
pub(super) fn release(global: &Global, id: &str) -> Result<()> {
    let (directory, record) = Directory::open(global, id)?;
    match record.status(&directory) {
        Status::Created => {}
        Status::Stopped => return Err(Error::conflict("cannot start a container that has stopped")),
        _ => return Err(Error::conflict("cannot start an already running container")),
    }
    // Opening for reading does not wait; the container's own open does, until now.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fifo = rustix::fs::open(directory.fifo(), flags, Mode::empty()).context("open the start's fifo")?;
    let timeout = Timespec { tv_sec: 0, tv_nsec: START_POLL_NS };
    loop {
        let mut polled = [PollFd::new(&fifo, PollFlags::IN)];
        let ready = rustix::event::poll(&mut polled, Some(&timeout)).context("wait for the container")?;
        if ready > 0 && rustix::io::read(&fifo, &mut [0u8; 8]).is_ok_and(|count| count > 0) {
            break;
        }
        if !record.is_alive() {
            return Err(Error::conflict("container process is already dead"));
        }
    }
    fs::remove_file(directory.fifo()).context("remove the start's fifo")?;
    run_hooks(&record.spec.hooks.poststart, &record, &directory)
}

pub(super) fn state(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let id = id_only(arguments)?;
    let (directory, record) = Directory::open(global, &id)?;
    println!("{}", serde_json::to_string_pretty(&shown(&record, &directory)).context("encode the state")?);
    Ok(0)
}

/// The specification's state and what runc adds.
fn shown(record: &Record, directory: &Directory) -> serde_json::Value {
    let mut state = json!(record.state(directory));
    state["pid"] = json!(record.state(directory).pid);
    state["rootfs"] = json!(record.rootfs);
    state["created"] = json!(record.created);
    state["owner"] = json!("");
    state
}

pub(super) fn kill(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let mut all = false;
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--all" | "-a" => all = arguments.flag()?,
            other => return Err(arguments.unknown(other)),
        }
    }
    let id = arguments.id()?;
    let signal: Signal = arguments.word().as_deref().unwrap_or("SIGTERM").parse()?;
    let (_, record) = Directory::open(global, &id)?;
    if all {
        for pid in record.cgroup()?.pids().unwrap_or_default() {
            let _ = process::kill(pid, signal.number());
        }
        return Ok(0);
    }
    if !record.is_alive() {
        return Err(Error::conflict("container not running"));
    }
    process::kill(record.pid, signal.number()).context("signal the container")?;
    Ok(0)
}

pub(super) fn delete(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let mut force = false;
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--force" | "-f" => force = arguments.flag()?,
            other => return Err(arguments.unknown(other)),
        }
    }
    let id = arguments.id()?;
    match remove(global, &id, force) {
        // Nothing there is what was wanted.
        Err(error) if force && error.kind() == rorqual_error::Kind::NotFound => Ok(0),
        result => result.map(|()| 0),
    }
}

/// Removes a container; one that runs only with `force`.
pub(super) fn remove(global: &Global, id: &str, force: bool) -> Result<()> {
    let (directory, record) = match Directory::open(global, id) {
        Err(error) if force => {
            // A create that was cut off left a directory without a state.
            let _ = fs::remove_dir_all(global.root.join(id));
            return Err(error);
        }
        result => result?,
    };
    let status = record.status(&directory);
    match status {
        Status::Stopped => {}
        Status::Created => end(&record)?,
        _ if force => end(&record)?,
        status => {
            let status = serde_json::to_value(status).context("encode the status")?;
            let status = status.as_str().unwrap_or_default().to_owned();
            return Err(Error::conflict(format!("cannot delete container {id} that is not stopped: {status}")));
        }
    }
    let cgroup = record.cgroup()?;
    // What the first process left behind, when it had no process ids of its own.
    let _ = cgroup.kill_all();
    cgroup.remove()?;
    directory.remove()?;
    run_hooks(&record.spec.hooks.poststop, &record, &directory)
}

fn end(record: &Record) -> Result<()> {
    process::kill(record.pid, 9).context("kill the container")?;
    let cgroup = record.cgroup()?;
    let _ = cgroup.thaw();
    let deadline = Instant::now() + KILL_WAIT;
    while record.is_alive() {
        if Instant::now() > deadline {
            return Err(Error::internal("container init still running"));
        }
        std::thread::sleep(KILL_POLL);
    }
    Ok(())
}

pub(super) fn list(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let (mut json_wanted, mut quiet) = (false, false);
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--format" | "-f" => json_wanted = arguments.value()? == "json",
            "--quiet" | "-q" => quiet = arguments.flag()?,
            other => return Err(arguments.unknown(other)),
        }
    }
    let mut names: Vec<String> = match fs::read_dir(&global.root) {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).context("read the states"),
    };
    names.sort();
    let states: Vec<serde_json::Value> = names
        .iter()
        .filter_map(|name| Directory::open(global, name).ok())
        .map(|(directory, record)| shown(&record, &directory))
        .collect();
    if quiet {
        states.iter().for_each(|state| println!("{}", state["id"].as_str().unwrap_or_default()));
    } else if json_wanted {
        println!("{}", json!(states));
    } else {
        println!("{:<12}{:<12}{:<12}{:<24}{:<32}OWNER", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
        for state in &states {
            let text = |name: &str| state[name].as_str().unwrap_or_default().to_owned();
            println!(
                "{:<12}{:<12}{:<12}{:<24}{:<32}root",
                text("id"),
                state["pid"],
                text("status"),
                text("bundle"),
                text("created")
            );
        }
    }
    Ok(0)
}

pub(super) fn ps(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let mut json_wanted = false;
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--format" | "-f" => json_wanted = arguments.value()? == "json",
            other => return Err(arguments.unknown(other)),
        }
    }
    let id = arguments.id()?;
    let (_, record) = Directory::open(global, &id)?;
    let pids = record.cgroup()?.pids()?;
    if json_wanted {
        println!("{}", json!(pids));
        return Ok(0);
    }
    println!("PID       COMMAND");
    for pid in pids {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        println!("{pid:<10}{}", name.trim_end());
    }
    Ok(0)
}

pub(super) fn pause(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let id = id_only(arguments)?;
    let (directory, record) = Directory::open(global, &id)?;
    match record.status(&directory) {
        Status::Running | Status::Created => record.cgroup()?.freeze()?,
        _ => return Err(Error::conflict("container not running or created")),
    }
    Ok(0)
}

pub(super) fn resume(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let id = id_only(arguments)?;
    let (directory, record) = Directory::open(global, &id)?;
    match record.status(&directory) {
        Status::Paused => record.cgroup()?.thaw()?,
        _ => return Err(Error::conflict("container not paused")),
    }
    Ok(0)
}

pub(super) fn update(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let mut file = None;
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--resources" | "-r" => file = Some(arguments.value()?),
            other => return Err(arguments.unknown(other)),
        }
    }
    let id = arguments.id()?;
    let mut bytes = Vec::new();
    match file.as_deref() {
        Some("-") => drop(std::io::stdin().take(1 << 20).read_to_end(&mut bytes).context("read the resources")?),
        Some(path) => bytes = fs::read(path).with_context(|| format!("read {path}"))?,
        None => return Err(Error::invalid("update needs --resources")),
    }
    let resources: Resources = rorqual_oci::runtime::parse_document(&bytes)?;
    let (_, record) = Directory::open(global, &id)?;
    record.cgroup()?.update(&resources)?;
    Ok(0)
}
