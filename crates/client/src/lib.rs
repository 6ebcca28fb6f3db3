//! The Engine API, called from Rust.

#![forbid(unsafe_code)]
