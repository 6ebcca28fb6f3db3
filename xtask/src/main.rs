//! All automation of this repository: `cargo xtask run | test | build | tidy | fuzz | bench`.

#![forbid(unsafe_code)]

mod build;
mod demo;
mod fuzz;
mod setup;
mod suite;
mod tidy;

use anyhow::{Result, bail};
use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

const HELP: &str = "\
cargo xtask run      build a release, start rorquald on a private root, run a container, stay until Ctrl-C
cargo xtask test     everything CI runs, installing what it needs; `test NAME...` runs only these parts
cargo xtask build    release binaries into target/dist/release; `build --debug` into target/dist/debug
cargo xtask tidy     the rules of layers.toml, and where unsafe code may stand
cargo xtask fuzz     search for inputs that break a reader: `fuzz TARGET [LIBFUZZER OPTION]...`
cargo xtask bench    measure engines side by side; `bench --help`
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let Some((verb, rest)) = words.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    match verb.as_str() {
        "run" => demo::run(rest),
        "test" => suite::run(rest),
        "build" => build::all(if rest.iter().any(|word| word == "--debug") {
            build::Profile::Dev
        } else {
            build::Profile::Release
        })
        .map(|dir| println!("{}", dir.display())),
        "tidy" => tidy::run(),
        "fuzz" => fuzz::run(rest),
        "bench" => {
            let mut command = cargo();
            command.args(["run", "--quiet", "--release", "--package", "rorqual-bench", "--"]).args(rest);
            check(&mut command)
        }
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("no task {other:?}\n{HELP}"),
    }
}

/// The cargo that runs us, in the top directory.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from));
    command.current_dir(rorqual_testkit::places::top());
    // what cargo told us about ourselves is not for our children
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end; its output is ours.
fn check(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| anyhow::anyhow!("start {command:?}: {error}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
