//! `create` and `run`.

use super::{
    Global,
    arguments::Arguments,
    lifecycle,
    state::{Directory, Record, absolute, cgroup_path, start_ticks},
    terminal,
};
use crate::{
    compile::{self, hook},
    hooks,
    plan::{Io, Namespace, Options, Plan, Rootfs, RuntimeKind},
    protocol::Failure,
    start::{
        child::{Gate, Streams},
        maker::{self, Begun},
        net,
    },
};
use rorqual_error::{Context, Error, Result};
use rorqual_linux::{cgroup::Cgroups, process, seccomp};
use rorqual_logs::time;
use rorqual_oci::runtime as oci;
use rustix::fs::{Mode, OFlags};
use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

#[derive(Debug, Default)]
struct Wanted {
    bundle: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    preserve_fds: u32,
    detach: bool,
    keep: bool,
    id: String,
}

/// Makes a container that waits for `start`.
pub(super) fn create(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let wanted = parse(arguments)?;
    make(global, &wanted, false)?;
    Ok(0)
}

/// Makes a container, starts it and, unless detached, waits for its end.
pub(super) fn run(global: &Global, arguments: &mut Arguments) -> Result<i32> {
    let wanted = parse(arguments)?;
    let (pid, master) = make(global, &wanted, !wanted.detach)?;
    lifecycle::release(global, &wanted.id)?;
    if wanted.detach {
        return Ok(0);
    }
    let code = terminal::wait(pid, master)?;
    if !wanted.keep {
        lifecycle::remove(global, &wanted.id, true)?;
    }
    Ok(code)
}

fn parse(arguments: &mut Arguments) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--bundle" | "-b" => wanted.bundle = Some(arguments.value()?.into()),
            "--console-socket" => wanted.console_socket = Some(arguments.value()?.into()),
            "--pid-file" => wanted.pid_file = Some(arguments.value()?.into()),
            "--preserve-fds" => wanted.preserve_fds = arguments.number()?,
            "--detach" | "-d" => wanted.detach = arguments.flag()?,
            "--keep" => wanted.keep = arguments.flag()?,
            // pivot_root is always possible here but from a root that is no mount, where nothing else is safe either.
            "--no-pivot" | "--no-new-keyring" | "--no-subreaper" => drop(arguments.flag()?),
            "--pidfd-socket" => drop(arguments.value()?),
            other => return Err(arguments.unknown(other)),
        }
    }
    wanted.id = arguments.id()?;
    Ok(wanted)
}

/// Reads the bundle and makes its container; with `foreground` a terminal's master end comes back.
fn make(global: &Global, wanted: &Wanted, foreground: bool) -> Result<(i32, Option<OwnedFd>)> {
    let bundle = match &wanted.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().context("the working directory")?,
    };
    let bundle = fs::canonicalize(&bundle).with_context(|| format!("bundle {}", bundle.display()))?;
    let bytes = fs::read(bundle.join("config.json")).context("JSON specification file config.json not found")?;
    let spec = oci::Spec::parse(&bytes)?;
    let directory = Directory::create(global, &wanted.id)?;
    let cgroup_path = cgroup_path(
        spec.linux.as_ref().map_or("", |linux| linux.cgroups_path.as_str()),
        &wanted.id,
        global.systemd_cgroup,
    );
    let made = cgroup_path.and_then(|path| make_in(&directory, wanted, bundle, spec, path, foreground));
    if made.is_err() {
        let _ = directory.remove();
    }
    made
}

fn make_in(
    directory: &Directory,
    wanted: &Wanted,
    bundle: PathBuf,
    mut spec: oci::Spec,
    cgroup_path: String,
    foreground: bool,
) -> Result<(i32, Option<OwnedFd>)> {
    let root = spec.root.clone().ok_or_else(|| Error::invalid("the document has no root"))?;
    let rootfs = absolute(&bundle, &root.path);
    for mount in &mut spec.mounts {
        let is_bind = mount.options.iter().any(|option| option == "bind" || option == "rbind") || mount.kind == "bind";
        if is_bind && !mount.source.is_empty() {
            mount.source = absolute(&bundle, &mount.source).to_string_lossy().into_owned();
        }
    }
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    if terminal && wanted.console_socket.is_none() && !foreground {
        return Err(Error::invalid("cannot allocate tty if runc will detach without setting console socket"));
    }
    let resources = resources(&spec);
    let cgroup = Cgroups::detect()?.create(&cgroup_path, &resources)?;
    let result = (|| {
        let rules = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
        let filter = rules.map(seccomp::compile).transpose()?;
        let size = spec.process.as_ref().and_then(|process| process.console_size);
        let options = Options {
            id: wanted.id.clone(),
            dir: directory.path.clone(),
            rootfs: Rootfs::Bind { path: rootfs.clone(), readonly: root.readonly },
            io: Io {
                tty: terminal,
                stdin_open: true,
                stdin_once: false,
                console_size: size.map(|size| (size.height, size.width)),
            },
            log: None,
            userns: None,
            init: false,
            runtime: RuntimeKind::Own,
            cgroup: cgroup.attach_plan(),
            group_add: Vec::new(),
        };
        let mut plan = compile::compile(&spec, options, filter.as_ref())?;
        set_bundle(&mut plan, &bundle);
        let streams = streams(&plan, foreground)?;
        make_fifo(directory)?;
        let own_user = plan.namespaces.user != Namespace::Host;
        let (pid, master) = start(directory, &plan, streams, wanted)?;
        let record = Record {
            id: wanted.id.clone(),
            pid,
            start_ticks: start_ticks(pid).unwrap_or_default(),
            bundle,
            rootfs,
            created: time::to_rfc3339(time::now()),
            cgroup: cgroup_path,
            own_user,
            spec,
        };
        let stored = directory.save(&record).and_then(|()| write_pid_file(wanted.pid_file.as_deref(), pid));
        if let Err(error) = stored {
            let _ = process::kill(pid, 9);
            return Err(error);
        }
        Ok((pid, master))
    })();
    if result.is_err() {
        let _ = cgroup.kill_all();
        let _ = cgroup.remove();
    }
    result
}

/// The document's limits, and access to the devices every container has, whatever its list says.
fn resources(spec: &oci::Spec) -> oci::Resources {
    let mut resources = spec.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    if resources.devices.is_empty() {
        return resources;
    }
    let rule = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| oci::DeviceRule {
        allow: true,
        kind: kind.to_owned(),
        major,
        minor,
        access: access.to_owned(),
    };
    resources.devices.push(rule("c", None, None, "m"));
    resources.devices.push(rule("b", None, None, "m"));
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)] {
        resources.devices.push(rule("c", Some(major), Some(minor), "rwm"));
    }
    resources.devices.push(rule("c", Some(136), None, "rwm"));
    resources
}

fn set_bundle(plan: &mut Plan, bundle: &Path) {
    let shown = serde_json::Value::from(bundle.to_string_lossy().into_owned()).to_string();
    plan.hooks.state = plan.hooks.state.replacen("\"bundle\":\"\"", &format!("\"bundle\":{shown}"), 1);
}

/// The caller's own streams are the program's, or a terminal.
fn streams(plan: &Plan, foreground: bool) -> Result<Streams> {
    if plan.io.tty {
        let own = if foreground { terminal::own_size() } else { None };
        return Ok(Streams::Terminal { size: plan.io.console_size.or(own) });
    }
    Ok(Streams::Given(terminal::own_streams()?.map(Some)))
}

/// Writable for the container's root, whatever its id on the host.
fn make_fifo(directory: &Directory) -> Result<()> {
    let path = directory.fifo();
    let umask = rustix::process::umask(Mode::empty());
    let made = rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o622), 0);
    rustix::process::umask(umask);
    made.with_context(|| format!("make {}", path.display()))
}

fn start(directory: &Directory, plan: &Plan, streams: Streams, wanted: &Wanted) -> Result<(i32, Option<OwnedFd>)> {
    let fifo =
        rustix::fs::open(directory.fifo(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).context("open the fifo")?;
    terminal::prepare_self()?;
    let begun = maker::begin(plan, streams, Gate::Fifo(fifo), wanted.preserve_fds);
    let mut begun = begun.map_err(|failure| to_error(&failure))?;
    let pid = begun.pid.as_raw_nonzero().get();
    let prepared = (|| {
        let prepared = begun.prepared(|pid| {
            hooks::run_all(&plan.hooks.create_runtime, &plan.hooks.state, Some(pid.as_raw_nonzero().get()))
        })?;
        // The maker will be gone when the program starts.
        maker::raise_limits(begun.pid, plan)?;
        // Only a namespace of its own has a loopback interface that is down.
        let network = if plan.namespaces.net == Namespace::New { vec![net::loopback_up()] } else { Vec::new() };
        begun.go(network)?;
        Ok(prepared.terminal)
    })();
    let master = prepared.map_err(|failure| give_up(&mut begun, failure))?;
    match (master, &wanted.console_socket) {
        (Some(master), Some(socket)) => {
            terminal::hand_over(socket, master.as_fd()).inspect_err(|_| drop(process::kill(pid, 9)))?;
            Ok((pid, None))
        }
        (master, _) => Ok((pid, master)),
    }
}

fn give_up(begun: &mut Begun, failure: Box<Failure>) -> Error {
    to_error(&begun.abort(failure))
}

fn to_error(failure: &Failure) -> Error {
    let message = failure.message.strip_suffix(": unknown").unwrap_or(&failure.message);
    Error::internal(format!("unable to start container process: {message}"))
}

/// Written whole, so that a reader never sees half a number.
pub(super) fn write_pid_file(path: Option<&Path>, pid: i32) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let temporary = path.with_file_name(format!(".{}", path.file_name().unwrap_or_default().to_string_lossy()));
    fs::write(&temporary, pid.to_string()).with_context(|| format!("write {}", path.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("write {}", path.display()))
}

/// Hooks of a document that run outside a start.
pub(super) fn run_hooks(list: &[oci::Hook], record: &Record, directory: &Directory) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let mut state = serde_json::to_string(&record.state(directory)).context("encode the state")?;
    state.pop();
    let list: Vec<_> = list.iter().map(hook).collect();
    let state = state.replacen(&format!(",\"pid\":{}", record.pid), "", 1);
    hooks::run_all(&list, &state, Some(record.pid)).map_err(|failure| to_error(&failure))
}
