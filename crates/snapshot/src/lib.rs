//! Layered file systems: image layers, mounted from their archives or unpacked into directories, and the containers'
//! writable directories.

#![forbid(unsafe_code)]

mod apply;
mod archive;
mod erofs;
mod helper;
pub mod limits;
mod mounts;
mod remove;
mod store;
pub mod tar;
mod trash;

pub use archive::{Compression, decompressed};
pub use erofs::index_alone;
pub use helper::{HELPER_NAME, Helper, helper_main};
pub use store::{
    BASE_LAYER, Below, LayerInfo, LayerKind, LayerOptions, Snapshots, Unpack, Verification, Writable, check_free_space,
};
