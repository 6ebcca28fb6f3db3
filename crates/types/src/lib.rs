//! Ids, names, references, digests, sizes and filters: parsed once, at the edge.

#![forbid(unsafe_code)]

mod digest;
mod filters;
mod id;
mod platform;
mod reference;
mod signal;
mod size;

pub use digest::{ChainId, DiffId, Digest};
pub use filters::Filters;
pub use id::{ContainerId, ContainerName, ExecId, VolumeName};
pub use platform::Platform;
pub use reference::Reference;
pub use signal::Signal;
pub use size::{human_size, parse_bytes};
