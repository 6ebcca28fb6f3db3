//! The supervisor of one container, and an OCI runtime.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match std::env::args_os().nth(1) {
        Some(mode) if mode == "supervise" => rorqual_runtime::shim::supervise(),
        _ => 2,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
