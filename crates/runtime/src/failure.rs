//! Failures of the start path: where, the kernel's number, and words for the user.

use crate::protocol::{Failure, Step};
use rorqual_linux::process::errno_text;
use std::{fmt, io};

/// The result of a step of the start path.
pub type Outcome<T> = Result<T, Box<Failure>>;

impl Failure {
    /// A failure without an error of the kernel.
    pub fn new(step: Step, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { step, errno: 0, code: 125, message: message.into() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Errors that carry a number of the kernel.
pub trait Errno {
    /// The number, or 0.
    fn errno(&self) -> i32;
    /// The kernel's words for it, or its own.
    fn text(&self) -> String;
}

impl Errno for io::Error {
    fn errno(&self) -> i32 {
        self.raw_os_error().unwrap_or(0)
    }

    fn text(&self) -> String {
        self.raw_os_error().map_or_else(|| self.to_string(), errno_text)
    }
}

impl Errno for rustix::io::Errno {
    fn errno(&self) -> i32 {
        self.raw_os_error()
    }

    fn text(&self) -> String {
        errno_text(self.raw_os_error())
    }
}

/// Turns an error into a [`Failure`] of a step.
pub trait At<T> {
    /// Names the step and what was attempted.
    fn at(self, step: Step, what: &str) -> Outcome<T>;
    /// As [`At::at`], the words made only on failure.
    fn at_with(self, step: Step, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: Errno> At<T> for Result<T, E> {
    fn at(self, step: Step, what: &str) -> Outcome<T> {
        self.at_with(step, || what.to_owned())
    }

    fn at_with(self, step: Step, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| {
            let message = format!("{}: {}", what(), error.text());
            Box::new(Failure { step, errno: error.errno(), code: 125, message })
        })
    }
}
