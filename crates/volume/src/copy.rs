//! Filling a new volume with what the image has at its mount point.
//!
//! Both trees are walked by descriptors: the image's is entered as its own root, names are looked up one at a time, and no
//! link is followed on either side. Nothing of the image is parsed or run.

use crate::{
    limits::{COPY_CHUNK, MAX_DEPTH},
    tree::is_empty,
};
use rorqual_error::{Context, Error, Result};
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, chownat,
        copy_file_range, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat,
        openat, openat2, readlinkat, statat, symlinkat, utimensat,
    },
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_string,
        fsmount, fsopen, mount, unmount,
    },
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

/// Extended attributes of overlay file systems: they describe layers, not files.
const OVERLAY_ATTRIBUTES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

type Os<T> = rustix::io::Result<T>;

/// The image's directory at `path`, seen through all its layers; `None` where it has none there. `scratch` is a directory
/// that may be made and mounted on for a moment.
pub(crate) fn open_source(lowers: &[PathBuf], path: &Path, scratch: &Path) -> Result<Option<OwnedFd>> {
    let root = merged(lowers, scratch)?;
    let inside = path.strip_prefix("/").unwrap_or(path);
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = loop {
        // EAGAIN: a rename elsewhere raced with `..` in one of the image's links; the kernel asks to try again.
        match openat2(&root, inside, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => break result,
        }
    };
    match opened {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR) => Err(Error::internal(format!("source {} is not directory", path.display()))),
        Err(errno) => Err(errno).with_context(|| format!("open {} in the image", path.display())),
    }
}

/// A read-only view of the layers, attached nowhere.
fn merged(lowers: &[PathBuf], scratch: &Path) -> Result<OwnedFd> {
    let open = |path: &PathBuf| openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut layers = lowers.iter().map(open).collect::<Os<Vec<_>>>().context("open the image's layers")?;
    if layers.len() == 1 {
        return Ok(layers.swap_remove(0));
    }
    let mounted = match overlay(&layers) {
        // Layers one by one came with Linux 6.8.
        Err(Errno::INVAL) => overlay_by_text(&layers, scratch),
        other => other,
    };
    mounted.context("mount the image's layers")
}

fn overlay(layers: &[OwnedFd]) -> Os<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in layers {
        // One at a time: a list of all would meet the kernel's limit for one value.
        fsconfig_set_string(&context, "lowerdir+", by_descriptor(layer))?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// As [`overlay`], for kernels that take all layers as one text: of a page, so of some 250 layers.
fn overlay_by_text(layers: &[OwnedFd], scratch: &Path) -> Os<OwnedFd> {
    let names: Vec<String> = layers.iter().map(by_descriptor).collect();
    let data = CString::new(format!("lowerdir={}", names.join(":"))).map_err(|_| Errno::INVAL)?;
    mkdirat(CWD, scratch, Mode::RWXU)?;
    let mounted = mount("overlay", scratch, "overlay", MountFlags::RDONLY | MountFlags::NODEV, Some(data.as_c_str()));
    let opened = mounted.and_then(|()| {
        let opened = openat(CWD, scratch, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        // It lives on as long as the descriptor.
        unmount(scratch, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
        opened
    });
    let _ = rustix::fs::unlinkat(CWD, scratch, AtFlags::REMOVEDIR);
    opened
}

fn by_descriptor(layer: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", layer.as_raw_fd())
}

/// Copies everything below `source`, and its owner, mode and attributes, into `target`, which is empty.
pub(crate) fn copy_tree(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    if !is_empty(target).context("read the volume")? {
        return Ok(());
    }
    let copied = target.try_clone().context("keep the volume open")?;
    let mut copier = Copier { target: copied, linked: HashMap::new() };
    copier.directory(source, target, Path::new(""), 0)
}

struct Copier {
    target: OwnedFd,
    /// Where a file with several names was put first.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copier {
    fn directory(&mut self, source: &OwnedFd, target: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::invalid("directories of the image are nested too deeply to copy"));
        }
        let read = || format!("read {} of the image", path.display());
        for entry in Dir::read_from(source).with_context(read)? {
            let entry = entry.with_context(read)?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                let at = path.join(OsStr::from_bytes(name.to_bytes()));
                self.entry(source, target, name, &at, depth)
                    .with_context(|| format!("copy {} to the volume", at.display()))?;
            }
        }
        // Last, or the times would change again.
        let stat = fstat(source).with_context(read)?;
        finish(source, target, &stat).with_context(|| format!("copy the attributes of {}", path.display()))
    }

    fn entry(&mut self, source: &OwnedFd, target: &OwnedFd, name: &CStr, path: &Path, depth: usize) -> Result<()> {
        let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW).context("look")?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let several = kind != FileType::Directory && stat.st_nlink > 1;
        if several && self.link(&stat, target, name)? {
            return Ok(());
        }
        match kind {
            FileType::Directory => {
                let inner = openat(source, name, DIRECTORY, Mode::empty()).context("open")?;
                mkdirat(target, name, Mode::RWXU).context("make a directory")?;
                let made = openat(target, name, DIRECTORY, Mode::empty()).context("open what was made")?;
                return self.directory(&inner, &made, path, depth + 1);
            }
            FileType::RegularFile => file(source, target, name)?,
            FileType::Symlink => {
                let to = readlinkat(source, name, Vec::new()).context("read a link")?;
                symlinkat(to, target, name).context("make a link")?;
                finish_by_name(target, name, &stat).context("set owner and times")?;
            }
            // A layer's mark that a file is gone, in an image of one layer: there is no file.
            FileType::CharacterDevice if stat.st_rdev == 0 => return Ok(()),
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode);
                mknodat(target, name, kind, mode, stat.st_rdev).context("make a special file")?;
                finish_by_name(target, name, &stat).context("set owner and times")?;
                rustix::fs::chmodat(target, name, mode, AtFlags::empty()).context("set the mode")?;
            }
        }
        if several {
            self.linked.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        Ok(())
    }

    /// Gives a file that was copied under another name this one too; false where it was not copied yet.
    fn link(&self, stat: &Stat, target: &OwnedFd, name: &CStr) -> Result<bool> {
        let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) else { return Ok(false) };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = first.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = openat2(&self.target, parent, flags | OFlags::DIRECTORY, Mode::empty(), resolve);
        let parent = parent.context("find a file's first name")?;
        let leaf = first.file_name().unwrap_or_default();
        linkat(&parent, leaf, target, name, AtFlags::empty()).context("link to a file's first name")?;
        Ok(true)
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn file(source: &OwnedFd, target: &OwnedFd, name: &CStr) -> Result<()> {
    // Not blocking: what was a file a moment ago must not hold us up as a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = openat(source, name, flags, Mode::empty()).context("open")?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = openat(target, name, flags, Mode::RUSR | Mode::WUSR).context("make a file")?;
    contents(&from, &to).context("copy the contents")?;
    let stat = fstat(&from).context("look")?;
    finish(&from, &to, &stat).context("set owner, mode and times")
}

fn contents(from: &OwnedFd, to: &OwnedFd) -> std::io::Result<()> {
    loop {
        match copy_file_range(from, None, to, None, COPY_CHUNK) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Between these file systems it must go through us; what was copied so far is kept by both offsets.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                let (mut from, mut to) = (std::fs::File::from(from.try_clone()?), std::fs::File::from(to.try_clone()?));
                return std::io::copy(&mut from, &mut to).map(drop);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    let time =
        |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or_default() };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Owner, mode, extended attributes and times, in the order in which none undoes another.
fn finish(source: &OwnedFd, target: &OwnedFd, stat: &Stat) -> Os<()> {
    let (user, group) = owner(stat);
    fchown(target, user, group)?;
    attributes(source, target)?;
    fchmod(target, Mode::from_raw_mode(stat.st_mode))?;
    futimens(target, &times(stat))
}

fn finish_by_name(target: impl AsFd, name: &CStr, stat: &Stat) -> Os<()> {
    let (user, group) = owner(stat);
    chownat(&target, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
    utimensat(&target, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn attributes(source: &OwnedFd, target: &OwnedFd) -> Os<()> {
    let mut names = vec![0; 64 * 1024];
    let length = match flistxattr(source, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    let mut value = vec![0; 64 * 1024];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if OVERLAY_ATTRIBUTES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let length = match fgetxattr(source, &name, value.as_mut_slice()) {
            Err(Errno::NODATA) => continue,
            other => other?,
        };
        match fsetxattr(target, &name, &value[..length], rustix::fs::XattrFlags::empty()) {
            // The volume's file system may have no such attributes.
            Err(Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn both_ways_to_see_layers_as_one_agree() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (layer, text) in [("bottom", "old"), ("top", "new")] {
            fs::create_dir_all(path(layer)).unwrap();
            fs::write(path(layer).join("file"), text).unwrap();
            fs::write(path(layer).join(layer), "").unwrap();
        }
        let open = |name| crate::tree::open_dir(&path(name)).unwrap();
        let layers = [open("top"), open("bottom")];
        let scratch = path("scratch");
        for root in [overlay(&layers).unwrap(), overlay_by_text(&layers, &scratch).unwrap()] {
            let list: Vec<_> = fs::read_dir(by_descriptor(&root)).unwrap().collect();
            assert_eq!(list.len(), 3);
            assert_eq!(fs::read_to_string(format!("{}/file", by_descriptor(&root))).unwrap(), "new");
        }
        assert!(!scratch.exists());
    }
}
