//! Layered file systems: image layers unpacked into directories, and the containers' writable directories.

#![forbid(unsafe_code)]

mod apply;
mod archive;
mod helper;
pub mod limits;
mod remove;
mod store;
pub mod tar;
mod trash;

pub use archive::{Compression, decompressed};
pub use helper::{HELPER_NAME, Helper, helper_main};
pub use store::{BASE_LAYER, LayerInfo, Snapshots, Unpack, Writable, check_free_space};
