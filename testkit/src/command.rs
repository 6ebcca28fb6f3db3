//! Running programs with a deadline, and what came of it.

use std::{
    ffi::OsStr,
    fmt,
    io::{Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// What a program printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code; 128 plus the signal's number where a signal ended it, -1 where the deadline did.
    pub code: i32,
}

impl Finished {
    /// The output, when the program ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "ended with {}: {self}", self.code);
        self.stdout
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// The time any one program of a test may take.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Runs `program` with `arguments`, no input, within [`DEADLINE`].
#[track_caller]
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = S>) -> Finished {
    finish(Command::new(program).args(arguments), b"", DEADLINE)
}

/// Runs a line of shell within [`DEADLINE`].
#[track_caller]
pub fn shell(line: &str) -> Finished {
    run("sh", ["-c", line])
}

/// Runs a prepared command to its end, feeding `input`. At the deadline its whole process group is killed.
///
/// # Panics
/// When the program cannot be started at all.
#[track_caller]
pub fn finish(command: &mut Command, input: &[u8], deadline: Duration) -> Finished {
    let name = format!("{command:?}");
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    // both may fail when the program ends early, which its exit code tells
    thread::spawn(move || _ = stdin.write_all(&input));
    let (sender, receiver) = mpsc::channel();
    for (index, mut stream) in [
        Box::new(child.stdout.take().expect("stdout is piped")) as Box<dyn std::io::Read + Send>,
        Box::new(child.stderr.take().expect("stderr is piped")),
    ]
    .into_iter()
    .enumerate()
    {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            _ = stream.read_to_end(&mut bytes);
            _ = sender.send((index, bytes));
        });
    }
    let end = Instant::now() + deadline;
    let mut streams = [Vec::new(), Vec::new()];
    let mut late = false;
    for _ in 0..2 {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok((index, bytes)) => streams[index] = bytes,
            Err(_) if !late => {
                late = true;
                kill_group(child.id());
                if let Ok((index, bytes)) = receiver.recv_timeout(Duration::from_secs(5)) {
                    streams[index] = bytes;
                }
            }
            Err(_) => {}
        }
    }
    let status = child.wait().unwrap_or_else(|error| panic!("wait for {name}: {error}"));
    let [stdout, stderr] = streams.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = if late { -1 } else { status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0)) };
    Finished { stdout, stderr, code }
}

fn kill_group(leader: u32) {
    let group = i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Waits until `ready` gives something, looking every few milliseconds. The deadline is far off: on a busy disk each
/// commit takes seconds.
///
/// # Panics
/// After [`DEADLINE`], naming what was awaited.
#[track_caller]
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} for {what}");
        thread::sleep(Duration::from_millis(3));
    }
}
