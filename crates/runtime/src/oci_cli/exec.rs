//! `exec`: a further process in a container.

use super::{
    Global,
    arguments::Arguments,
    create::write_pid_file,
    state::{Directory, Record},
    terminal,
};
use crate::{
    compile_process,
    start::{child::Streams, join},
};
use rorqual_error::{Context, Error, Result};
use rorqual_linux::seccomp;
use rorqual_oci::runtime::{self as oci, Status};
use std::{fs, os::fd::AsFd, path::PathBuf};

#[derive(Debug, Default)]
struct Wanted {
    process: Option<PathBuf>,
    tty: bool,
    user: Option<String>,
    groups: Vec<u32>,
    cwd: Option<String>,
    env: Vec<String>,
    caps: Vec<String>,
    no_new_privileges: bool,
    apparmor: Option<String>,
    label: Option<String>,
    detach: bool,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    preserve_fds: u32,
    ignore_paused: bool,
}

/// Runs it; the code is the process's, or 255 where it could not run, as runc's.
pub(super) fn exec(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let wanted = parse(arguments)?;
    let id = arguments.id()?;
    let mut args = arguments.rest();
    if args.first().is_some_and(|first| first == "--") {
        args.remove(0);
    }
    let (directory, record) = Directory::open(global, &id)?;
    match record.status(&directory) {
        Status::Running | Status::Created => {}
        Status::Paused if wanted.ignore_paused => {}
        Status::Paused => {
            return Err(Error::conflict("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        _ => return Err(Error::conflict("cannot exec in a stopped container")),
    }
    let process = document(&wanted, &record, args)?;
    if process.terminal && wanted.detach && wanted.console_socket.is_none() {
        return Err(Error::invalid("cannot allocate tty if runc will detach without setting console socket"));
    }
    let rules = record.spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    let filter = rules.map(seccomp::compile).transpose()?;
    let plan = compile_process(&process, filter.as_ref())?;
    let streams = if process.terminal {
        let size = process.console_size.map(|size| (size.height, size.width));
        Streams::Terminal { size: size.or_else(terminal::own_size) }
    } else {
        Streams::Given(terminal::own_streams()?.map(Some))
    };
    terminal::prepare_self()?;
    let attach = record.cgroup()?.attach_plan();
    let target = join::Target { first: record.pid, cgroup: &attach, own_user: record.own_user };
    let started = join::exec(&target, &plan, streams, wanted.preserve_fds);
    let (pid, master) = started.map_err(|failure| {
        let message = failure.message.strip_suffix(": unknown").unwrap_or(&failure.message);
        Error::internal(format!("exec failed: unable to start container process: {message}"))
    })?;
    write_pid_file(wanted.pid_file.as_deref(), pid)?;
    let master = match (master, &wanted.console_socket) {
        (Some(master), Some(socket)) => {
            terminal::hand_over(socket, master.as_fd())?;
            None
        }
        (master, _) => master,
    };
    if wanted.detach { Ok(0) } else { terminal::wait(pid, master) }
}

fn parse(arguments: &mut Arguments) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--process" | "-p" => wanted.process = Some(arguments.value()?.into()),
            "--tty" | "-t" => wanted.tty = arguments.flag()?,
            "--user" | "-u" => wanted.user = Some(arguments.value()?),
            "--additional-gids" | "-g" => wanted.groups.push(arguments.number()?),
            "--cwd" => wanted.cwd = Some(arguments.value()?),
            "--env" | "-e" => wanted.env.push(arguments.value()?),
            "--cap" | "-c" => wanted.caps.push(arguments.value()?),
            "--no-new-privs" => wanted.no_new_privileges = arguments.flag()?,
            "--apparmor" => wanted.apparmor = Some(arguments.value()?),
            "--process-label" => wanted.label = Some(arguments.value()?),
            "--detach" | "-d" => wanted.detach = arguments.flag()?,
            "--pid-file" => wanted.pid_file = Some(arguments.value()?.into()),
            "--console-socket" => wanted.console_socket = Some(arguments.value()?.into()),
            "--preserve-fds" => wanted.preserve_fds = arguments.number()?,
            "--ignore-paused" => wanted.ignore_paused = arguments.flag()?,
            "--no-subreaper" => drop(arguments.flag()?),
            "--cgroup" | "--pidfd-socket" => drop(arguments.value()?),
            other => return Err(arguments.unknown(other)),
        }
    }
    Ok(wanted)
}

/// The process as a document: given whole, or the container's with changes.
fn document(wanted: &Wanted, record: &Record, args: Vec<String>) -> Result<oci::Process> {
    if let Some(path) = &wanted.process {
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let mut process: oci::Process = oci::parse_document(&bytes)?;
        process.terminal |= wanted.tty;
        return Ok(process);
    }
    if args.is_empty() {
        return Err(Error::invalid("exec: no command given"));
    }
    let mut process = record.spec.process.clone().unwrap_or_default();
    process.args = args;
    process.terminal = wanted.tty;
    process.env.extend(wanted.env.iter().cloned());
    process.no_new_privileges |= wanted.no_new_privileges;
    if let Some(cwd) = &wanted.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(profile) = &wanted.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = &wanted.label {
        process.selinux_label.clone_from(label);
    }
    if let Some(user) = &wanted.user {
        let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
        let number = |text: &str| {
            text.parse::<u32>().map_err(|_| Error::invalid(format!("parsing {text:?} as a number for --user failed")))
        };
        process.user.uid = number(uid)?;
        if !gid.is_empty() {
            process.user.gid = number(gid)?;
        }
    }
    process.user.additional_gids.extend(&wanted.groups);
    if !wanted.caps.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(wanted.caps.iter().cloned());
        }
    }
    Ok(process)
}
