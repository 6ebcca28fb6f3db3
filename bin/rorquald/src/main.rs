//! The daemon: configuration and wiring.

#![forbid(unsafe_code)]

mod config;
mod identity;
mod listen;
mod log;
mod notify;
mod run;
mod single;
mod tls;

use config::{Settings, arguments};
use std::process::ExitCode;

fn main() -> ExitCode {
    // This program is also its own helpers, which must not do anything else first.
    rorqual_snapshot::helper_main();
    let flags = match arguments::parse(std::env::args().skip(1)) {
        Ok(flags) => flags,
        Err(why) => {
            eprintln!("{why}\nSee 'rorquald --help'.");
            return ExitCode::FAILURE;
        }
    };
    if flags.contains_key("help") {
        print!("{}", arguments::help());
        return ExitCode::SUCCESS;
    }
    if flags.contains_key("version") {
        println!("Rorqual version {}, build {}", env!("CARGO_PKG_VERSION"), run::COMMIT.unwrap_or("unknown"));
        return ExitCode::SUCCESS;
    }
    match start(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(flags: &arguments::Flags) -> anyhow::Result<()> {
    let merged = config::load(flags)?;
    let settings = Settings::new(&merged)?;
    if matches!(flags.get("validate"), Some(value) if !value.is_nothing()) {
        if let Some(tls) = &settings.tls {
            tls::server(tls).map_err(|error| error.context("invalid TLS configuration"))?;
        }
        eprintln!("configuration OK");
        return Ok(());
    }
    run::daemon(flags, &merged, settings)
}
