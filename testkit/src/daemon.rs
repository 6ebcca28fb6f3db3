//! A `rorquald` of one's own: its roots in a temporary directory, its cgroups and networks under names of its own.
//!
//! Whatever happens to the test, nothing stays: a guard process holds the other end of a pipe and sweeps up when
//! the test's process is gone, killed or not.

use crate::{
    command::{self, Finished, wait_for},
    http::Api,
    netns::{Netns, unique},
    places, residue,
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

const LAUNCH: &str = include_str!("../scripts/launch.sh");
const SWEEP: &str = include_str!("../scripts/sweep.sh");

/// How a daemon is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further environment.
    pub environment: Vec<(String, String)>,
    /// Use the caller's network namespace rather than one of its own.
    pub host_network: bool,
    /// A directory to take as the fixture's root, made and removed by the caller: a small file system, say.
    pub root: Option<PathBuf>,
}

/// A running daemon and everything around it.
#[derive(Debug)]
pub struct Daemon {
    /// Its networks.
    pub netns: Option<Netns>,
    /// The directory that holds all it has.
    pub root: PathBuf,
    /// The name of the cgroup that holds it and its containers, in each hierarchy.
    pub cgroup: String,
    options: Options,
    child: Option<Child>,
    /// Open while this process lives; the guard waits for its end.
    guard: Option<(Child, ChildStdin)>,
    made_root: Option<tempfile::TempDir>,
}

impl Daemon {
    /// Starts one with no wishes, under a unique name that contains `label`.
    pub fn start(label: &str) -> Self {
        Self::start_with(label, Options::default())
    }

    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it does not, with what it logged.
    pub fn start_with(label: &str, options: Options) -> Self {
        let mut this = Self::prepare(label, options);
        this.boot();
        this
    }

    /// Makes everything around a daemon, without starting it.
    pub fn prepare(label: &str, options: Options) -> Self {
        let name = unique(&label.chars().take(4).collect::<String>());
        let made = options
            .root
            .is_none()
            .then(|| tempfile::Builder::new().prefix("rq-").tempdir().expect("make a temporary root"));
        let root = made.as_ref().map_or_else(|| options.root.clone().expect("given"), |dir| dir.path().to_owned());
        let netns = (!options.host_network).then(|| Netns::new(&name));
        // what need not survive a reboot is on a tmpfs, as /run is
        let exec = root.join("exec");
        fs::create_dir_all(&exec).expect("make the exec root");
        command::run(
            "mount",
            ["-t", "tmpfs", "-o", "mode=0700", "tmpfs"].map(OsStr::new).into_iter().chain([exec.as_os_str()]),
        )
        .ok();
        let cgroup = format!("rorqual-test-{name}");
        let mut this = Self { netns, root, cgroup, options, child: None, guard: None, made_root: made };
        this.guard = Some(this.spawn_guard());
        this
    }

    fn spawn_guard(&self) -> (Child, ChildStdin) {
        let script = format!("trap '' INT TERM HUP; cat >/dev/null; exec >/dev/null 2>&1\n{SWEEP}");
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", &script, "sweep"]).args(self.sweep_arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("start the guard");
        let pipe = child.stdin.take().expect("stdin is piped");
        (child, pipe)
    }

    fn sweep_arguments(&self) -> Vec<String> {
        let mut all = vec![self.root.display().to_string(), self.cgroup.clone()];
        all.extend(self.netns.iter().flat_map(|netns| [netns.name.clone(), netns.client.clone()]));
        all
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        self.root.join("sock")
    }

    /// What to set `DOCKER_HOST` to.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Where it keeps what must survive a reboot.
    pub fn data_root(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where it keeps what need not.
    pub fn exec_root(&self) -> PathBuf {
        self.root.join("exec")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// A connection to its API.
    pub fn api(&self) -> Api {
        Api::new(self.host())
    }

    /// The command line that starts it, in its cgroup and network namespace.
    pub fn command(&self) -> Command {
        let namespace = self.netns.as_ref().map_or("-", |netns| netns.name.as_str());
        let mut command = Command::new("sh");
        command.args(["-c", LAUNCH, "launch", &self.cgroup, namespace]).arg(places::binary("rorquald"));
        command.arg("--host").arg(self.host()).arg("--data-root").arg(self.data_root());
        command.arg("--exec-root").arg(self.exec_root()).arg("--pidfile").arg(self.root.join("pid"));
        // not the machine's own configuration
        let config = self.root.join("daemon.json");
        if !config.exists() {
            fs::write(&config, "{}").expect("write a configuration");
        }
        command.arg("--config-file").arg(config).args(&self.options.arguments);
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Changes the environment of the next boot.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.options.environment.retain(|(known, _)| known != name);
        self.options.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the daemon where it is not running, and waits until it answers. Gives the time that took.
    pub fn boot(&mut self) -> Duration {
        let begin = self.spawn();
        if let Err(why) = self.await_ready(Duration::from_secs(30)) {
            panic!("the daemon is not ready: {why}\n{}", self.log());
        }
        begin.elapsed()
    }

    /// Starts the daemon and does not wait.
    pub fn spawn(&mut self) -> Instant {
        assert!(self.child.is_none(), "the daemon runs already");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.root.join("log")).expect("open the log");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let begin = Instant::now();
        self.child = Some(command.spawn().expect("start the daemon"));
        begin
    }

    /// Waits until `/_ping` answers 200.
    ///
    /// # Errors
    /// When the daemon ended first, or the time is up.
    pub fn await_ready(&mut self, deadline: Duration) -> Result<(), String> {
        let end = Instant::now() + deadline;
        let mut api = self.api();
        while Instant::now() < end {
            if let Ok(answer) = api.try_call("GET", "/_ping", None)
                && answer.status == 200
            {
                return Ok(());
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                self.child = None;
                return Err(format!("it ended: {status}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err("time is up".to_owned())
    }

    /// Kills the daemon alone, as the kernel would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        child.kill().expect("kill the daemon");
        child.wait().expect("reap the daemon");
    }

    /// Whether the daemon's process still lives; one that ended is reaped.
    pub fn alive(&mut self) -> bool {
        let alive = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        if !alive {
            self.child = None;
        }
        alive
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().expect("the daemon runs"));
        rustix::process::kill_process(pid, signal).expect("signal the daemon");
    }

    /// Asks the daemon to end and waits for it. Containers live on.
    pub fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        self.await_end();
    }

    /// Waits until the daemon has ended, of its own accord or as asked before, and reaps it.
    ///
    /// # Panics
    /// When it does not.
    pub fn await_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the daemon runs");
        wait_for("the daemon to end", || child.try_wait().expect("wait for the daemon"))
    }

    /// Kills and starts again.
    pub fn crash(&mut self) -> Duration {
        self.kill();
        self.boot()
    }

    /// The docker command line against this daemon.
    #[track_caller]
    pub fn docker<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        docker(&self.host(), arguments)
    }

    /// Loads an archive file into it.
    #[track_caller]
    pub fn load(&self, archive: &Path) {
        let bytes = fs::read(archive).expect("read the archive");
        let answer = self.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(&bytes));
        let answer = answer.expect("load an image").ok();
        assert!(!answer.text().contains("errorDetail"), "{}", answer.text());
    }

    /// Asks the oracle for leftovers: differences between what the daemon says exists and what does.
    pub fn leftovers(&self) -> Vec<String> {
        residue::oracle(self)
    }

    /// Removes every container, asks the oracle, ends the daemon, and asserts that nothing at all remained.
    ///
    /// # Panics
    /// With what remained.
    pub fn finish(mut self) {
        if !self.alive() {
            self.boot();
        }
        let mut api = self.api();
        for container in api.get("/containers/json?all=1").as_array().into_iter().flatten() {
            let id = container["Id"].as_str().unwrap_or_default();
            api.call("DELETE", &format!("/containers/{id}?force=1&v=1"), None);
        }
        let left = self.leftovers();
        assert!(left.is_empty(), "left over: {left:#?}\n{}", self.log());
        self.stop();
        let swept = self.sweep();
        assert!(swept.trim().is_empty(), "outlived their containers:\n{swept}");
    }

    /// Ends and removes everything by force; gives what was still there.
    fn sweep(&mut self) -> String {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            _ = child.wait();
        }
        let mut arguments = vec!["-c".to_owned(), SWEEP.to_owned(), "sweep".to_owned()];
        arguments.extend(self.sweep_arguments());
        let swept = command::run("sh", arguments);
        if let Some((mut child, pipe)) = self.guard.take() {
            drop(pipe);
            _ = child.wait();
        }
        swept.stdout
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.guard.is_none() {
            return;
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            // by the macro: the test harness shows it with the failure
            eprintln!("--- the daemon's log, last lines");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
        self.sweep();
        drop(self.made_root.take());
    }
}

/// The docker command line against the daemon at `host`, with no configuration of the machine's own.
#[track_caller]
pub fn docker<S: AsRef<OsStr>>(host: &str, arguments: impl IntoIterator<Item = S>) -> Finished {
    command::finish(docker_command(host).args(arguments), b"", command::DEADLINE)
}

/// [`docker`], not yet run.
pub fn docker_command(host: &str) -> Command {
    let mut command = Command::new(places::docker());
    let config = places::cache().join("docker-config");
    command.env("DOCKER_HOST", host).env("DOCKER_CONFIG", config).env_remove("DOCKER_CONTEXT");
    command
}
