//! The loop: streams to log and clients, clients to streams, ends of processes to the daemon.

use super::{
    client::{Attached, Client, Role},
    external,
    process::{Process, Stream},
};
use crate::{
    failure::{At, Outcome},
    limits::{CONNECTIONS_MAX, EXEC_HISTORY_MAX, READ_BYTES, STDIN_CHUNK_MAX_BYTES},
    plan::IdMap,
    protocol::{self, Connection, Event, ExecState, ExitStatus, Failure, Phase, Request, State, Step},
    spawn::{EXIT_FILE, SOCKET},
};
use rorqual_linux::{cgroup::AttachPlan, process as linux};
use rorqual_logs::{Writer, time};
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use std::{os::fd::OwnedFd, path::PathBuf};

/// Events taken from the kernel at once.
const EVENTS: usize = 16;
/// Input read from a client at once.
const CLIENT_READ_BYTES: usize = 16 << 10;
/// Without output for so long, a container is quiet and its shim gives memory back.
const QUIET_AFTER_S: i64 = 2;
/// Times a stream is read before others get their turn.
const READS_IN_A_ROW: usize = 8;

const SIGNALS: u64 = 1;
const LISTENER: u64 = 2;
const CLIENT: u64 = 1 << 62;
const PROCESS: u64 = 1 << 61;

/// The container's cgroup, as far as the shim needs it.
#[derive(Debug)]
pub(super) struct Cgroup {
    pub attach: AttachPlan,
    /// Whether the end of the first process ends all others by itself.
    own_pids: bool,
}

impl Cgroup {
    pub fn new(attach: AttachPlan, own_pids: bool) -> Self {
        Self { attach, own_pids }
    }

    /// The directory in one hierarchy; all hold the same processes.
    fn dir(&self) -> Option<PathBuf> {
        match self.attach.tasks.first() {
            Some(tasks) => tasks.parent().map(Into::into),
            None => self.attach.unified.clone(),
        }
    }

    fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        let mut dirs: Vec<PathBuf> = self.dir().into_iter().collect();
        while let Some(dir) = dirs.pop() {
            let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            let below = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            dirs.extend(
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
        pids
    }

    fn signal_all(&self, signal: i32) -> bool {
        let pids = self.pids();
        for pid in &pids {
            let _ = linux::kill(*pid, signal);
        }
        !pids.is_empty()
    }

    /// Whether the kernel has killed here for memory.
    fn oom_killed(&self) -> bool {
        let v1 = self.attach.tasks.iter().filter_map(|tasks| Some(tasks.parent()?.join("memory.oom_control")));
        let v2 = self.attach.unified.iter().map(|dir| dir.join("memory.events"));
        v1.chain(v2).any(|file| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    }
}

/// Everything of one container.
#[derive(Debug)]
pub(super) struct Supervisor {
    id: String,
    dir: OwnedFd,
    epoll: Option<OwnedFd>,
    signals: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    /// The container's root, held so that its last sync is not in the way of the exit. Closed by the process's end.
    _root: Option<OwnedFd>,
    log: Option<Writer>,
    cgroup: Cgroup,
    map: Option<IdMap>,
    joined_user: bool,
    external: Option<external::Handle>,
    /// The container's first process, then execs.
    processes: Vec<Process>,
    clients: Vec<Client>,
    next_client: u64,
    status: Option<ExitStatus>,
    buffer: Vec<u8>,
    forgotten: bool,
}

impl Supervisor {
    #[allow(clippy::too_many_arguments)] // One call, of values that belong to no smaller whole.
    pub fn new(
        id: String,
        dir: OwnedFd,
        process: Process,
        root: Option<OwnedFd>,
        log: Option<Writer>,
        cgroup: Cgroup,
        map: Option<IdMap>,
        joined_user: bool,
        external: Option<external::Handle>,
    ) -> Self {
        Self {
            id,
            dir,
            epoll: None,
            signals: None,
            listener: None,
            _root: root,
            log,
            cgroup,
            map,
            joined_user,
            external,
            processes: vec![process],
            clients: Vec::new(),
            next_client: 0,
            status: None,
            buffer: Vec::new(),
            forgotten: false,
        }
    }

    /// Prepares the loop. `control` becomes the first client.
    pub fn register(&mut self, listener: OwnedFd, control: Connection) -> Result<(), (Connection, Box<Failure>)> {
        let failed = "prepare the shim's loop";
        let prepared = (|| -> Outcome<()> {
            let epoll = epoll::create(CreateFlags::CLOEXEC).at(Step::Setup, failed)?;
            let signals = linux::child_signals().at(Step::Setup, failed)?;
            epoll::add(&epoll, &signals, EventData::new_u64(SIGNALS), EventFlags::IN).at(Step::Setup, failed)?;
            epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).at(Step::Setup, failed)?;
            (self.epoll, self.signals, self.listener) = (Some(epoll), Some(signals), Some(listener));
            self.watch_process(0);
            Ok(())
        })();
        if let Err(failure) = prepared {
            return Err((control, failure));
        }
        let (socket, rest) = control.into_stream();
        self.add_client(socket, true, rest);
        Ok(())
    }

    /// Ends everything of the container at once.
    pub fn kill_all(&self) {
        let _ = linux::kill(self.processes[0].pid, 9);
        self.cgroup.signal_all(9);
    }

    /// Serves until a daemon has taken note of the end.
    pub fn run(&mut self) -> i32 {
        // Clients that attached before the start miss nothing: they are there before the first output is read.
        self.accept();
        for id in 0..self.next_client {
            if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
                client.pull(CLIENT_READ_BYTES);
                self.understand(id);
            }
        }
        // A program that was very quick has ended before the loop could hear of it.
        self.reap();
        self.settle();
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        while !self.forgotten {
            events.clear();
            let Some(epoll) = &self.epoll else { return 1 };
            let quiet = Timespec { tv_sec: QUIET_AFTER_S, tv_nsec: 0 };
            let timeout = (!self.buffer.is_empty()).then_some(&quiet);
            match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), timeout) {
                Ok(0) => self.rest(),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return 1,
            }
            for event in &events {
                self.dispatch(event.data.u64(), event.flags);
            }
            self.settle();
        }
        self.end()
    }

    /// Gives back what a busy container needed.
    fn rest(&mut self) {
        self.buffer = Vec::new();
        if let Some(log) = &mut self.log {
            log.shrink();
        }
        rorqual_linux::memory::trim_heap();
    }

    fn dispatch(&mut self, token: u64, flags: EventFlags) {
        match token {
            SIGNALS => {
                if let Some(signals) = &self.signals {
                    let _ = rustix::io::read(signals, &mut [0u8; 1024]);
                }
                self.reap();
            }
            LISTENER => self.accept(),
            token if token & CLIENT != 0 => self.serve_client(token & !CLIENT, flags),
            token => {
                let pid = ((token & !PROCESS) >> 2) as i32;
                let stream = match token & 3 {
                    0 => Stream::Stdin,
                    1 => Stream::Stdout,
                    _ => Stream::Stderr,
                };
                self.serve_stream(pid, stream, flags);
            }
        }
    }

    // Streams.

    fn serve_stream(&mut self, pid: i32, stream: Stream, flags: EventFlags) {
        let Some(index) = self.processes.iter().position(|process| process.pid == pid) else { return };
        if flags.contains(EventFlags::OUT) || (stream == Stream::Stdin && flags.intersects(EventFlags::ERR)) {
            self.processes[index].push();
        }
        if stream != Stream::Stdin && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.pump(index, stream, READS_IN_A_ROW);
            self.flush_log();
        }
    }

    /// Moves output to the log and to clients, at most `reads` buffers of it.
    fn pump(&mut self, index: usize, stream: Stream, reads: usize) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_BYTES];
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..reads {
            let Some(fd) = self.processes[index].fd(stream) else { break };
            match rustix::io::read(fd, buffer.as_mut_slice()) {
                Ok(count) if count > 0 => self.spread(index, stream, &buffer[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The end; EIO is a terminal's, when its last user has gone.
                Ok(_) | Err(_) => {
                    self.end_of_stream(index, stream);
                    break;
                }
            }
            if self.is_held_up(index) {
                break;
            }
        }
        self.buffer = buffer;
    }

    fn spread(&mut self, index: usize, stream: Stream, bytes: &[u8]) {
        let process = &self.processes[index];
        if let (None, Some(log)) = (&process.exec, &mut self.log) {
            log.write(log_stream(stream), bytes);
        }
        // docker's frame: stream, three zeros, length with the high byte first.
        let kind = if stream == Stream::Stderr { 2 } else { 1 };
        let mut head = [kind, 0, 0, 0, 0, 0, 0, 0];
        head[4..].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        for client in &mut self.clients {
            let Role::Attached(attached) = &client.role else { continue };
            let wanted = if stream == Stream::Stderr { attached.stderr } else { attached.stdout };
            if attached.exec != process.exec || client.closing || !(wanted || process.tty && attached.stderr) {
                continue;
            }
            if process.tty { client.queue(&[bytes]) } else { client.queue(&[&head, bytes]) }
        }
    }

    /// Whether a client of the process has so much to read that the process must wait.
    fn is_held_up(&self, index: usize) -> bool {
        let exec = &self.processes[index].exec;
        self.clients.iter().any(|client| match &client.role {
            Role::Attached(attached) => attached.exec == *exec && client.is_full(),
            Role::Asking { .. } => false,
        })
    }

    fn end_of_stream(&mut self, index: usize, stream: Stream) {
        let process = &mut self.processes[index];
        process.close(stream);
        if process.exec.is_none()
            && let Some(log) = &mut self.log
        {
            log.end(log_stream(stream));
        }
    }

    fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            // A full disk loses entries, not the container; the writer counts them.
            let _ = log.flush();
        }
    }

    // Ends.

    fn reap(&mut self) {
        while let Ok(Some(ended)) = linux::reap(None, false) {
            let Some(index) = self.processes.iter().position(|process| process.pid == ended.pid) else { continue };
            if self.processes[index].ended.is_none() {
                self.processes[index].ended = Some(ended);
                if index == 0 { self.first_ended(ended) } else { self.exec_ended(index, ended) }
            }
        }
    }

    /// All that was written before the end is still in the pipes: it is taken before the end is told.
    fn drain(&mut self, index: usize) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            loop {
                let before = self.clients_waiting();
                self.pump(index, stream, READS_IN_A_ROW);
                let Some(fd) = self.processes[index].fd(stream) else { break };
                let mut polled = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
                let none = Timespec { tv_sec: 0, tv_nsec: 0 };
                let readable = rustix::event::poll(&mut polled, Some(&none)).is_ok_and(|count| count > 0);
                // A client that does not read gets the rest later, as far as the kernel's buffer reaches.
                if !readable || (self.is_held_up(index) && before == self.clients_waiting() && before > 0) {
                    break;
                }
            }
        }
        self.flush_log();
    }

    /// Whether the first process's pipes hold output that was not taken yet.
    fn has_unread(&self) -> bool {
        [Stream::Stdout, Stream::Stderr].into_iter().filter_map(|stream| self.processes[0].fd(stream)).any(|fd| {
            let mut polled = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let ready = rustix::event::poll(&mut polled, Some(&none)).is_ok_and(|count| count > 0);
            ready && polled[0].revents().contains(rustix::event::PollFlags::IN)
        })
    }

    fn clients_waiting(&self) -> usize {
        self.clients.iter().filter(|client| client.is_full()).count()
    }

    fn first_ended(&mut self, ended: linux::Ended) {
        let at_ns = time::now();
        if !self.cgroup.own_pids {
            // Nothing of the container survives its first process, whoever's process ids it uses.
            while self.cgroup.signal_all(9) {
                let _ = linux::reap(None, false);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        self.drain(0);
        let oom_killed = self.cgroup.oom_killed();
        let status = ExitStatus { code: ended.code, signal: ended.signal, at_ns, oom_killed, error: None };
        let _ = self.write_exit(&status);
        self.status = Some(status.clone());
        self.tell_control(&Event::Exited(status));
        if let Some(external) = &self.external {
            external.delete();
        }
    }

    fn exec_ended(&mut self, index: usize, ended: linux::Ended) {
        self.drain(index);
        let id = self.processes[index].exec.clone().unwrap_or_default();
        self.processes[index].told = self.tell_control(&Event::ExecExited { id, code: ended.code });
    }

    /// For a daemon that is not there now: complete or not at all.
    fn write_exit(&self, status: &ExitStatus) -> Result<(), Errno> {
        let bytes = postcard::to_stdvec(status).map_err(|_| Errno::INVAL)?;
        let temporary = "exit.new";
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.dir, temporary, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::io::write(&file, &bytes)?;
        rustix::fs::renameat(&self.dir, temporary, &self.dir, EXIT_FILE)
    }

    /// `true` when there was somebody to tell.
    fn tell_control(&mut self, event: &Event) -> bool {
        let control = self.clients.iter_mut().find(|client| matches!(client.role, Role::Asking { control: true }));
        control.is_some_and(|client| {
            client.tell(event);
            !client.dead
        })
    }

    // Clients.

    fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
                Ok(socket) if self.clients.len() < CONNECTIONS_MAX => self.add_client(socket, false, Vec::new()),
                Ok(_) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }

    fn add_client(&mut self, socket: OwnedFd, control: bool, rest: Vec<u8>) {
        let id = self.next_client;
        self.next_client += 1;
        let mut client = Client::new(id, socket, control);
        client.input = rest;
        client.interest = EventFlags::IN | EventFlags::RDHUP;
        if let Some(epoll) = &self.epoll
            && epoll::add(epoll, &client.socket, EventData::new_u64(CLIENT | id), client.interest).is_ok()
        {
            self.clients.push(client);
        }
    }

    fn serve_client(&mut self, id: u64, flags: EventFlags) {
        let Some(index) = self.clients.iter().position(|client| client.id == id) else { return };
        if flags.contains(EventFlags::OUT) {
            self.clients[index].push();
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            self.clients[index].pull(CLIENT_READ_BYTES);
            if self.clients[index].lingering {
                self.clients[index].input.clear();
            } else {
                self.understand(id);
            }
        }
        if flags.intersects(EventFlags::HUP | EventFlags::ERR)
            && let Some(client) = self.clients.iter_mut().find(|client| client.id == id)
        {
            client.dead = true;
        }
    }

    /// Acts on everything complete a client has sent.
    fn understand(&mut self, id: u64) {
        loop {
            let Some(index) = self.clients.iter().position(|client| client.id == id) else { return };
            if self.clients[index].dead {
                return;
            }
            let going_on = match self.clients[index].role {
                Role::Attached(_) => self.take_input(index),
                Role::Asking { .. } => match protocol::decode::<Request>(&mut self.clients[index].input) {
                    Ok(Some(request)) => {
                        self.answer(index, request);
                        true
                    }
                    Ok(None) => false,
                    Err(_) => {
                        self.clients[index].dead = true;
                        false
                    }
                },
            };
            if !going_on {
                let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { return };
                if client.input.is_empty() {
                    client.input = Vec::new();
                }
                // A connection that only asks is over when the other side stops; a stream still has output to give.
                if client.input_closed && matches!(client.role, Role::Asking { .. }) {
                    client.dead = true;
                }
                return;
            }
        }
    }

    /// Takes one piece of a stream's input: a chunk's head or some of its bytes.
    fn take_input(&mut self, index: usize) -> bool {
        let client = &mut self.clients[index];
        let Role::Attached(attached) = &mut client.role else { return false };
        let process = self.processes.iter_mut().find(|process| process.exec == attached.exec);
        if attached.chunk_left > 0 {
            let count = attached.chunk_left.min(client.input.len());
            attached.chunk_left -= count;
            if let (Some(process), true) = (process, attached.stdin) {
                process.feed(&client.input[..count]);
            }
            client.input.drain(..count);
            return count > 0;
        }
        let Some(head) = client.input.first_chunk::<4>() else { return false };
        let len = u32::from_le_bytes(*head) as usize;
        if len > STDIN_CHUNK_MAX_BYTES {
            client.dead = true;
            return false;
        }
        client.input.drain(..4);
        attached.chunk_left = len;
        if let (Some(process), true, 0) = (process, attached.stdin, len) {
            process.end_input();
        }
        true
    }

    fn answer(&mut self, index: usize, request: Request) {
        let event = match request {
            Request::Control { version: _ } => return self.take_control(index),
            Request::State => Event::State(self.state()),
            Request::Signal { signal, all } => result(self.signal(signal, all)),
            Request::SignalExec { id, signal } => result(self.signal_exec(&id, signal)),
            Request::Resize { exec, rows, cols } => result(self.resize(exec.as_deref(), rows, cols)),
            Request::CloseStdin { exec } => result(self.find(exec.as_deref()).map(Process::end_input)),
            Request::Pids => Event::Pids(self.cgroup.pids()),
            Request::Go { .. } => result(Err(Failure::new(Step::State, "the container is already started"))),
            Request::Forget if self.status.is_some() => {
                self.forgotten = true;
                Event::Ok
            }
            Request::Forget => result(Err(Failure::new(Step::State, "the container is running"))),
            Request::Attach { exec, stdin, stdout, stderr } => {
                return self.attach(index, Attached { exec, stdin, stdout, stderr, chunk_left: 0 });
            }
            Request::Exec { id, process, stdin, stdout, stderr, tty, console_size, detach } => {
                let wanted = super::exec::Wanted { id, process, stdin, tty, console_size, detach };
                return self.exec(index, wanted, stdout, stderr);
            }
        };
        self.clients[index].tell(&event);
    }

    fn take_control(&mut self, index: usize) {
        for client in &mut self.clients {
            if let Role::Asking { control } = &mut client.role
                && *control
            {
                *control = false;
                client.closing = true;
            }
        }
        let state = self.state();
        let client = &mut self.clients[index];
        client.role = Role::Asking { control: true };
        client.closing = false;
        client.tell(&Event::State(state));
        for process in self.processes.iter_mut().filter(|process| process.ended.is_some()) {
            process.told = true;
        }
    }

    fn state(&self) -> State {
        let first = &self.processes[0];
        let started_ns = first.started_ns;
        let phase = match &self.status {
            Some(status) => Phase::Exited { started_ns, status: status.clone() },
            None => Phase::Running { started_ns },
        };
        let execs = self.processes[1..].iter().map(|process| ExecState {
            id: process.exec.clone().unwrap_or_default(),
            pid: process.pid,
            code: process.ended.map(|ended| ended.code),
        });
        State { version: protocol::VERSION, id: self.id.clone(), pid: first.pid, phase, execs: execs.collect() }
    }

    fn find(&mut self, exec: Option<&str>) -> Outcome<&mut Process> {
        let named = || Failure::new(Step::Unknown, format!("no such exec: {}", exec.unwrap_or_default()));
        self.processes.iter_mut().find(|process| process.exec.as_deref() == exec).ok_or_else(named)
    }

    fn signal(&mut self, signal: i32, all: bool) -> Outcome<()> {
        if self.status.is_some() {
            return Err(Failure::new(Step::State, format!("container {} is not running", self.id)));
        }
        if all && self.cgroup.signal_all(signal) {
            return Ok(());
        }
        linux::kill(self.processes[0].pid, signal).at(Step::State, "signal the container's first process")
    }

    fn signal_exec(&mut self, id: &str, signal: i32) -> Outcome<()> {
        let process = self.find(Some(id))?;
        if process.ended.is_some() {
            return Err(Failure::new(Step::State, format!("exec {id} is not running")));
        }
        linux::kill(process.pid, signal).at(Step::State, "signal the exec's process")
    }

    fn resize(&mut self, exec: Option<&str>, rows: u16, cols: u16) -> Outcome<()> {
        match self.find(exec)?.terminal() {
            Some(terminal) => crate::terminal::resize(terminal, rows, cols),
            // Clients tell their size whether or not there is a terminal; other runtimes take it so, too.
            None => Ok(()),
        }
    }

    fn attach(&mut self, index: usize, attached: Attached) {
        let event = result(self.find(attached.exec.as_deref()).map(drop));
        let client = &mut self.clients[index];
        client.tell(&event);
        match event {
            Event::Ok => client.role = Role::Attached(attached),
            _ => client.closing = true,
        }
    }

    fn exec(&mut self, index: usize, wanted: super::exec::Wanted, stdout: bool, stderr: bool) {
        let started = if self.status.is_some() {
            Err(Failure::new(Step::State, format!("container {} is not running", self.id)))
        } else if self.processes.iter().any(|process| process.exec.as_deref() == Some(&wanted.id)) {
            Err(Failure::new(Step::State, format!("exec {} has already run", wanted.id)))
        } else {
            let context = super::exec::Context {
                first: self.processes[0].pid,
                cgroup: &self.cgroup.attach,
                map: self.map.as_ref(),
                own_user: self.joined_user,
                external: self.external.as_ref(),
            };
            super::exec::start(&context, &wanted)
        };
        let client = &mut self.clients[index];
        match started {
            Err(failure) => {
                client.tell(&Event::Error(*failure));
                client.closing = true;
            }
            Ok(process) => {
                client.tell(&Event::ExecStarted { pid: process.pid });
                if wanted.detach {
                    client.closing = true;
                } else {
                    let exec = Some(wanted.id);
                    client.role = Role::Attached(Attached { exec, stdin: wanted.stdin, stdout, stderr, chunk_left: 0 });
                }
                self.processes.push(process);
                self.watch_process(self.processes.len() - 1);
                rorqual_linux::memory::trim_heap();
            }
        }
    }

    // Between two rounds.

    fn watch_process(&mut self, index: usize) {
        let Some(epoll) = &self.epoll else { return };
        let process = &self.processes[index];
        for (stream, number) in [(Stream::Stdin, 0), (Stream::Stdout, 1), (Stream::Stderr, 2)] {
            if let Some(fd) = process.fd(stream) {
                let token = PROCESS | (process.pid as u64) << 2 | number;
                let _ = epoll::add(epoll, fd, EventData::new_u64(token), EventFlags::empty());
            }
        }
        self.settle();
    }

    /// Brings what the kernel watches in line with what can go on, and lets go of what is over.
    fn settle(&mut self) {
        self.close_finished();
        self.drop_old_execs();
        let Some(epoll) = &self.epoll else { return };
        for index in 0..self.processes.len() {
            let process = &self.processes[index];
            let held_up = self.is_held_up(index);
            for (stream, number) in [(Stream::Stdin, 0u64), (Stream::Stdout, 1), (Stream::Stderr, 2)] {
                let Some(fd) = process.fd(stream) else { continue };
                let mut interest = EventFlags::empty();
                if stream != Stream::Stdin && !held_up {
                    interest |= EventFlags::IN;
                }
                if stream == process.input() && process.has_pending() {
                    interest |= EventFlags::OUT;
                }
                let token = PROCESS | (process.pid as u64) << 2 | number;
                // Without any interest the kernel would still report a hang-up, again and again.
                if interest.is_empty() && stream != Stream::Stdin {
                    let _ = epoll::delete(epoll, fd);
                } else if epoll::modify(epoll, fd, EventData::new_u64(token), interest) == Err(Errno::NOENT) {
                    let _ = epoll::add(epoll, fd, EventData::new_u64(token), interest);
                }
            }
        }
        for client in &mut self.clients {
            let mut interest = EventFlags::empty();
            let open = match &client.role {
                Role::Asking { .. } => true,
                Role::Attached(attached) => {
                    let process = self.processes.iter().find(|process| process.exec == attached.exec);
                    process.is_none_or(Process::takes_input)
                }
            };
            if (open || client.lingering) && !client.input_closed {
                interest |= EventFlags::IN | EventFlags::RDHUP;
            }
            if client.has_output() {
                interest |= EventFlags::OUT;
            }
            if interest != client.interest {
                client.interest = interest;
                let _ = epoll::modify(epoll, &client.socket, EventData::new_u64(CLIENT | client.id), interest);
            }
        }
    }

    /// A stream's clients end with it, once they have read everything; broken connections go at once.
    fn close_finished(&mut self) {
        for client in &mut self.clients {
            if let Role::Attached(attached) = &client.role {
                let process = self.processes.iter().find(|process| process.exec == attached.exec);
                let over = process.is_none_or(|process| process.ended.is_some() && !process.has_output());
                client.closing |= over;
            }
        }
        for client in self.clients.iter_mut().filter(|client| client.closing && !client.has_output()) {
            client.linger();
        }
        self.clients.retain(|client| !client.is_over());
    }

    fn drop_old_execs(&mut self) {
        let over = |process: &Process| process.exec.is_some() && process.ended.is_some() && !process.has_output();
        self.processes.retain(|process| !(over(process) && process.told));
        let ended = self.processes.iter().filter(|process| over(process)).count();
        let mut excess = ended.saturating_sub(EXEC_HISTORY_MAX);
        self.processes.retain(|process| {
            let drop = excess > 0 && over(process);
            excess -= usize::from(drop);
            !drop
        });
    }

    fn end(&mut self) -> i32 {
        loop {
            self.clients.iter_mut().for_each(Client::finish);
            // What a slow client held up in the pipes.
            if !self.has_unread() {
                break;
            }
            self.drain(0);
        }
        for name in [SOCKET, EXIT_FILE] {
            let _ = rustix::fs::unlinkat(&self.dir, name, AtFlags::empty());
        }
        0
    }
}

fn log_stream(stream: Stream) -> rorqual_logs::Stream {
    if stream == Stream::Stderr { rorqual_logs::Stream::Stderr } else { rorqual_logs::Stream::Stdout }
}

fn result(outcome: Outcome<()>) -> Event {
    match outcome {
        Ok(()) => Event::Ok,
        Err(failure) => Event::Error(*failure),
    }
}
