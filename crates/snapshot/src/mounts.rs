//! Archived layers, mounted.
//!
//! All layers are seen in one more place than their own: a bind of the layers directory that passes no mounts on and takes
//! none. The index of each archived layer is mounted there, once, over its empty `fs`; in the layers directory itself
//! nothing is mounted, so that it can be measured, moved and removed like any other. The place belongs to this boot;
//! what is mounted stays when the daemon ends.

use crate::erofs;
use rorqual_error::{Context, Result};
use rorqual_linux::mount::{self, Attributes, attr, propagation};
use rustix::{
    fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags},
    io::Errno,
    mount::UnmountFlags,
};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

/// A layer's uncompressed archive, byte for byte.
pub(crate) const ARCHIVE: &str = "layer.tar";
/// What the kernel mounts.
pub(crate) const INDEX: &str = "index.erofs";

/// See the module.
#[derive(Debug)]
pub(crate) struct Mounts {
    layers: PathBuf,
    view: PathBuf,
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Whether something is mounted on the directory.
fn is_mounted(directory: &OwnedFd) -> io::Result<bool> {
    let stat = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Unmounts what is on `path`, for others not; nothing there is fine.
fn unmount(path: &Path) -> io::Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Unmounts the index at `path` wherever it is mounted.
pub(crate) fn unmount_index(path: &Path) -> Result<()> {
    let path = path.canonicalize().with_context(|| format!("resolve {}", path.display()))?;
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the table of mounts")?;
    for line in table.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let mut words = file_system.split(' ');
        if words.next() == Some("erofs") && words.next().map(Path::new) == Some(&path) {
            let place = mount.split(' ').nth(4).unwrap_or_default();
            unmount(Path::new(place)).with_context(|| format!("unmount {place}"))?;
        }
    }
    Ok(())
}

/// An index with its archive as a detached mount. Nothing there is a program or a device of the host's.
fn mounted(index: &Path, archive: &Path) -> io::Result<OwnedFd> {
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or(io::ErrorKind::InvalidInput);
    let options = [("device".to_owned(), text(archive)?)];
    mount::filesystem("erofs", &text(index)?, &options, attr::RDONLY | attr::NODEV | attr::NOSUID)
}

/// Tries in the empty directory `scratch` whether the kernel mounts an index from a file, an overlay over it as for a
/// container, and another over that as a container may.
pub(crate) fn probe(scratch: &Path) -> Result<()> {
    let (index, archive) = (scratch.join(INDEX), scratch.join(ARCHIVE));
    let make = || erofs::empty(&File::create(&index)?).and_then(|()| File::create(&archive).map(drop));
    make().context("write an empty index")?;
    let layer = mounted(&index, &archive).context("mount an index")?;
    let container = overlay(&layer, scratch, ["upper", "work"]).context("mount an overlay over an index")?;
    overlay(&container, scratch, ["upper-within", "work-within"]).context("mount an overlay over such an overlay")?;
    Ok(())
}

fn overlay(lower: &OwnedFd, scratch: &Path, [upper, work]: [&str; 2]) -> io::Result<OwnedFd> {
    let directory = |name: &str| {
        let path = scratch.join(name);
        fs::create_dir(&path).and_then(|()| open_path(&path))
    };
    let (upper, work) = (directory(upper)?, directory(work)?);
    let option = |key: &str, fd: &OwnedFd| (key.to_owned(), format!("/proc/self/fd/{}", fd.as_raw_fd()));
    // Its end would wait for the whole disk, but for this.
    let volatile = ("volatile".to_owned(), String::new());
    let options = [option("lowerdir", lower), option("upperdir", &upper), option("workdir", &work), volatile];
    mount::filesystem("overlay", "overlay", &options, 0)
}

impl Mounts {
    /// Shows `layers` at `view`, which is made if absent.
    pub(crate) fn open(layers: &Path, view: &Path) -> Result<Self> {
        let show = || -> io::Result<()> {
            let source = open_path(layers)?;
            let place = open_path(view)?;
            let mut shown = is_mounted(&place)?.then_some(place);
            if shown.as_ref().is_some_and(|shown| !is_same(shown, &source).unwrap_or(false)) {
                unmount(view)?;
                shown = None;
            }
            let shown = match shown {
                Some(shown) => shown,
                None => {
                    let tree = mount::clone_tree(source.as_fd(), "".as_ref(), false)?;
                    mount::attach(tree.as_fd(), open_path(view)?.as_fd())?;
                    tree
                }
            };
            // After it is attached: under a shared mount it became one.
            let private = Attributes { propagation: propagation::PRIVATE, ..Attributes::default() };
            mount::set_attributes(shown.as_fd(), false, private)
        };
        show().with_context(|| format!("show the layers at {}", view.display()))?;
        Ok(Self { layers: layers.to_owned(), view: view.to_owned() })
    }

    /// Where all layers are seen.
    pub(crate) fn view(&self) -> &Path {
        &self.view
    }

    fn place(&self, name: &str) -> PathBuf {
        self.view.join(name).join("fs")
    }

    /// Mounts the archived layer `name`, if it is not.
    pub(crate) fn mount(&self, name: &str) -> Result<()> {
        let layer = self.layers.join(name);
        let mount = || {
            let place = open_path(&self.place(name))?;
            if is_mounted(&place)? {
                return Ok(());
            }
            let mount = mounted(&layer.join(INDEX), &layer.join(ARCHIVE))?;
            mount::attach(mount.as_fd(), place.as_fd())
        };
        mount().with_context(|| format!("mount layer {name}"))
    }

    /// Unmounts it here; who has it mounted elsewhere keeps that.
    pub(crate) fn unmount(&self, name: &str) -> Result<()> {
        unmount(&self.place(name)).with_context(|| format!("unmount layer {name}"))
    }
}
