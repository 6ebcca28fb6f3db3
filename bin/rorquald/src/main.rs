//! The daemon: configuration and wiring.

#![forbid(unsafe_code)]

fn main() {}
