//! The directories on disk: `layers/CHAIN/fs`, `containers/ID/rw/{upper,work}`, and `trash/` for what is going away.

use crate::{
    helper::{self, Helper},
    limits::FREE_RESERVE_BYTES,
    trash::Trash,
};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::failpoint;
use rorqual_types::{ChainId, ContainerId, DiffId};
use rustix::{
    fs::{AtFlags, FileType, Gid, IFlags, Mode, OFlags, Uid},
    io::Errno,
};
use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How deep a container's directories are measured; deeper ones are beyond any path.
const DEPTH_MAX: usize = 200;
/// Names of layers that are being unpacked begin so.
const INGEST: &str = "ingest-";
/// The layer below those of every image: what a container must have for mounts, where its image does not.
pub const BASE_LAYER: &str = "base";

/// Layers and writable directories of one data root.
#[derive(Debug)]
pub struct Snapshots {
    layers: PathBuf,
    containers: PathBuf,
    helper: Helper,
    next: AtomicU64,
    /// Layers that are being unpacked now.
    unpacking: Mutex<HashSet<ChainId>>,
    unpacked: Condvar,
    trash: Trash,
}

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

/// A layer to unpack.
#[derive(Debug)]
pub struct Unpack<'a> {
    /// The layer's archive, in any compression.
    pub archive: File,
    /// The digest that its uncompressed bytes must have.
    pub diff_id: DiffId,
    /// Whether the archive's own bytes are known to have that digest: it is not compressed, and was hashed on arrival.
    pub verified: bool,
    /// The chain IDs from the lowest layer to this one.
    pub chain: &'a [ChainId],
}

/// A container's writable directories.
#[derive(Clone, Debug)]
pub struct Writable {
    /// `containers/ID/rw`, holding `upper/` and `work/`.
    pub path: PathBuf,
}

/// The kernel's own path of an open descriptor.
pub(crate) fn descriptor_path(descriptor: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// The `fs` directory of the layer directory `name`, opened without following links.
pub(crate) fn open_layer(layers: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let layer = rustix::fs::openat(layers, name, flags, Mode::empty())?;
    Ok(rustix::fs::openat(&layer, "fs", flags, Mode::empty())?)
}

/// Refuses when the file system of `path` is down to its reserve.
pub fn check_free_space(path: &Path) -> Result<()> {
    let stat = rustix::fs::statvfs(path).with_context(|| format!("ask for the free space of {}", path.display()))?;
    let reserve = FREE_RESERVE_BYTES.min(stat.f_blocks.saturating_mul(stat.f_frsize) / 100);
    if stat.f_bavail.saturating_mul(stat.f_frsize) < reserve {
        return Err(Error::unavailable(format!("write {}: no space left on device", path.display())));
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    // Only root looks in: mounts are made by descriptor, so no mapped id ever walks here.
    builder.recursive(true).mode(0o700);
    builder.create(path).with_context(|| format!("create {}", path.display()))
}

/// Tells the file system that what is made in `path` has little to do with each other. ext4 then spreads the directories
/// over the disk; otherwise all would stand in one group, and each new file is looked for past all inodes that were freed
/// there in the last minute. Other file systems do not know the flag.
fn spread(path: &Path) {
    let set = || -> rustix::io::Result<()> {
        let directory = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = rustix::fs::ioctl_getflags(&directory)?;
        rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR)
    };
    if let Err(error) = set() {
        tracing::debug!(path = %path.display(), %error, "the file system takes no hint to spread directories");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshots {
    /// Opens `layers/` and `containers/` below `data_root` and finishes interrupted removals.
    pub fn open(data_root: &Path) -> Result<Self> {
        Self::open_with(data_root, Helper::default())
    }

    /// As [`Snapshots::open`], with another unpack helper than the running program.
    pub fn open_with(data_root: &Path, helper: Helper) -> Result<Self> {
        let (layers, containers) = (data_root.join("layers"), data_root.join("containers"));
        make_directory(&layers)?;
        make_directory(&containers)?;
        let trash = Trash::open(data_root.join("trash"))?;
        let snapshots = Self {
            layers,
            containers,
            helper,
            next: AtomicU64::new(0),
            unpacking: Mutex::default(),
            unpacked: Condvar::new(),
            trash,
        };
        for name in snapshots.names()?.into_iter().filter(|name| name.starts_with(INGEST)) {
            snapshots.discard(&snapshots.layers.join(name))?;
        }
        for directory in [&snapshots.layers, &snapshots.containers] {
            spread(directory);
        }
        snapshots.make_base().context("make the base layer")?;
        Ok(snapshots)
    }

    /// Makes the layer [`BASE_LAYER`] where it is missing. With it, starting a container makes no file in the
    /// container's own directory.
    fn make_base(&self) -> Result<()> {
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

    fn names(&self) -> Result<Vec<String>> {
        let context = || format!("list {}", self.layers.display());
        let entries = fs::read_dir(&self.layers).with_context(context)?;
        entries.map(|entry| Ok(entry.with_context(context)?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// The directory whose children are the layers by the hexadecimal digits of their chain ID, each with `fs/`.
    pub fn layers_dir(&self) -> &Path {
        &self.layers
    }

    /// The layers on disk.
    pub fn layers(&self) -> Result<Vec<ChainId>> {
        Ok(self.names()?.iter().filter_map(|name| ChainId::from_hex(name).ok()).collect())
    }

    /// Unpacks a layer above the layers below it, which must be there. Already there, or being unpacked by another
    /// caller: nothing is done, and `None` returned. Survives a power cut after [`Snapshots::sync`].
    ///
    /// # Errors
    /// `InvalidArgument` for a hostile archive or a wrong digest; nothing is left then.
    pub fn unpack(&self, unpack: Unpack<'_>, progress: &mut dyn FnMut(u64)) -> Result<Option<LayerInfo>> {
        let Some((chain, below)) = unpack.chain.split_last() else {
            return Err(Error::internal("a layer without a chain ID"));
        };
        let place = self.layers.join(chain.hex());
        let mut unpacking = lock(&self.unpacking);
        while unpacking.contains(chain) {
            unpacking = self.unpacked.wait(unpacking).unwrap_or_else(PoisonError::into_inner);
        }
        if place.exists() {
            return Ok(None);
        }
        unpacking.insert(*chain);
        drop(unpacking);
        let lowers = below.iter().rev().map(ChainId::hex).collect();
        let result = self.unpack_to(&place, unpack, lowers, progress);
        lock(&self.unpacking).remove(chain);
        self.unpacked.notify_all();
        result.map(Some)
    }

    fn unpack_to(
        &self,
        place: &Path,
        unpack: Unpack<'_>,
        lowers: Vec<String>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<LayerInfo> {
        check_free_space(&self.layers)?;
        let name = format!("{INGEST}{}", self.next.fetch_add(1, Ordering::Relaxed));
        let directory = self.layers.join(&name);
        make_directory(&directory)?;
        let fill = || {
            let root = directory.join("fs");
            DirBuilder::new().mode(0o755).create(&root).with_context(|| format!("create {}", root.display()))?;
            let root = File::open(&root).with_context(|| format!("open {}", root.display()))?;
            rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).context("set the mode of a layer's root")?;
            let task = helper::Task {
                archive: unpack.archive,
                layers: &self.layers,
                layer: &name,
                lowers: &lowers,
                digest: !unpack.verified,
            };
            let (info, digest) = helper::run(&self.helper, task, progress)?;
            if let Some(digest) = digest.filter(|digest| *digest != unpack.diff_id) {
                return Err(Error::invalid(format!(
                    "layer has the uncompressed digest {digest}, its image says {}",
                    unpack.diff_id
                )));
            }
            failpoint!("snapshot.unpacked")?;
            fs::rename(&directory, place).with_context(|| format!("put layer {} in its place", place.display()))?;
            failpoint!("snapshot.renamed")?;
            Ok(info)
        };
        let result = fill();
        if result.is_err() {
            self.discard(&directory)?;
        }
        result
    }

    /// Removes a layer; returns at once, the deletion goes on in the background. Absent is fine.
    pub fn remove_layer(&self, chain: &ChainId) -> Result<()> {
        self.discard(&self.layers.join(chain.hex()))
    }

    /// Waits until everything here survives a power cut.
    pub fn sync(&self) -> Result<()> {
        let sync = || rustix::fs::syncfs(File::open(&self.layers)?).map_err(io::Error::from);
        sync().with_context(|| format!("sync the file system of {}", self.layers.display()))
    }

    fn writable(&self, id: &ContainerId) -> PathBuf {
        self.containers.join(id.as_str()).join("rw")
    }

    /// Makes the writable directories of a container: `containers/ID/rw/{upper,work}`. Exists already: kept.
    pub fn prepare(&self, id: &ContainerId) -> Result<Writable> {
        self.prepare_on(id, None)
    }

    /// As [`Snapshots::prepare`], the root directory with owner and mode of that of the layer directory `top`: the
    /// upper directory's are what a container sees.
    pub fn prepare_on(&self, id: &ContainerId, top: Option<&str>) -> Result<Writable> {
        let path = self.writable(id);
        make_directory(&path.join("work"))?;
        let upper = path.join("upper");
        match DirBuilder::new().mode(0o755).create(&upper) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Writable { path }),
            Err(error) => return Err(error).with_context(|| format!("create {}", upper.display())),
        }
        let (mut mode, mut owner) = (0o755, (0, 0));
        if let Some(top) = top {
            let root = self.layers.join(top).join("fs");
            let stat = rustix::fs::lstat(&root).with_context(|| format!("look at {}", root.display()))?;
            (mode, owner) = (stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid));
        }
        let open = || -> io::Result<()> {
            let upper = File::open(&upper)?;
            if owner != (0, 0) {
                rustix::fs::fchown(&upper, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
            }
            Ok(rustix::fs::fchmod(&upper, Mode::from_raw_mode(mode))?)
        };
        open().with_context(|| format!("set owner and mode of {}", upper.display()))?;
        Ok(Writable { path })
    }

    /// Removes them; returns at once, the deletion goes on in the background. Absent is fine.
    pub fn remove(&self, id: &ContainerId) -> Result<()> {
        self.discard(&self.writable(id))
    }

    /// Bytes the container has written (`SizeRw`): what its upper directory takes on disk.
    pub fn usage(&self, id: &ContainerId) -> Result<u64> {
        let upper = self.writable(id).join("upper");
        let walk = || match File::open(&upper) {
            Ok(root) => disk_usage(&root.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        };
        walk().with_context(|| format!("measure {}", upper.display()))
    }

    /// Renames any directory of the data root's file system away and deletes it in the background. Absent is fine.
    /// Interrupted by a crash, the deletion goes on at the next open.
    pub fn discard(&self, path: &Path) -> Result<()> {
        self.trash.discard(path)
    }

    /// Waits until everything discarded so far is deleted; for tests and measurements.
    pub fn wait_for_deletions(&self) {
        self.trash.wait();
    }
}

/// What `du` says of a tree: blocks of each file once, links not followed. What vanishes meanwhile does not count.
fn disk_usage(root: &OwnedFd) -> io::Result<u64> {
    let mut seen = HashSet::new();
    let mut total = rustix::fs::fstat(root)?.st_blocks as u64;
    let mut open = vec![rustix::fs::Dir::read_from(root)?];
    while !open.is_empty() {
        let depth = open.len();
        let Some(directory) = open.last_mut() else { break };
        let Some(entry) = directory.read() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let at = directory.fd()?;
        let stat = match rustix::fs::statat(at, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if stat.st_nlink > 1
            && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
            && !seen.insert(stat.st_ino)
        {
            continue;
        }
        total += stat.st_blocks as u64;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < DEPTH_MAX {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(at, entry.file_name(), flags, Mode::empty()) {
                Ok(below) => open.push(rustix::fs::Dir::new(below)?),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(total * 512)
}

#[cfg(test)]
pub(crate) mod tests;
