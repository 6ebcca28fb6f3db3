//! A bundle becomes a process: the plan, the start path, exec, and the shim's protocol.
//!
//! The daemon uses [`compile`], [`spawn`] and [`protocol`]; `bin/rorqual-shim` runs the rest. No async runtime here: the
//! same crate is linked into the shim, which has one thread.

#![forbid(unsafe_code)]

pub mod compile;
mod copy_up;
mod failure;
mod hooks;
pub mod limits;
pub mod oci_cli;
pub mod plan;
pub mod protocol;
pub mod shim;
pub mod spawn;
pub mod start;
mod terminal;

pub use compile::{ExecOptions, compile, compile_exec, compile_process};
