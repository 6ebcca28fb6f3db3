//! The runtime against the real kernel: containers made by the shim, each in namespaces of its own.
//!
//! The tests need root. Each one has its own directories and cgroup, and [`Lab`] fails when anything is left behind.

#![forbid(unsafe_code)]

mod container;
mod lab;
mod stream;

pub use container::{Case, Container, Output};
pub use lab::{Lab, shim_path};
pub use stream::{Attached, demultiplex};
