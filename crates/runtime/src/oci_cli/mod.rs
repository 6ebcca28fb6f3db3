//! The OCI runtime command line: `create start state kill delete exec list features` and what runc adds, with its options.
//!
//! Nothing of it stays running: a created container waits on a fifo in its state directory, `start` opens it.

mod arguments;
mod create;
mod exec;
mod features;
mod lifecycle;
mod log;
mod state;
mod terminal;

use arguments::Arguments;
use rorqual_error::{Context, Error, Result};
use std::path::PathBuf;

/// Where states are kept unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/rorqual-oci";

/// What is said before the verb.
#[derive(Debug)]
struct Global {
    /// Directory of states.
    root: PathBuf,
    /// Cgroup paths are `slice:prefix:name`.
    systemd_cgroup: bool,
}

/// Runs one command; the process's exit code.
pub fn main(args: impl Iterator<Item = String>) -> i32 {
    let mut arguments = Arguments::new(args);
    let mut log = log::Log::default();
    match run(&mut arguments, &mut log) {
        Ok(code) => code,
        Err(error) => {
            log.error(&error.to_string());
            1
        }
    }
}

fn run(arguments: &mut Arguments, log: &mut log::Log) -> Result<i32> {
    let mut global = Global { root: DEFAULT_ROOT.into(), systemd_cgroup: false };
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--root" => global.root = arguments.value()?.into(),
            "--log" => log.path = Some(arguments.value()?.into()),
            "--log-format" => log.json = arguments.value()? == "json",
            "--systemd-cgroup" => global.systemd_cgroup = arguments.flag()?,
            "--rootless" | "--criu" => drop(arguments.value()?),
            "--debug" => drop(arguments.flag()?),
            "--version" | "-v" => {
                println!("rorqual-shim version {}\nspec: {}", env!("CARGO_PKG_VERSION"), rorqual_oci::runtime::VERSION);
                return Ok(0);
            }
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(0);
            }
            other => return Err(arguments.unknown(other)),
        }
    }
    let verb = arguments.word();
    if matches!(verb.as_deref(), Some("create" | "run" | "exec")) {
        // A program in the container may be this very file, opened through procfs: it must not be the host's (R5).
        rorqual_linux::memory::run_from_sealed_copy().context("run from a sealed copy")?;
    }
    match verb.as_deref() {
        Some("create") => create::create(&global, arguments),
        Some("run") => create::run(&global, arguments),
        Some("start") => lifecycle::start(&global, arguments),
        Some("state") => lifecycle::state(&global, arguments),
        Some("kill") => lifecycle::kill(&global, arguments),
        Some("delete") => lifecycle::delete(&global, arguments),
        Some("exec") => exec::exec(&global, arguments),
        Some("list") => lifecycle::list(&global, arguments),
        Some("ps") => lifecycle::ps(&global, arguments),
        Some("pause") => lifecycle::pause(&global, arguments),
        Some("resume") => lifecycle::resume(&global, arguments),
        Some("update") => lifecycle::update(&global, arguments),
        Some("features") => features::features(),
        Some("help") | None => {
            print!("{USAGE}");
            Ok(0)
        }
        Some(other) => Err(Error::invalid(format!("unknown command {other:?}"))),
    }
}

const USAGE: &str = "\
Usage: rorqual-shim [--root DIR] [--log FILE] [--log-format text|json] [--systemd-cgroup] COMMAND

An OCI runtime. Commands:
  create [--bundle DIR] [--console-socket PATH] [--pid-file FILE] [--preserve-fds N] [--no-pivot] ID
  run    the same, and [--detach] [--keep] ID
  start ID
  state ID
  kill [--all] ID [SIGNAL]
  delete [--force] ID
  exec [--process FILE] [--tty] [--user UID[:GID]] [--cwd DIR] [--env NAME=VALUE] [--cap NAME]
       [--detach] [--pid-file FILE] [--console-socket PATH] [--preserve-fds N] ID [COMMAND ARG...]
  list [--format table|json] [--quiet]
  ps [--format table|json] ID
  pause ID | resume ID
  update --resources FILE ID
  features
";
