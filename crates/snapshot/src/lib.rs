//! Layered file systems: image layers unpacked into directories, and the containers' writable directories.

#![forbid(unsafe_code)]

use rorqual_error::Result;
use rorqual_types::ContainerId;
use std::path::{Path, PathBuf};

/// Layers and writable directories of one data root.
#[derive(Debug)]
pub struct Snapshots {}

/// What is known of an unpacked layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LayerInfo {
    /// Bytes its files take on disk.
    pub size: u64,
    /// Entries in its archive.
    pub entries: u64,
    /// The highest user or group id that owns something in it.
    pub max_owner_id: u32,
}

/// A container's writable directories.
#[derive(Clone, Debug)]
pub struct Writable {
    /// `containers/ID/rw`, holding `upper/` and `work/`.
    pub path: PathBuf,
}

/// Must be the first call of `rorquald`'s `main`: if this process was started as the unpack helper, does that work
/// and does not return.
pub fn helper_main() {}

impl Snapshots {
    /// Opens `layers/` and `containers/` below `data_root` and finishes interrupted removals.
    pub fn open(data_root: &Path) -> Result<Self> {
        let _ = data_root;
        todo!()
    }

    /// The directory whose children are the layers by the hexadecimal digits of their chain ID, each with `fs/`.
    pub fn layers_dir(&self) -> &Path {
        todo!()
    }

    /// Makes the writable directories of a container: `containers/ID/rw/{upper,work}`. Exists already: kept.
    pub fn prepare(&self, id: &ContainerId) -> Result<Writable> {
        let _ = id;
        todo!()
    }

    /// Removes them; returns at once, the deletion goes on in the background. Absent is fine.
    pub fn remove(&self, id: &ContainerId) -> Result<()> {
        let _ = id;
        todo!()
    }

    /// Bytes the container has written (`SizeRw`).
    pub fn usage(&self, id: &ContainerId) -> Result<u64> {
        let _ = id;
        todo!()
    }

    /// Renames any directory of the data root's file system away and deletes it in the background. Absent is fine.
    /// Interrupted by a crash, the deletion goes on at the next open.
    pub fn discard(&self, path: &Path) -> Result<()> {
        let _ = path;
        todo!()
    }
}
