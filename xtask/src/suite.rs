//! `cargo xtask test`: everything CI runs, in order of cheapness, counted, with one closing line.

use crate::{build, cargo, setup, tidy};
use anyhow::{Result, bail};
use rorqual_testkit::{Daemon, images, places};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

/// What has been counted so far.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    broken: Vec<String>,
}

/// One part of the suite.
struct Part {
    name: &'static str,
    run: fn(&mut Tally) -> Result<()>,
}

const PARTS: [Part; 9] = [
    Part { name: "format", run: |tally| step(tally, "format", cargo().args(["fmt", "--all", "--check"])) },
    Part { name: "tidy", run: |tally| tally.outcome("tidy", tidy::run()) },
    Part { name: "clippy", run: clippy },
    Part { name: "units", run: units },
    Part { name: "linux", run: |tally| tests(tally, &["-p", "rorqual-linux-tests"], &[]) },
    Part { name: "clients", run: clients },
    Part {
        name: "escape",
        run: |tally| tests(tally, &["-p", "rorqual-conformance", "--test", "escape", "--test", "limits"], &[]),
    },
    Part {
        name: "crash",
        run: |tally| tests(tally, &["-p", "rorqual-conformance", "--test", "crash", "--test", "store"], &[]),
    },
    Part { name: "demo", run: demo },
];

/// Runs the parts named, or all.
pub fn run(words: &[String]) -> Result<()> {
    if let Some(unknown) = words.iter().find(|word| !PARTS.iter().any(|part| part.name == **word)) {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        bail!("no part {unknown:?}; there are {}", names.join(" "));
    }
    let begin = Instant::now();
    setup::all()?;
    let mut tally = Tally::default();
    for part in PARTS.iter().filter(|part| words.is_empty() || words.iter().any(|word| word == part.name)) {
        let begun = Instant::now();
        println!("\n===== {}", part.name);
        if let Err(error) = (part.run)(&mut tally) {
            println!("{}: {error:#}", part.name);
            tally.failed += 1;
            tally.broken.push(part.name.to_owned());
        }
        println!("===== {} took {:.0} s", part.name, begun.elapsed().as_secs_f64());
    }
    for name in &tally.broken {
        println!("failed: {name}");
    }
    let word = if tally.failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s",
        tally.passed,
        tally.failed,
        tally.ignored,
        begin.elapsed().as_secs_f64()
    );
    std::io::stdout().flush()?;
    if tally.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

impl Tally {
    /// Counts something that is one test by itself.
    fn outcome(&mut self, name: &str, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("{name}: {error:#}");
                self.failed += 1;
                self.broken.push(name.to_owned());
            }
        }
        Ok(())
    }

    /// Adds the numbers of a closing line of the test harness; false where the line is none.
    fn closing_line(&mut self, line: &str) -> bool {
        let Some(rest) = line.strip_prefix("test result: ") else { return false };
        let count = |word: &str| {
            rest.split(['.', ';']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok()).unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.ignored += count("ignored");
        true
    }
}

fn step(tally: &mut Tally, name: &str, command: &mut Command) -> Result<()> {
    tally.outcome(name, crate::check(command))
}

fn clippy(tally: &mut Tally) -> Result<()> {
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--keep-going", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    step(tally, "clippy", &mut command)
}

/// Everything beside the code, and the scenarios of each crate.
fn units(tally: &mut Tally) -> Result<()> {
    let others =
        ["--workspace", "--exclude", "rorqual-conformance", "--exclude", "rorqual-linux-tests", "--all-targets"];
    tests(tally, &others, &[])
}

/// One daemon for all clients; when they are done nothing may be left of what they made.
fn clients(tally: &mut Tally) -> Result<()> {
    build::all(build::Profile::Dev)?;
    let daemon = Daemon::start("conf");
    for archive in [images::hello(), images::busybox(), images::debian()] {
        daemon.load(&archive);
    }
    let netns = daemon.netns.as_ref().map(|netns| netns.name.clone()).unwrap_or_default();
    let environment = [("RORQUAL_TEST_HOST", daemon.host()), ("RORQUAL_TEST_NETNS", netns)];
    let words = ["-p", "rorqual-conformance", "--test", "scenarios", "--test", "sessions", "--test", "libraries"];
    tests(tally, &words, &environment)?;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| daemon.finish()));
    tally.outcome("nothing is left of what the clients made", outcome.map_err(|_| anyhow::anyhow!("see above")))?;
    let own = ["daemon", "programs", "registry", "manifests", "exchange", "bollard"];
    let own: Vec<&str> = own.iter().flat_map(|name| ["--test", name]).collect();
    tests(tally, &[&["-p", "rorqual-conformance"], &own[..]].concat(), &[])
}

/// The other README command, as a user would type it, but ending by itself.
fn demo(tally: &mut Tally) -> Result<()> {
    tally.outcome("cargo xtask run", crate::demo::run(&["--debug".to_owned(), "--once".to_owned()]))
}

/// `cargo test` with these words, its output passed on and its closing lines counted.
fn tests(tally: &mut Tally, words: &[&str], environment: &[(&str, String)]) -> Result<()> {
    let bin = build::all(build::Profile::Dev)?;
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]).args(words).env("RORQUAL_BIN_DIR", &bin);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.env("RORQUAL_TEST_DOCKER", places::docker()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let failed_before = tally.failed;
    let mut closing_lines = 0;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            closing_lines += u32::from(tally.closing_line(&line));
        }
    }
    let status = child.wait()?;
    if closing_lines == 0 || (!status.success() && tally.failed == failed_before) {
        bail!("{command:?} ended with {status}");
    }
    if tally.failed > failed_before {
        tally.broken.push(words.join(" "));
    }
    Ok(())
}
