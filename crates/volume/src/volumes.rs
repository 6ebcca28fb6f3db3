//! The node's volumes.

use crate::{CreateVolume, Volume};
use rorqual_error::Result;
use rorqual_metadata::Store;
use rorqual_types::{ContainerId, Filters};
use std::path::{Path, PathBuf};

/// The node's volumes; all calls are safe from several threads, and those that touch files block.
#[derive(Debug)]
pub struct Volumes {}

/// What `volume prune` removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The names.
    pub names: Vec<String>,
    /// Bytes of disk given back.
    pub reclaimed: u64,
}

impl Volumes {
    /// The volumes below `root` (`data-root/volumes`); finishes removals that were interrupted.
    pub fn open(root: PathBuf, store: &Store) -> Result<Self> {
        let _ = (root, store);
        todo!()
    }

    /// Makes a volume, or finds the one of that name. The flag says whether it was made (an event follows).
    pub fn create(&self, request: &CreateVolume) -> Result<(Volume, bool)> {
        let _ = request;
        todo!()
    }

    /// One volume by its name.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let _ = name;
        todo!()
    }

    /// All volumes that pass the filters `name`, `label`, `label!`, `dangling` and `driver`, by name.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        let _ = filters;
        todo!()
    }

    /// Removes a volume that no container uses. With `force`, one that does not exist is no error. The flag says whether
    /// one was removed.
    pub fn remove(&self, name: &str, force: bool) -> Result<bool> {
        let _ = (name, force);
        todo!()
    }

    /// Removes unused volumes: anonymous ones, or with the filter `all=1` every one; `label` and `label!` narrow it.
    pub fn prune(&self, filters: &Filters) -> Result<Pruned> {
        let _ = filters;
        todo!()
    }

    /// Notes that `container` uses the volume: it cannot be removed until released.
    pub fn acquire(&self, name: &str, container: &ContainerId) -> Result<()> {
        let _ = (name, container);
        todo!()
    }

    /// Notes that `container` is gone: it uses no volume any more.
    pub fn release(&self, container: &ContainerId) {
        let _ = container;
        todo!()
    }

    /// The containers that use the volume.
    pub fn users(&self, name: &str) -> Vec<ContainerId> {
        let _ = name;
        todo!()
    }

    /// The directory to bind into `container`, mounted first where the volume's options say what to mount.
    pub fn mount(&self, name: &str, container: &ContainerId) -> Result<PathBuf> {
        let _ = (name, container);
        todo!()
    }

    /// `container` has stopped: what [`Volumes::mount`] mounted for it is unmounted when it was the last user.
    pub fn unmount(&self, container: &ContainerId) {
        let _ = container;
        todo!()
    }

    /// Fills an empty volume with what the image has at `path`: owners, modes, attributes and links kept. `lowers` are the
    /// image's layer directories, topmost first. A volume that has data, or an image that has nothing there, is left as is;
    /// the flag says whether anything was copied.
    pub fn copy_up(&self, name: &str, lowers: &[PathBuf], path: &Path) -> Result<bool> {
        let _ = (name, lowers, path);
        todo!()
    }

    /// Bytes of disk a volume takes.
    pub fn usage(&self, name: &str) -> Result<u64> {
        let _ = name;
        todo!()
    }
}
