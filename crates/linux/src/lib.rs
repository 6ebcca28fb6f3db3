//! The kernel: mounts, namespaces, cgroups, capabilities, seccomp, pidfds. The only crate with unsafe code.

#![allow(unsafe_code)]

pub mod caps;
pub mod cgroup;
pub mod confine;
pub mod fdpass;
pub mod inherit;
pub mod memory;
pub mod mount;
pub mod process;
pub mod root;
pub mod seccomp;
pub mod socket;
pub mod usage;
