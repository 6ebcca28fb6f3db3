//! The supervisor of one container, and an OCI runtime.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).peekable();
    let code = match args.peek().map(String::as_str) {
        Some("supervise") => rorqual_runtime::shim::supervise(),
        _ => rorqual_runtime::oci_cli::main(args),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
