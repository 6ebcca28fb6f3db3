//! Programs run in a running container. An exec lives in the engine's memory: it is made by a request, started once, and
//! forgotten some minutes after its end, as in dockerd.

use super::{
    Containers, ExecStartOptions, ExecStarted, accounts,
    control::{Control, unexpected},
    create::random,
    handle::Handle,
    start::plain_message,
    task::Command,
};
use crate::{
    detach::parse_detach_keys,
    events::Scope,
    framing::Framing,
    limits::{EXEC_KEPT, START_DEADLINE},
    parts::{Parts, blocking},
    spec::merge_environment,
    stream::{AttachStream, DetachEvent, Promise},
};
use base64::Engine as _;
use rorqual_api_types::container::{ExecConfig, ExecInspect, ExecProcess};
use rorqual_error::{Error, Result};
use rorqual_oci::runtime::Spec;
use rorqual_runtime::{
    ExecOptions, compile_exec,
    protocol::{Event, Failure, Request, Step},
    spawn,
};
use rorqual_types::{ContainerId, ExecId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::sync::watch;

/// One exec.
#[derive(Debug)]
pub(crate) struct Exec {
    id: ExecId,
    container: ContainerId,
    config: ExecConfig,
    detach_keys: Vec<u8>,
    state: watch::Sender<State>,
}

/// Where an exec stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Created,
    Starting,
    Running { pid: i32 },
    Finished { code: i32, pid: i32, at: Instant },
}

/// The execs of this engine.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    by_id: Mutex<HashMap<ExecId, Arc<Exec>>>,
}

impl Execs {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ExecId, Arc<Exec>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them; dockerd takes whole ids only.
    fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let shown: String = id.chars().take(256).collect();
        self.lock().get(id).cloned().ok_or_else(|| Error::not_found(format!("No such exec instance: {shown}")))
    }

    /// Adds one, and forgets those that ended a while ago.
    fn add(&self, exec: Arc<Exec>) {
        let mut execs = self.lock();
        execs.retain(|_, exec| match *exec.state.borrow() {
            State::Finished { at, .. } => at.elapsed() < EXEC_KEPT,
            State::Created | State::Starting | State::Running { .. } => true,
        });
        execs.insert(exec.id.clone(), exec);
    }

    /// Forgets those of a container that is gone.
    pub fn forget(&self, container: &ContainerId) {
        self.lock().retain(|_, exec| exec.container != *container);
    }

    /// Those of a container that have not ended, for inspect.
    pub fn of(&self, container: &ContainerId) -> Vec<String> {
        let execs = self.lock();
        let open =
            |exec: &&Arc<Exec>| exec.container == *container && !matches!(*exec.state.borrow(), State::Finished { .. });
        let mut ids: Vec<String> = execs.values().filter(open).map(|exec| exec.id.to_string()).collect();
        ids.sort();
        ids
    }
}

impl Exec {
    pub fn id(&self) -> &ExecId {
        &self.id
    }

    /// Program and arguments in one line, as in events.
    fn line(&self) -> String {
        self.config.cmd.iter().flatten().cloned().collect::<Vec<_>>().join(" ")
    }

    /// Notes its end; whether it had not ended before.
    pub fn finish(&self, code: i32) -> bool {
        self.state.send_if_modified(|state| {
            let pid = match *state {
                State::Finished { .. } => return false,
                State::Running { pid } => pid,
                State::Created | State::Starting => 0,
            };
            *state = State::Finished { code, pid, at: Instant::now() };
            true
        })
    }

    /// Waits until its exit code is known.
    pub async fn ended(&self) {
        // The sender is ours, so the wait has no other end.
        let _ = self.state.subscribe().wait_for(|state| matches!(state, State::Finished { .. })).await;
    }

    fn begin(&self) -> Result<()> {
        let mut refusal = None;
        self.state.send_if_modified(|state| match state {
            State::Created => {
                *state = State::Starting;
                true
            }
            State::Starting | State::Running { .. } => {
                refusal = Some("is already running");
                false
            }
            State::Finished { .. } => {
                refusal = Some("has already run");
                false
            }
        });
        match refusal {
            None => Ok(()),
            Some(why) => Err(Error::conflict(format!("exec command {} {why}", self.id))),
        }
    }

    fn runs(&self, pid: i32) {
        self.state.send_if_modified(|state| {
            // Its end may have been told on the other connection already.
            let starting = *state == State::Starting;
            if starting {
                *state = State::Running { pid };
            }
            starting
        });
    }
}

/// What dockerd says of a container that cannot take an exec.
fn check(handle: &Handle, named: &str) -> Result<()> {
    let view = handle.view();
    if view.status.phase.is_paused() {
        return Err(Error::conflict(format!("Container {named} is paused, unpause the container before exec")));
    }
    match view.status.phase {
        super::state::Phase::Restarting => {
            Err(Error::conflict(format!("Container {named} is restarting, wait until the container is running")))
        }
        _ if !view.status.phase.is_live() => {
            Err(Error::conflict(format!("container {} is not running", view.record.id)))
        }
        _ => Ok(()),
    }
}

impl Containers {
    /// Prepares a program to run in a running container; returns its id.
    pub async fn exec_create(&self, name: &str, config: ExecConfig) -> Result<String> {
        let handle = self.find(name)?;
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("No exec command specified"));
        }
        check(&handle, name)?;
        let detach_keys = parse_detach_keys(&config.detach_keys)?;
        if !config.user.is_empty() {
            let (pid, user) = (handle.view().status.phase.pid(), config.user.clone());
            blocking(move || accounts::check(pid, &user)).await?;
        }
        let id = ExecId::from_random(random()?);
        let (state, _) = watch::channel(State::Created);
        let exec = Arc::new(Exec { id: id.clone(), container: handle.id().clone(), config, detach_keys, state });
        self.parts.execs.add(exec.clone());
        publish(&self.parts, &handle, &format!("exec_create: {}", exec.line()), &exec);
        Ok(id.to_string())
    }

    /// Whether it exists and its container can take it: what a caller checks before it takes over the connection.
    pub fn exec_check(&self, id: &str) -> Result<()> {
        let exec = self.parts.execs.find(id)?;
        let handle = self.find(exec.container.as_str())?;
        check(&handle, handle.view().record.name.as_str())
    }

    /// Starts it. A program that cannot be started leaves the exit code 126 or 127 with the exec.
    pub async fn exec_start(&self, id: &str, options: ExecStartOptions) -> Result<ExecStarted> {
        let exec = self.parts.execs.find(id)?;
        let handle = self.find(exec.container.as_str())?;
        check(&handle, handle.view().record.name.as_str())?;
        exec.begin()?;
        publish(&self.parts, &handle, &format!("exec_start: {}", exec.line()), &exec);
        let started = run(&self.parts, &handle, &exec, options).await;
        let Err(failure) = started else { return started };
        exec.finish(126);
        // Nobody will tell of its end. A container that is gone has forgotten it already.
        let _ = handle.ask(|reply| Command::Unwatch { exec: exec.id().clone(), reply }).await;
        // It may have ended under our hands.
        let view = handle.view();
        if view.status.phase.is_live() {
            Err(failure)
        } else {
            Err(Error::conflict(format!("container {} is not running", view.record.id)))
        }
    }

    /// Sets its terminal's size.
    pub async fn exec_resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let exec = self.parts.execs.find(id)?;
        let handle = self.find(exec.container.as_str())?;
        // A client resizes right after its start; the program may still be on its way.
        let mut state = exec.state.subscribe();
        let running = state.wait_for(|state| *state != State::Starting).await.map(|state| *state);
        if !matches!(running, Ok(State::Running { .. })) {
            return Err(Error::conflict(format!("exec {id} is not running")));
        }
        let request = Request::Resize { exec: Some(id.to_owned()), rows, cols: columns };
        handle.ask(|reply| Command::Order { request, reply }).await
    }

    /// What is known of it.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        let exec = self.parts.execs.find(id)?;
        let config = &exec.config;
        let words = config.cmd.clone().unwrap_or_default();
        let (running, exit_code, pid) = match *exec.state.borrow() {
            State::Created | State::Starting => (false, None, 0),
            State::Running { pid } => (true, None, pid),
            State::Finished { code, pid, .. } => (false, Some(i64::from(code)), pid),
        };
        let keys = if config.detach_keys.is_empty() { &[][..] } else { &exec.detach_keys };
        Ok(ExecInspect {
            id: exec.id.to_string(),
            running,
            exit_code,
            process_config: ExecProcess {
                tty: config.tty,
                entrypoint: words.first().cloned().unwrap_or_default(),
                arguments: words.iter().skip(1).cloned().collect(),
                privileged: Some(config.privileged),
                user: config.user.clone(),
            },
            open_stdin: config.attach_stdin,
            open_stderr: config.attach_stderr,
            open_stdout: config.attach_stdout,
            can_remove: false,
            container_id: exec.container.to_string(),
            detach_keys: base64::prelude::BASE64_STANDARD.encode(keys),
            pid: i64::from(pid),
        })
    }
}

fn publish(parts: &Parts, handle: &Handle, action: &str, exec: &Exec) {
    let mut attributes = handle.view().record.attributes();
    attributes.insert("execID".into(), exec.id.to_string());
    parts.events.publish(Scope::Container, action, handle.id().as_str(), attributes);
}

async fn run(parts: &Arc<Parts>, handle: &Handle, exec: &Arc<Exec>, options: ExecStartOptions) -> Result<ExecStarted> {
    let spec = handle.ask(Command::Spec).await?;
    let watched = exec.clone();
    handle.ask(|reply| Command::Watch { exec: watched, reply }).await?;
    let record = handle.view().record.clone();
    let config = exec.config.clone();
    let dir = parts.run_dir(handle.id());
    let worker = parts.clone();
    let (connection, process) = blocking(move || {
        let seccomp = if config.privileged { None } else { super::document::seccomp(&worker, &record)? };
        let process = compile_exec(&spec, exec_options(&spec, &record, &config), seccomp.as_deref())?;
        Ok((spawn::connect(&dir)?, process))
    })
    .await?;
    let mut control = Control::new(connection)?;
    let config = &exec.config;
    let size = options.console_size.or_else(|| {
        let [rows, columns] = config.console_size?;
        Some((u16::try_from(rows).ok()?, u16::try_from(columns).ok()?))
    });
    control.tell(&Request::Exec {
        id: exec.id.to_string(),
        process: Box::new(process),
        stdin: config.attach_stdin && !options.detach,
        stdout: config.attach_stdout && !options.detach,
        stderr: config.attach_stderr && !options.detach,
        tty: config.tty,
        console_size: size,
        detach: options.detach,
    })?;
    match control.answer(START_DEADLINE).await? {
        Event::ExecStarted { pid } => exec.runs(pid),
        Event::Error(failure) | Event::Failed(failure) => return Err(never_ran(exec, &failure)),
        other => return Err(unexpected(&other)),
    }
    if options.detach {
        return Ok(ExecStarted::Detached);
    }
    let (reader, writer, promise) = Promise::new(config.attach_stdin);
    promise.keep(control.into_stream());
    let mut attributes = handle.view().record.attributes();
    attributes.insert("execID".into(), exec.id.to_string());
    let on_detach =
        DetachEvent { events: parts.events.clone(), action: "exec_detach", id: handle.id().to_string(), attributes };
    Ok(ExecStarted::Attached(Box::new(AttachStream {
        tty: config.tty,
        framing: Framing::new(config.tty, options.tty),
        history: None,
        reader,
        writer,
        detach_keys: exec.detach_keys.clone(),
        close_stdin: true,
        on_detach: Some(on_detach),
        exec: Some(exec.clone()),
    })))
}

fn exec_options(spec: &Spec, record: &super::record::Record, config: &ExecConfig) -> ExecOptions {
    let mut env = spec.process.as_ref().map(|process| process.env.clone()).unwrap_or_default();
    if config.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ExecOptions {
        args: config.cmd.clone().unwrap_or_default(),
        env: merge_environment(env, config.env.as_deref().unwrap_or_default()),
        cwd: set(&config.working_dir),
        user: set(&config.user),
        group_add: record.host_config.group_add.clone().unwrap_or_default(),
        privileged: config.privileged,
    }
}

fn never_ran(exec: &Exec, failure: &Failure) -> Error {
    // As in dockerd, a directory that is missing counts as a program that is missing.
    let missing = failure.step == Step::Cwd && failure.errno == rustix::io::Errno::NOENT.raw_os_error();
    exec.finish(if failure.code == 127 || missing { 127 } else { 126 });
    let (kind, message) = (failure.to_error().kind(), plain_message(failure));
    if failure.step == Step::User {
        return Error::new(kind, message);
    }
    Error::new(kind, format!("OCI runtime exec failed: exec failed: unable to start container process: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec() -> Exec {
        Exec {
            id: ExecId::from_random([1; 32]),
            container: ContainerId::from_random([2; 32]),
            config: ExecConfig::default(),
            detach_keys: Vec::new(),
            state: watch::channel(State::Created).0,
        }
    }

    #[test]
    fn an_exec_runs_once() {
        let exec = exec();
        exec.begin().unwrap();
        assert!(exec.begin().unwrap_err().to_string().ends_with("is already running"));
        exec.runs(7);
        assert!(exec.finish(3));
        assert!(!exec.finish(4));
        assert!(exec.begin().unwrap_err().to_string().ends_with("has already run"));
        assert!(matches!(*exec.state.borrow(), State::Finished { code: 3, pid: 7, .. }));
    }

    #[test]
    fn an_end_told_before_the_start_stays_the_end() {
        let exec = exec();
        exec.begin().unwrap();
        exec.finish(0);
        exec.runs(7);
        assert!(matches!(*exec.state.borrow(), State::Finished { code: 0, .. }));
    }
}
