//! Verbs about running: words, time, signals, children, load.

use crate::{During, Failure, Outcome, files::print};
use nix::sys::signal::{SigSet, Signal};
use std::{
    env, fs, hint,
    io::{self, Write as _},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Runs one verb of this file.
pub(crate) fn run(verb: &str, words: &[&str]) -> Outcome {
    match (verb, words) {
        ("echo", words) => print(&format!("{}\n", words.join(" "))),
        ("err", words) => {
            eprintln!("{}", words.join(" "));
            Ok(0)
        }
        ("args", words) => words.iter().try_fold(0, |_, word| print(&format!("{word}\n"))),
        ("env", []) => environment(),
        ("env", [name]) => match env::var(name) {
            Ok(value) => print(&format!("{value}\n")),
            Err(_) => Ok(1),
        },
        ("pwd", []) => print(&format!("{}\n", env::current_dir().during("working directory")?.display())),
        ("hostname", []) => print(&format!("{}\n", nix::unistd::gethostname().during("host name")?.to_string_lossy())),
        ("tty", []) => tty(),
        ("sleep", [seconds]) => {
            thread::sleep(duration(seconds)?);
            Ok(0)
        }
        ("exit", [code]) => code.parse().map_err(|_| Failure::Usage),
        ("burn", ["cpu", seconds]) => burn_cpu(duration(seconds)?),
        ("burn", ["memory", mib]) => burn_memory(number(mib)?, Duration::ZERO),
        ("burn", ["memory", mib, seconds]) => burn_memory(number(mib)?, duration(seconds)?),
        ("trap", words) => trap(words),
        ("count", []) => count(Duration::from_millis(100), u64::MAX),
        ("count", [tick]) => count(Duration::from_millis(number(tick)?), u64::MAX),
        ("count", [tick, last]) => count(Duration::from_millis(number(tick)?), number(last)?),
        ("lines", [total]) => lines(number(total)?, 0),
        ("lines", [total, length]) => lines(number(total)?, number(length)?),
        ("children", [total, seconds]) => children(number(total)?, seconds),
        ("orphan", [seconds]) => orphan(seconds),
        _ => Err(Failure::Usage),
    }
}

fn number(word: &str) -> Result<u64, Failure> {
    word.parse().map_err(|_| Failure::Usage)
}

fn duration(word: &str) -> Result<Duration, Failure> {
    word.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or(Failure::Usage)
}

fn environment() -> Outcome {
    let mut all: Vec<String> =
        env::vars_os().map(|(name, value)| format!("{}={}\n", name.display(), value.display())).collect();
    all.sort();
    print(&all.concat())
}

fn tty() -> Outcome {
    let stdin = io::stdin();
    if !rustix::termios::isatty(&stdin) {
        return print("not a terminal\n").map(|_| 1);
    }
    let size = rustix::termios::tcgetwinsize(&stdin).during("size of the terminal")?;
    print(&format!("terminal {} rows {} columns\n", size.ws_row, size.ws_col))
}

fn burn_cpu(time: Duration) -> Outcome {
    let end = Instant::now() + time;
    let mut rounds = 0_u64;
    while Instant::now() < end {
        for _ in 0..10_000 {
            rounds = hint::black_box(rounds.wrapping_mul(31).wrapping_add(7));
        }
    }
    Ok(0)
}

/// Touches `mib` MiB one after the other, saying how far it came, and holds them.
fn burn_memory(mib: u64, hold: Duration) -> Outcome {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for step in 1..=mib {
        held.push(hint::black_box(vec![0xa5; 1 << 20]));
        print(&format!("{step}\n"))?;
    }
    thread::sleep(hold);
    drop(hint::black_box(held));
    Ok(0)
}

/// Waits for signals and says which came; TERM and INT end it unless they are to be ignored.
fn trap(words: &[&str]) -> Outcome {
    let (mut ignore, mut code, mut set) = (false, 0, SigSet::empty());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--ignore" => ignore = true,
            "--exit" => code = words.next().and_then(|code| code.parse().ok()).ok_or(Failure::Usage)?,
            name => set.add(signal(name)?),
        }
    }
    if set == SigSet::empty() {
        set = SigSet::all();
        set.remove(Signal::SIGCHLD);
    }
    set.thread_block().during("block signals")?;
    print("ready\n")?;
    loop {
        let signal = set.wait().during("wait for a signal")?;
        print(&format!("got {}\n", signal.as_str().trim_start_matches("SIG")))?;
        if !ignore && matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) {
            return Ok(code);
        }
    }
}

fn signal(name: &str) -> Result<Signal, Failure> {
    let name = name.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse().map_err(|_| Failure::Usage)
}

fn count(tick: Duration, last: u64) -> Outcome {
    for value in 1..=last {
        print(&format!("{value}\n"))?;
        thread::sleep(tick);
    }
    Ok(0)
}

fn lines(total: u64, length: u64) -> Outcome {
    let mut out = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let filler = "x".repeat(usize::try_from(length).map_err(|_| Failure::Usage)?);
    for value in 1..=total {
        let separator = if filler.is_empty() { "" } else { " " };
        writeln!(out, "{value}{separator}{filler}").during("print")?;
    }
    out.flush().during("print").map(|()| 0)
}

fn itself() -> Result<Command, Failure> {
    // not /proc/self/exe: a container may have no /proc
    let program = env::args_os().next().ok_or(Failure::Usage)?;
    let program = if fs::exists("/proc/self/exe").unwrap_or(false) { "/proc/self/exe".into() } else { program };
    Ok(Command::new(program))
}

fn children(total: u64, seconds: &str) -> Outcome {
    let mut started = Vec::new();
    for number in 1..=total {
        match itself()?.args(["sleep", seconds]).spawn() {
            Ok(child) => started.push(child),
            Err(error) => {
                print(&format!("child {number}: {}\n", error.kind()))?;
                break;
            }
        }
    }
    print(&format!("{} children\n", started.len()))?;
    for mut child in started {
        child.wait().during("wait for a child")?;
    }
    Ok(0)
}

/// Starts a child that starts a sleeper and ends, so that the sleeper's parent becomes process 1.
fn orphan(seconds: &str) -> Outcome {
    if env::var_os("HELLO_ORPHAN").is_some() {
        itself()?.args(["sleep", seconds]).env_remove("HELLO_ORPHAN").spawn().during("start the orphan")?;
        return Ok(0);
    }
    let mut parent = itself()?;
    parent.args(["orphan", seconds]).env("HELLO_ORPHAN", "1").stdin(Stdio::null());
    parent.status().during("start the orphan's parent")?;
    print("orphaned\n")?;
    thread::sleep(duration(seconds)? * 2);
    Ok(0)
}
