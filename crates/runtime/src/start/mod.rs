//! The start path: from a [`crate::plan::Plan`] to a program that runs.
//!
//! Two processes take part. The *maker* (the shim, or the OCI command line) has the host's view: it opens sources, makes
//! `/dev`, clones and maps. The *child* is the container's first process: it arranges mounts, then itself, then becomes the
//! program. They speak over one socket pair, which close-on-exec ends when the program is there.

pub(crate) mod accounts;
pub mod child;
pub mod dev;
mod foreign;
pub mod identity;
pub mod join;
pub mod maker;
pub mod mini_init;
pub mod mounts;
pub mod net;
pub mod program;
pub mod rootfs;
pub mod sources;
pub mod sync;
