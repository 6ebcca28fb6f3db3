//! Owners, modes, times and extended attributes, set on descriptors; and what only the daemon may set.

use super::{Dir, times_of};
use crate::tar::Entry;
use rorqual_error::{Context, Result};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags},
    io::{self, Errno},
};
use std::os::fd::{AsFd, OwnedFd};

/// Numbers that the kernel has for kinds of devices.
const DEVICE_MAJORS: u32 = 1 << 12;
/// Numbers that the kernel has for devices of a kind.
const DEVICE_MINORS: u32 = 1 << 20;

/// What an unprivileged helper asks of the daemon, by parent descriptor, name, type and device.
pub(crate) trait Privileged {
    /// Makes a device node.
    fn device(&self, parent: &OwnedFd, name: &[u8], kind: FileType, mode: Mode, device: (u32, u32)) -> io::Result<()>;

    /// Sets an extended attribute of `name` in `parent` (of `parent` itself where the name is empty).
    fn xattr(&self, parent: &OwnedFd, name: &[u8], attribute: &str, value: &[u8]) -> io::Result<()>;
}

/// Does it itself: in the daemon for its helper, and in tests.
#[derive(Debug)]
pub(crate) struct Direct;

impl Privileged for Direct {
    fn device(&self, parent: &OwnedFd, name: &[u8], kind: FileType, mode: Mode, device: (u32, u32)) -> io::Result<()> {
        rustix::fs::mknodat(parent, name, kind, mode, rustix::fs::makedev(device.0, device.1))
    }

    fn xattr(&self, parent: &OwnedFd, name: &[u8], attribute: &str, value: &[u8]) -> io::Result<()> {
        if name.is_empty() {
            return rustix::fs::fsetxattr(parent, attribute, value, XattrFlags::empty());
        }
        // The kernel has no call by parent and name; the path of a descriptor that never followed a link is as good.
        let file = open_path(parent, name)?;
        rustix::fs::setxattr(crate::store::descriptor_path(&file), attribute, value, XattrFlags::empty())
    }
}

/// Whether a layer may hold this device: 0:0 is overlay's whiteout, and so is what the kernel cuts down to it.
pub(crate) fn is_allowed_device((major, minor): (u32, u32)) -> bool {
    (major, minor) != (0, 0) && major < DEVICE_MAJORS && minor < DEVICE_MINORS
}

/// Whether the daemon sets this attribute for a helper. Overlay's own attributes steer the kernel: of them only the
/// one that hides lower directories, and only as we write it.
pub(crate) fn is_allowed_xattr(attribute: &str, value: &[u8]) -> bool {
    match attribute {
        "trusted.overlay.opaque" => value == b"y",
        "security.capability" => value.len() <= 24,
        other => other.starts_with("trusted.") && !is_overlays(other),
    }
}

/// Attributes that overlay itself reads.
fn is_overlays(attribute: &str) -> bool {
    attribute.starts_with("trusted.overlay.") || attribute.starts_with("user.overlay.")
}

pub(super) fn open_path(parent: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// A point in time as the archive gives it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Times {
    fn stamps(self) -> Timestamps {
        let time = Timespec { tv_sec: self.seconds, tv_nsec: i64::from(self.nanoseconds) };
        Timestamps { last_access: time, last_modification: time }
    }

    /// Sets both times of an open file.
    pub(crate) fn set(self, file: impl AsFd) -> io::Result<()> {
        rustix::fs::futimens(file, &self.stamps())
    }
}

/// What an entry, or a file of a lower layer, has besides its content.
#[derive(Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) times: Times,
    pub(crate) xattrs: std::borrow::Cow<'a, [(String, Vec<u8>)]>,
}

impl<'a> Attributes<'a> {
    /// What the archive says of an entry.
    pub(crate) fn of(entry: &'a Entry) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            times: times_of(entry),
            xattrs: entry.xattrs.as_slice().into(),
        }
    }

    /// What a directory has that no entry describes.
    pub(crate) fn implied(times: Times) -> Attributes<'static> {
        Attributes { mode: 0o755, uid: 0, gid: 0, times, xattrs: Vec::new().into() }
    }

    /// Attributes of an open file or directory of a lower layer.
    pub(crate) fn read(file: &OwnedFd) -> io::Result<Attributes<'static>> {
        let stat = rustix::fs::fstat(file)?;
        let mut xattrs = Vec::new();
        for name in list_xattrs(file)? {
            let mut value = vec![0; 64 << 10];
            match rustix::fs::fgetxattr(file, name.as_str(), &mut value) {
                Ok(length) => {
                    value.truncate(length);
                    xattrs.push((name, value));
                }
                Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Attributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            times: Times { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            xattrs: xattrs.into(),
        })
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }

    /// Whether a new file's owner is right already.
    fn is_ours(&self, plain_parent: bool) -> bool {
        self.uid == 0 && self.gid == 0 && plain_parent
    }

    /// Sets everything on a file made with the mode's lower nine bits. `plain_parent`: its directory passes nothing on.
    pub(crate) fn apply_to_file(&self, file: &OwnedFd, plain_parent: bool, privileged: &dyn Privileged) -> Result<()> {
        self.apply_but_times(file, plain_parent, privileged)?;
        self.times.set(file).context("set times")
    }

    /// As [`Attributes::apply_to_file`], without the times: a directory's come last.
    pub(crate) fn apply_but_times(
        &self,
        file: &OwnedFd,
        plain_parent: bool,
        privileged: &dyn Privileged,
    ) -> Result<()> {
        if !self.is_ours(plain_parent) {
            let (uid, gid) = self.owner();
            rustix::fs::fchown(file, uid, gid).context("set owner")?;
        }
        if self.mode & 0o7000 != 0 || !plain_parent {
            rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode)).context("set mode")?;
        }
        for (name, value) in self.xattrs.iter() {
            set_xattr(name, || match rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
                Err(Errno::PERM) if is_allowed_xattr(name, value) => privileged.xattr(file, b"", name, value),
                result => result,
            })?;
        }
        Ok(())
    }

    /// Sets owner, times and attributes of a symbolic link.
    pub(super) fn apply_to_link(&self, parent: &Dir, name: &[u8], privileged: &dyn Privileged) -> Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if !self.is_ours(parent.is_plain()) {
            let (uid, gid) = self.owner();
            rustix::fs::chownat(&parent.fd, name, uid, gid, nofollow).context("set owner")?;
        }
        for (attribute, value) in self.xattrs.iter().filter(|(name, value)| is_allowed_xattr(name, value)) {
            set_xattr(attribute, || privileged.xattr(&parent.fd, name, attribute, value))?;
        }
        rustix::fs::utimensat(&parent.fd, name, &self.times.stamps(), nofollow).context("set times")
    }

    /// As [`Attributes::apply_to_link`], and the mode: for pipes and devices, which are never opened. The name was
    /// made by us a moment ago as no link, and nobody else is in the directory.
    pub(super) fn apply_to_node(&self, parent: &Dir, name: &[u8], privileged: &dyn Privileged) -> Result<()> {
        self.apply_to_link(parent, name, privileged)?;
        // Last, since a change of the owner takes set-id bits away; always, since the daemon that makes devices has a umask.
        let mode = Mode::from_raw_mode(self.mode);
        rustix::fs::chmodat(&parent.fd, name, mode, AtFlags::empty()).context("set mode")
    }
}

/// Attributes that no image brings: overlay's own, and what security modules of the host go by.
pub(crate) fn is_dropped(attribute: &str) -> bool {
    is_overlays(attribute) || attribute.starts_with("security.") && attribute != "security.capability"
}

/// Sets one attribute by `set`; those of the host are dropped, and what the file system does not know is left out.
fn set_xattr(name: &str, set: impl FnOnce() -> io::Result<()>) -> Result<()> {
    if is_dropped(name) {
        return Ok(());
    }
    match set() {
        Ok(()) => Ok(()),
        // As docker does: an attribute that cannot be kept here is not worth an image that cannot be used.
        Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("set attribute {}", crate::tar::shown(name.as_bytes()))),
    }
}

fn list_xattrs(file: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error),
    };
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    Ok(names
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}
