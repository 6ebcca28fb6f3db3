//! What the data root takes on disk, and whose it is: the figures of `system df`, which add up to what `du` says.
//!
//! Every entry of the data root is counted, known or not. Unpacked layers never change and are measured once; all else is
//! a few files for each object, but for what containers and volumes hold.

use crate::{parts::Parts, system::DiskUsageOptions};
use rorqual_error::{Context, Result};
use rorqual_linux::usage::Usage;
use rorqual_types::{ContainerId, VolumeName};
use std::{collections::BTreeMap, fs, path::Path};

/// Bytes of disk, counted as `du` counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Space {
    /// Blobs and layers, and what is left of interrupted pulls.
    pub images: u64,
    /// Each container's directory: what it wrote, its log, its own files.
    pub containers: BTreeMap<ContainerId, u64>,
    /// Each volume's directory.
    pub volumes: BTreeMap<VolumeName, u64>,
    /// The store of records.
    pub records: u64,
    /// What is going away, the directories that hold all this, and what is nobody's.
    pub other: u64,
}

impl Space {
    /// What nobody but the daemon itself needs.
    pub fn overhead(&self) -> u64 {
        self.records + self.other
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.images + self.containers.values().sum::<u64>() + self.volumes.values().sum::<u64>() + self.overhead()
    }
}

/// Measures what is asked for; blocks.
pub(crate) fn measure(parts: &Parts, options: DiskUsageOptions) -> Result<Space> {
    let root = &parts.config.data_root;
    let (mut usage, mut space) = (Usage::default(), Space::default());
    space.other += own(root)?;
    for (name, path) in entries(root)? {
        match name.as_str() {
            "content" if options.images => space.images += tree(&mut usage, &path)?,
            "layers" if options.images => space.images += parts.snapshots.layers_usage(&mut usage)?,
            "containers" if options.containers => {
                space.other += each(&mut usage, &path, &mut space.containers)?;
            }
            "volumes" if options.volumes => space.other += each(&mut usage, &path, &mut space.volumes)?,
            "content" | "layers" | "containers" | "volumes" => {}
            "meta" => space.records += tree(&mut usage, &path)?,
            _ => space.other += tree(&mut usage, &path)?,
        }
    }
    Ok(space)
}

/// The sizes of the objects with a directory each in `path`; gives what all else there takes.
fn each<K: std::str::FromStr + Ord>(usage: &mut Usage, path: &Path, sizes: &mut BTreeMap<K, u64>) -> Result<u64> {
    let mut other = own(path)?;
    for (name, path) in entries(path)? {
        let size = tree(usage, &path)?;
        match name.parse() {
            Ok(key) => drop(sizes.insert(key, size)),
            Err(_) => other += size,
        }
    }
    Ok(other)
}

fn entries(path: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    let context = || format!("list {}", path.display());
    let entries = fs::read_dir(path).with_context(context)?;
    let named = entries.map(|entry| {
        let entry = entry.with_context(context)?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    named.collect()
}

fn tree(usage: &mut Usage, path: &Path) -> Result<u64> {
    usage.tree(path).with_context(|| format!("measure {}", path.display()))
}

/// A directory without what is in it.
fn own(path: &Path) -> Result<u64> {
    let stat = rustix::fs::lstat(path).with_context(|| format!("look at {}", path.display()))?;
    Ok(u64::try_from(stat.st_blocks).unwrap_or_default() * 512)
}
