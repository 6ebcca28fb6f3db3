//! What is on disk: a layer is `layers/CHAIN/fs`, unpacked, or `layers/CHAIN/{layer.tar,index.erofs}`, the archive with an
//! index that is mounted; `containers/ID/rw/{upper,work}` is a container's, and `trash/` holds what is going away.

mod base;
mod unpack;

pub use base::BASE_LAYER;
pub use unpack::{Below, Unpack};

use crate::{
    archive,
    helper::Helper,
    limits::FREE_RESERVE_BYTES,
    mounts::{self, ARCHIVE, INDEX, Mounts},
    trash::Trash,
};
use rorqual_error::{Context, Error, Result};
use rorqual_linux::usage::Usage;
use rorqual_types::{ChainId, ContainerId, DiffId};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use std::{
    collections::{HashMap, HashSet},
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, PoisonError, atomic::AtomicU64},
};

/// Names of layers that are being unpacked begin so.
const INGEST: &str = "ingest-";

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
    /// What layers that are directories take, by name.
    measured: Mutex<HashMap<String, u64>>,
    /// Whether new layers are kept as archives.
    archives: bool,
    /// Present where some layer is one or may become one.
    mounts: Option<Mounts>,
}

/// How layers are kept.
#[derive(Clone, Debug)]
pub struct LayerOptions {
    /// What new layers become.
    pub kind: LayerKind,
    /// Where archived layers are mounted: a directory of this boot, outside the data root.
    pub mounts: PathBuf,
}

/// What a layer is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// A directory of its files.
    Directory,
    /// Its exact archive and an index of it, where the kernel mounts such (Linux 6.12) and the layer has nothing unusual;
    /// else a directory.
    Archive,
}

/// What [`Snapshots::verify`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The archive has the digest.
    Intact,
    /// The archive has this digest.
    Altered(DiffId),
    /// The layer is a directory: what its files were unpacked from is not kept, and nothing can be said of them.
    Directory,
    /// There is no such layer.
    Missing,
}

/// What is known of an unpacked layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LayerInfo {
    /// Bytes it takes on disk.
    pub size: u64,
    /// Entries in its archive.
    pub entries: u64,
    /// The highest user or group id that owns something in it.
    pub max_owner_id: u32,
    /// The part of `size` that is the archive it was made from, where that is the same file.
    #[serde(default)]
    pub shared: u64,
    /// Whether it is kept as its archive.
    #[serde(default)]
    pub archived: bool,
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshots {
    /// Opens `layers/` and `containers/` below `data_root`, finishes interrupted removals, and mounts the archived layers
    /// that are not. `helper` is what unpacks.
    pub fn open_with(data_root: &Path, helper: Helper, options: &LayerOptions) -> Result<Self> {
        let mut snapshots = Self { helper, ..Self::open_as_is(data_root)? };
        snapshots.trash.resume()?;
        for name in snapshots.names()?.into_iter().filter(|name| name.starts_with(INGEST)) {
            snapshots.discard(&snapshots.layers.join(name))?;
        }
        for directory in [&snapshots.layers, &snapshots.containers] {
            base::spread(directory);
        }
        snapshots.make_base().context("make the base layer")?;
        snapshots.archives = options.kind == LayerKind::Archive && snapshots.mounts_archives()?;
        snapshots.mount_all(&options.mounts)?;
        Ok(snapshots)
    }

    /// What is there, for a check: nothing is finished, mounted or unpacked.
    pub fn open_as_is(data_root: &Path) -> Result<Self> {
        let (layers, containers) = (data_root.join("layers"), data_root.join("containers"));
        make_directory(&layers)?;
        make_directory(&containers)?;
        Ok(Self {
            layers,
            containers,
            helper: Helper::default(),
            next: AtomicU64::new(0),
            unpacking: Mutex::default(),
            unpacked: Condvar::new(),
            trash: Trash::open(data_root.join("trash"))?,
            measured: Mutex::default(),
            archives: false,
            mounts: None,
        })
    }

    /// Whether the kernel mounts archived layers that stand here.
    fn mounts_archives(&self) -> Result<bool> {
        let scratch = self.layers.join(format!("{INGEST}probe"));
        make_directory(&scratch)?;
        let tried = mounts::probe(&scratch);
        self.discard(&scratch)?;
        if let Err(error) = &tried {
            tracing::info!(%error, "layers are unpacked into directories");
        }
        Ok(tried.is_ok())
    }

    fn mount_all(&mut self, place: &Path) -> Result<()> {
        let mut archived = self.names()?;
        archived.retain(|name| self.is_archived(name));
        if !self.archives && archived.is_empty() {
            return Ok(());
        }
        make_directory(place)?;
        self.mounts = Some(Mounts::open(&self.layers, place)?);
        for name in archived {
            if let Err(error) = self.mount(&name) {
                tracing::error!(%error, "a layer cannot be used");
            }
        }
        Ok(())
    }

    fn is_archived(&self, name: &str) -> bool {
        self.layers.join(name).join(INDEX).exists()
    }

    /// Mounts a layer where it has to be.
    fn mount(&self, name: &str) -> Result<()> {
        match &self.mounts {
            Some(mounts) if self.is_archived(name) => mounts.mount(name),
            _ => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<String>> {
        let context = || format!("list {}", self.layers.display());
        let entries = fs::read_dir(&self.layers).with_context(context)?;
        entries.map(|entry| Ok(entry.with_context(context)?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// The directory whose children are the layers by the hexadecimal digits of their chain ID, each with `fs/`.
    pub fn layers_dir(&self) -> &Path {
        self.mounts.as_ref().map_or(&self.layers, Mounts::view)
    }

    /// What new layers become.
    pub fn layer_kind(&self) -> LayerKind {
        if self.archives { LayerKind::Archive } else { LayerKind::Directory }
    }

    /// The layers on disk.
    pub fn layers(&self) -> Result<Vec<ChainId>> {
        Ok(self.names()?.iter().filter_map(|name| ChainId::from_hex(name).ok()).collect())
    }

    /// Whether the archive of a layer and its index are here.
    pub fn has_archive(&self, chain: &ChainId) -> bool {
        self.is_archived(&chain.hex()) && self.layers.join(chain.hex()).join(ARCHIVE).exists()
    }

    /// Removes a layer; returns at once, the deletion goes on in the background. Absent is fine.
    pub fn remove_layer(&self, chain: &ChainId) -> Result<()> {
        match &self.mounts {
            Some(mounts) => mounts.unmount(&chain.hex())?,
            // A daemon that ended may have left it mounted.
            None if self.is_archived(&chain.hex()) => {
                mounts::unmount_index(&self.layers.join(chain.hex()).join(INDEX))?
            }
            None => {}
        }
        self.discard(&self.layers.join(chain.hex()))
    }

    /// The exact uncompressed archive of a layer; `None` for one that is a directory, or is not here.
    pub fn tar(&self, chain: &ChainId) -> Result<Option<File>> {
        let path = self.layers.join(chain.hex()).join(ARCHIVE);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("open {}", path.display())),
        }
    }

    /// Whether a layer still is what had the digest `diff_id`; reads it whole.
    pub fn verify(&self, chain: &ChainId, diff_id: &DiffId) -> Result<Verification> {
        Ok(match self.diff_id(chain)? {
            Some(found) if found == *diff_id => Verification::Intact,
            Some(found) => Verification::Altered(found),
            None if self.layers.join(chain.hex()).exists() => Verification::Directory,
            None => Verification::Missing,
        })
    }

    /// The digest that a layer's archive really has, read whole; `None` for one that is a directory, or is not here.
    pub fn diff_id(&self, chain: &ChainId) -> Result<Option<DiffId>> {
        let Some(file) = self.tar(chain)? else { return Ok(None) };
        archive::digest_of(file).map(Some).with_context(|| format!("read layer {chain}"))
    }

    /// Waits until everything here survives a power cut.
    pub fn sync(&self) -> Result<()> {
        let sync = || rustix::fs::syncfs(File::open(&self.layers)?).map_err(io::Error::from);
        sync().with_context(|| format!("sync the file system of {}", self.layers.display()))
    }

    /// Bytes that everything below the layers directory takes, counted with `usage`. Nothing in an unpacked layer changes:
    /// each is measured once.
    pub fn layers_usage(&self, usage: &mut Usage) -> Result<u64> {
        let context = || format!("measure {}", self.layers.display());
        let stat = rustix::fs::lstat(&self.layers).with_context(context)?;
        let mut total = u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
        let names = self.names()?;
        let mut measured = lock(&self.measured);
        measured.retain(|name, _| names.contains(name));
        for name in names {
            let path = self.layers.join(&name);
            let is_fixed = ChainId::from_hex(&name).is_ok() && !self.is_archived(&name);
            total += match measured.get(&name) {
                Some(known) => *known,
                // Its files have no names outside of it.
                None if is_fixed => {
                    let size = Usage::default().tree(&path).with_context(context)?;
                    measured.insert(name, size);
                    size
                }
                None => usage.tree(&path).with_context(context)?,
            };
        }
        Ok(total)
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
            let root = self.layers_dir().join(top).join("fs");
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
        Usage::default().tree(&upper).with_context(|| format!("measure {}", upper.display()))
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

#[cfg(test)]
pub(crate) mod tests;
