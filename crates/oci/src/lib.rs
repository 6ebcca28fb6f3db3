//! The documents of the OCI image and runtime specifications.

#![forbid(unsafe_code)]

pub mod image;
pub mod runtime;
