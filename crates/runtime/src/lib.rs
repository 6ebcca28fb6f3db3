//! A bundle becomes a process: the plan, the start path, exec, and the shim's protocol.
//!
//! The daemon uses [`compile`], [`spawn`] and [`protocol`]; `bin/rorqual-shim` runs the rest. No async runtime here: the
//! same crate is linked into the shim, which has one thread.

#![forbid(unsafe_code)]

pub mod compile;
pub mod limits;
pub mod plan;
pub mod protocol;
pub mod spawn;

pub use compile::{ExecOptions, compile, compile_exec};
