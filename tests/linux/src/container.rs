//! One container: what is asked for, and the running thing.

use crate::{Attached, Lab, demultiplex};
use rorqual_linux::{cgroup::Cgroup, seccomp};
use rorqual_oci::runtime::{Resources, Spec};
use rorqual_runtime::{
    ExecOptions, compile, compile_exec,
    plan::{IdMap, Io, LogPlan, Options, Rootfs, RuntimeKind},
    protocol::{Connection, Event, ExitStatus, Failure, Request, State},
    spawn::{self, Spawned},
    start::net::loopback_up,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// First host id of the containers' user namespaces.
pub const BASE: u32 = 0x1000_0000;

/// A container to be made: docker's defaults, changed as the test needs.
#[derive(Debug)]
pub struct Case<'a> {
    lab: &'a Lab,
    /// The document.
    pub spec: Value,
    /// Whether it has a user namespace of its own.
    pub userns: bool,
    /// Streams.
    pub io: Io,
    /// `--init`.
    pub init: bool,
    /// Layers, topmost first.
    pub lowers: Vec<String>,
    /// Whether the root is read-only.
    pub readonly: bool,
    /// Groups to add.
    pub group_add: Vec<String>,
    /// Cgroup limits.
    pub resources: Resources,
    /// The filter.
    pub seccomp: Option<seccomp::Program>,
    /// Who makes it.
    pub runtime: Option<String>,
    /// Log rotation: size.
    pub log_max_size: Option<u64>,
}

/// How a container ended, and what it said.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its output.
    pub stdout: String,
    /// Its errors.
    pub stderr: String,
}

const CAPS: &str = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE \
                    SYS_CHROOT KILL AUDIT_WRITE";

impl<'a> Case<'a> {
    /// A container that runs `script` in a shell, with docker's defaults.
    pub fn sh(lab: &'a Lab, script: &str) -> Self {
        Self::new(lab, &["sh", "-c", script])
    }

    /// A container that runs a program, with docker's defaults.
    pub fn new(lab: &'a Lab, args: &[&str]) -> Self {
        let caps: Vec<String> = CAPS.split_whitespace().map(|name| format!("CAP_{name}")).collect();
        let spec = json!({
            "ociVersion": "1.2.0",
            "hostname": "box",
            "process": {
                "args": args,
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
                "oomScoreAdj": 0,
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                 "options": ["ro", "nosuid", "noexec", "nodev"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                 "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]},
            ],
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                    {"type": "cgroup"}],
                "maskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                    "/sys/devices/virtual/powercap"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        });
        Self {
            lab,
            spec,
            userns: true,
            io: Io::default(),
            init: false,
            lowers: vec!["bb".into()],
            readonly: false,
            group_add: Vec::new(),
            resources: Resources::default(),
            seccomp: None,
            runtime: None,
            log_max_size: None,
        }
    }

    /// In the host's user namespace.
    pub fn host_userns(mut self) -> Self {
        self.userns = false;
        self
    }

    /// In a user namespace of its own, or not.
    pub fn userns(mut self, own: bool) -> Self {
        self.userns = own;
        self
    }

    /// Changes the document.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.spec);
        self
    }

    /// Adds a mount.
    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        let entry = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.with(|spec| spec["mounts"].as_array_mut().unwrap().push(entry))
    }

    /// With a terminal.
    pub fn tty(mut self) -> Self {
        self.io = Io { tty: true, stdin_open: true, stdin_once: false, console_size: Some((24, 80)) };
        self
    }

    /// With an input.
    pub fn stdin(mut self) -> Self {
        self.io.stdin_open = true;
        self
    }

    /// As `user[:group]`.
    pub fn user(self, user: &str) -> Self {
        self.with(|spec| spec["process"]["user"] = json!({"uid": 0, "gid": 0, "username": user}))
    }

    /// Makes it, up to `Created`.
    pub fn create(self) -> Result<Container<'a>, Failure> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("c{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let spec: Spec = serde_json::from_value(self.spec).unwrap();
        let dir = self.lab.dir.join("run").join(&id);
        let rw = self.lab.dir.join("rw").join(&id);
        fs::create_dir_all(&dir).unwrap();
        for part in ["upper", "work"] {
            fs::create_dir_all(rw.join(part)).unwrap();
        }
        let cgroup = self.lab.cgroup(&id, &self.resources);
        let runtime = match self.runtime {
            None => RuntimeKind::Own,
            Some(binary) => {
                let bundle = dir.join("bundle");
                fs::create_dir_all(bundle.join("rootfs")).unwrap();
                let mut document = spec.clone();
                document.root = Some(rorqual_oci::runtime::Root { path: "rootfs".into(), readonly: self.readonly });
                document.linux_mut().cgroups_path =
                    format!("/{}-{id}", self.lab.dir.file_name().unwrap().to_string_lossy());
                if let Some(process) = &mut document.process {
                    process.terminal = self.io.tty;
                }
                fs::write(bundle.join("config.json"), serde_json::to_vec(&document).unwrap()).unwrap();
                let root = self.lab.dir.join("runtime-root");
                let args = vec!["--root".into(), root.to_string_lossy().into_owned()];
                RuntimeKind::External { binary: binary.into(), args, bundle }
            }
        };
        let log = dir.join("log");
        let options = Options {
            id: id.clone(),
            dir: dir.clone(),
            rootfs: Rootfs::Overlay {
                layers_dir: self.lab.dir.join("layers"),
                lowers: self.lowers,
                rw_dir: rw,
                readonly: self.readonly,
            },
            io: self.io,
            log: Some(LogPlan {
                path: log,
                max_size: self.log_max_size,
                max_file: 3,
                compress: false,
                attrs: String::new(),
            }),
            userns: self.userns.then(|| IdMap::contiguous(BASE, 65_536)),
            init: self.init,
            runtime,
            cgroup: cgroup.attach_plan(),
            group_add: self.group_add,
        };
        let seccomp = self.seccomp;
        let plan = compile(&spec, options, seccomp.as_ref()).unwrap();
        let spawned = spawn::spawn(self.lab.shim(), &plan).unwrap();
        let mut container = Container {
            lab: self.lab,
            spec,
            seccomp,
            id,
            dir,
            pid: 0,
            spawned,
            cgroup,
            netns: Vec::new(),
            over: false,
        };
        match container.next_event() {
            (Event::Created { pid }, fds) => {
                container.pid = pid;
                container.netns = fds;
                Ok(container)
            }
            (Event::Failed(failure), _) => {
                container.spawned.child.wait().unwrap();
                container.over = true;
                container.cgroup.remove().unwrap();
                Err(failure)
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    /// Makes and starts it.
    pub fn start(self) -> Result<Container<'a>, Failure> {
        let mut container = self.create()?;
        container.go()?;
        Ok(container)
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        let tty = self.io.tty;
        let mut container = match self.create() {
            Ok(container) => container,
            Err(failure) => panic!("{failure:?}"),
        };
        let connection = container.ask_attach(None, false);
        if let Err(failure) = container.go() {
            panic!("{failure:?}");
        }
        let bytes = container.attached(connection).read_all();
        let status = container.wait();
        container.forget();
        let (stdout, stderr) = if tty { (bytes, Vec::new()) } else { demultiplex(&bytes) };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs it, expects success, gives its output.
    #[track_caller]
    pub fn stdout(self) -> String {
        let output = self.run();
        assert_eq!(output.status.code, 0, "{output:?}");
        output.stdout
    }

    /// Expects that it does not start.
    #[track_caller]
    pub fn fail(self) -> Failure {
        match self.start() {
            Ok(_) => panic!("it started"),
            Err(failure) => failure,
        }
    }
}

/// A container that has been made.
#[derive(Debug)]
pub struct Container<'a> {
    lab: &'a Lab,
    spec: Spec,
    seccomp: Option<seccomp::Program>,
    /// Its id.
    pub id: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Its first process.
    pub pid: i32,
    /// The shim.
    pub spawned: Spawned,
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// Its network namespace.
    pub netns: Vec<std::os::fd::OwnedFd>,
    over: bool,
}

impl Container<'_> {
    /// The next event of the control connection.
    #[track_caller]
    pub fn next_event(&mut self) -> (Event, Vec<std::os::fd::OwnedFd>) {
        match self.spawned.control.receive::<Event>() {
            Ok(Some(event)) => event,
            other => panic!("the shim's control connection ended: {other:?} {:?}", self.spawned.child.wait()),
        }
    }

    /// Starts the program.
    pub fn go(&mut self) -> Result<(), Failure> {
        let network = if self.netns.is_empty() { vec![] } else { vec![loopback_up()] };
        // It may have failed already; then that comes instead.
        let _ = self.spawned.control.send(&Request::Go { network }, &[]);
        match self.next_event().0 {
            Event::Started => Ok(()),
            Event::Failed(failure) => {
                self.spawned.child.wait().unwrap();
                self.over = true;
                self.cgroup.remove().unwrap();
                Err(failure)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        loop {
            match self.next_event().0 {
                Event::Exited(status) => return status,
                Event::ExecExited { .. } | Event::Ok => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The shim's last message: it ends, and its directory is empty but for the log.
    pub fn forget(mut self) {
        self.spawned.control.send(&Request::Forget, &[]).unwrap();
        assert_eq!(self.next_event().0, Event::Ok);
        assert!(self.spawned.child.wait().unwrap().success());
        self.over = true;
        self.cgroup.remove().unwrap();
        for name in ["sock", "exit", "exit.new"] {
            assert!(!self.dir.join(name).exists(), "{name} was left behind");
        }
    }

    /// Kills it and forgets it.
    pub fn end(mut self) {
        self.request(&Request::Signal { signal: 9, all: false });
        self.wait();
        self.forget();
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        spawn::connect(&self.dir).unwrap()
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn request(&self, request: &Request) -> Event {
        let mut connection = self.connect();
        connection.send(request, &[]).unwrap();
        connection.receive::<Event>().unwrap().unwrap().0
    }

    /// The shim's state.
    pub fn state(&self) -> State {
        match self.request(&Request::State) {
            Event::State(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// Asks to attach; the answer comes with [`Container::attached`].
    pub fn ask_attach(&self, exec: Option<&str>, stdin: bool) -> Connection {
        let connection = self.connect();
        let request = Request::Attach { exec: exec.map(str::to_owned), stdin, stdout: true, stderr: true };
        connection.send(&request, &[]).unwrap();
        connection
    }

    /// The stream behind [`Container::ask_attach`].
    #[track_caller]
    pub fn attached(&self, mut connection: Connection) -> Attached {
        assert_eq!(connection.receive::<Event>().unwrap().unwrap().0, Event::Ok);
        Attached::new(connection)
    }

    /// Attaches.
    pub fn attach(&self, stdin: bool) -> Attached {
        self.attached(self.ask_attach(None, stdin))
    }

    /// Starts an exec.
    pub fn exec_with(&self, id: &str, options: ExecOptions, tty: bool) -> Result<Attached, Failure> {
        let mut options = options;
        if options.env.is_empty() {
            options.env = vec!["PATH=/bin".into()];
        }
        let process = Box::new(compile_exec(&self.spec, options, self.seccomp.as_ref()).unwrap());
        let mut connection = self.connect();
        let request = Request::Exec {
            id: id.into(),
            process,
            stdin: true,
            stdout: true,
            stderr: true,
            tty,
            console_size: tty.then_some((30, 100)),
            detach: false,
        };
        connection.send(&request, &[]).unwrap();
        match connection.receive::<Event>().unwrap().unwrap().0 {
            Event::ExecStarted { .. } => Ok(Attached::new(connection)),
            Event::Error(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a script in it; its output, errors and code.
    #[track_caller]
    pub fn exec(&mut self, script: &str) -> (String, String, i32) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("e{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        let mut attached = self.exec_with(&id, ExecOptions { args, ..ExecOptions::default() }, false).unwrap();
        attached.end_input();
        let (stdout, stderr) = demultiplex(&attached.read_all());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(stdout), text(stderr), self.exec_code(&id))
    }

    /// Waits for an exec's end.
    #[track_caller]
    pub fn exec_code(&mut self, id: &str) -> i32 {
        loop {
            match self.next_event().0 {
                Event::ExecExited { id: ended, code } if ended == id => return code,
                Event::ExecExited { .. } | Event::Ok => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        self.lab
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.cgroup.kill_all();
            let _ = self.spawned.child.kill();
            let _ = self.spawned.child.wait();
            let _ = self.cgroup.remove();
        }
    }
}
