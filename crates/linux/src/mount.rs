//! The mount API beyond what rustix has: attributes, id maps, and file systems made in one call.

use rustix::{
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags},
};
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// `MOUNT_ATTR_*` bits.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-id bits have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes have no effect.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The field of access times.
    pub const ATIME: u64 = 0x70;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// Every access time.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Ids are mapped.
    pub const IDMAP: u64 = 0x10_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// `MS_*` bits of propagation.
pub mod propagation {
    /// The mounts below too.
    pub const REC: u64 = libc::MS_REC;
    /// Neither gives nor takes.
    pub const PRIVATE: u64 = libc::MS_PRIVATE;
    /// Takes.
    pub const SLAVE: u64 = libc::MS_SLAVE;
    /// Gives and takes.
    pub const SHARED: u64 = libc::MS_SHARED;
    /// Cannot be cloned.
    pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;
}

/// `struct mount_attr`: what [`set_attributes`] changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// Bits of [`attr`] to set.
    pub set: u64,
    /// Bits of [`attr`] to clear.
    pub clear: u64,
    /// One of [`propagation`], or 0.
    pub propagation: u64,
    /// With [`attr::IDMAP`]: the number of the user namespace's descriptor.
    pub userns: u64,
}

/// Changes the mount `fd` is the root of, and with `recursive` every mount below.
pub fn set_attributes(fd: BorrowedFd<'_>, recursive: bool, attributes: Attributes) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, and `attributes` is a whole mount_attr of the size given; both live across
    // the call and are only read.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Shows the files of a detached mount with the ids of a user namespace.
pub fn idmap(fd: BorrowedFd<'_>, recursive: bool, userns: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = Attributes { set: attr::IDMAP, userns: userns.as_raw_fd() as u64, ..Attributes::default() };
    set_attributes(fd, recursive, attributes)
}

/// A detached copy of the mount at `path` under `dir`, with the mounts below it when `recursive`. An empty `path` is `dir`
/// itself.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    Ok(rustix::mount::open_tree(dir, path, flags)?)
}

/// Puts a detached mount onto the file or directory `target`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", target, c"", flags)?)
}

/// A new detached mount of a file system. An option without a value has an empty one. The source is not followed as a path
/// here; file systems on block devices open it themselves.
pub fn filesystem(kind: &str, source: &str, options: &[(String, String)], attributes: u64) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !source.is_empty() {
        rustix::mount::fsconfig_set_string(&context, "source", source)?;
    }
    for (key, value) in options {
        match value.as_str() {
            "" => rustix::mount::fsconfig_set_flag(&context, key.as_str())?,
            value => rustix::mount::fsconfig_set_string(&context, key.as_str(), value)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Layers, a writable directory and its scratch directory, made one overlay.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// Directories, topmost first.
    pub lowers: &'a [OwnedFd],
    /// Where changes go.
    pub upper: BorrowedFd<'a>,
    /// Scratch on the same mount as `upper`.
    pub work: BorrowedFd<'a>,
    /// Whether attributes are `user.overlay.` (in a user namespace) instead of `trusted.overlay.`.
    pub user_attributes: bool,
}

impl Overlay<'_> {
    /// The overlay as a detached mount.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", "overlay")?;
        for lower in self.lowers {
            set_directory(&context, "lowerdir+", lower)?;
        }
        set_directory(&context, "upperdir", self.upper)?;
        set_directory(&context, "workdir", self.work)?;
        // Layers come from strangers: no redirects and no data elsewhere than where the names say.
        if self.user_attributes {
            rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
        } else {
            rustix::mount::fsconfig_set_string(&context, "redirect_dir", "nofollow")?;
            rustix::mount::fsconfig_set_string(&context, "metacopy", "off")?;
        }
        rustix::mount::fsconfig_set_string(&context, "index", "off")?;
        rustix::mount::fsconfig_create(&context)?;
        Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
    }
}

/// Gives an overlay a directory: by descriptor since 6.13, through the working directory before.
fn set_directory(context: &OwnedFd, key: &str, directory: impl std::os::fd::AsFd) -> io::Result<()> {
    match rustix::mount::fsconfig_set_fd(context, key, directory.as_fd()) {
        Err(Errno::INVAL) => {
            rustix::process::fchdir(&directory)?;
            Ok(rustix::mount::fsconfig_set_string(context, key, ".")?)
        }
        result => Ok(result?),
    }
}
