//! The layer below every image's, and how the directories of a store are spread over the disk.

use super::{INGEST, Snapshots, make_directory};
use rorqual_error::{Context, Result};
use rustix::fs::{IFlags, Mode, OFlags};
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// The layer below those of every image: what a container must have for mounts, where its image does not.
pub const BASE_LAYER: &str = "base";

/// Tells the file system that what is made in `path` has little to do with each other. ext4 then spreads the directories
/// over the disk; otherwise all would stand in one group, and each new file is looked for past all inodes that were freed
/// there in the last minute. Other file systems do not know the flag.
pub(super) fn spread(path: &Path) {
    let set = || -> rustix::io::Result<()> {
        let directory = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = rustix::fs::ioctl_getflags(&directory)?;
        rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR)
    };
    if let Err(error) = set() {
        tracing::debug!(path = %path.display(), %error, "the file system takes no hint to spread directories");
    }
}

impl Snapshots {
    /// Makes the layer [`BASE_LAYER`] where it is missing. With it, starting a container makes no file in the
    /// container's own directory.
    pub(super) fn make_base(&self) -> Result<()> {
        let place = self.layers.join(BASE_LAYER);
        if place.exists() {
            return Ok(());
        }
        let made = self.layers.join(format!("{INGEST}{BASE_LAYER}"));
        make_directory(&made)?;
        let root = made.join("fs");
        for directory in ["", "dev", "etc", "proc", "sys"] {
            let path = root.join(directory);
            DirBuilder::new().mode(0o755).create(&path).with_context(|| format!("create {}", path.display()))?;
        }
        for file in [".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf"] {
            let path = root.join(file);
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o755);
            options.open(&path).with_context(|| format!("create {}", path.display()))?;
        }
        let link = root.join("etc/mtab");
        std::os::unix::fs::symlink("/proc/mounts", &link).with_context(|| format!("create {}", link.display()))?;
        self.sync()?;
        fs::rename(&made, &place).with_context(|| format!("put {} in its place", place.display()))
    }
}
