//! The documents of the OCI image and runtime specifications.

#![forbid(unsafe_code)]

pub mod runtime;
