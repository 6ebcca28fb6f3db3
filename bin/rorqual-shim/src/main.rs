//! The supervisor of one container, and an OCI runtime.

#![forbid(unsafe_code)]

fn main() {}
