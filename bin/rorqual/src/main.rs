//! The command line.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rorqual_cli::main(std::env::args_os().skip(1)))
}
