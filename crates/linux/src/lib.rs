//! The kernel: mounts, namespaces, cgroups, capabilities, seccomp, pidfds. The only crate with unsafe code.

#![allow(unsafe_code)]
