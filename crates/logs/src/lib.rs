//! Container output in docker's json-file format.
//!
//! The [`Writer`] lives in the shim: one thread, no async, little memory, bytes in and entries out. The [`Reader`] lives in
//! the daemon, on a thread of its own: tail, since, until, follow. They share nothing but the files.

#![forbid(unsafe_code)]

mod encode;
pub mod limits;
mod reader;
pub mod time;
mod writer;

pub use reader::{Entry, Follow, Query, Reader};
pub use writer::{Config, Writer};

/// Which of the container's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
