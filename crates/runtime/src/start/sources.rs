//! What the host contributes to a container's mounts: detached copies of directories, with their attributes and ids set
//! before the container can reach them (R2).

use crate::{
    failure::{At, Outcome},
    plan::{BindIds, IdMap, MountAttributes, Rootfs},
    protocol::{Failure, Step},
};
use rorqual_linux::{
    mount::{self, Attributes, Overlay},
    process::{self, Forked, flags},
    root::Root,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

/// A detached copy of a directory's mount.
pub fn directory(path: &Path, recursive: bool) -> Outcome<OwnedFd> {
    mount::clone_tree(CWD, path, recursive).at_with(Step::Rootfs, || format!("clone the mount of {}", path.display()))
}

/// The same, showing the ids of a user namespace.
pub fn mapped_directory(path: &Path, recursive: bool, userns: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    let fd = directory(path, recursive)?;
    mount::idmap(fd.as_fd(), recursive, userns).at_with(Step::Rootfs, || format!("idmap {}", path.display()))?;
    Ok(fd)
}

/// The container's root made with the host's ids.
pub fn root(rootfs: &Rootfs) -> Outcome<OwnedFd> {
    match rootfs {
        Rootfs::Bind { path, .. } => directory(path, true),
        Rootfs::Overlay { lowers, rw_dir, .. } if lowers.is_empty() => directory(&rw_dir.join("upper"), false),
        Rootfs::Overlay { layers_dir, lowers, rw_dir, .. } => {
            let layers = open_directory(layers_dir)?;
            let rw = open_directory(rw_dir)?;
            overlay(layers.as_fd(), lowers, rw.as_fd(), false)
        }
    }
}

fn open_directory(path: &Path) -> Outcome<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at_with(Step::Rootfs, || format!("open {}", path.display()))
}

/// The overlay of `lowers` below `layers` under `rw`, detached.
pub fn overlay(layers: BorrowedFd<'_>, lowers: &[String], rw: BorrowedFd<'_>, in_userns: bool) -> Outcome<OwnedFd> {
    let open = |dir: BorrowedFd<'_>, path: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)
            .at_with(Step::Rootfs, || format!("open the layer {path}"))
    };
    let lowers: Vec<OwnedFd> =
        lowers.iter().map(|name| open(layers, &format!("{name}/fs"))).collect::<Outcome<Vec<_>>>()?;
    let (upper, work) = (open(rw, "upper")?, open(rw, "work")?);
    let overlay = Overlay { lowers: &lowers, upper: upper.as_fd(), work: work.as_fd(), user_attributes: in_userns }
        .mount()
        .at(Step::Rootfs, "mount the overlay")?;
    check_writable(&overlay, &work)?;
    Ok(overlay)
}

/// An overlay whose work directory cannot be made (a full disk) comes up read-only, and the kernel says why only in its
/// log: making a directory there ourselves tells.
fn check_writable(overlay: &OwnedFd, work: &OwnedFd) -> Outcome<()> {
    let flags = rustix::fs::fstatvfs(overlay).at(Step::Rootfs, "look at the overlay")?.f_flag;
    if !flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    rustix::fs::mkdirat(work, "probe", Mode::RWXU).at(Step::Rootfs, "write to the container's file system")?;
    let _ = rustix::fs::unlinkat(work, "probe", rustix::fs::AtFlags::REMOVEDIR);
    Err(Failure::new(Step::Rootfs, "the container's file system came up read-only"))
}

/// A path of the host as a detached mount with everything set.
pub fn bind(
    source: &Path,
    recursive: bool,
    ids: &BindIds,
    attributes: &MountAttributes,
    userns: Option<BorrowedFd<'_>>,
) -> Outcome<OwnedFd> {
    let what = || format!("bind source path {}", source.display());
    let fd = mount::clone_tree(CWD, source, recursive).at_with(Step::Mount, what)?;
    match (ids, userns) {
        (BindIds::Container, Some(userns)) => map_each(&fd, source, recursive, userns)?,
        (BindIds::Mapped { map, recursive: all }, _) => {
            let own = namespace_of(map)?;
            mount::idmap(fd.as_fd(), *all, own.as_fd())
                .at_with(Step::Mount, || format!("idmap {}", source.display()))?;
        }
        _ => {}
    }
    set(fd.as_fd(), attributes).at_with(Step::Mount, || format!("set the attributes of {}", source.display()))?;
    Ok(fd)
}

/// Sets attributes and propagation, those of the mounts below first.
pub fn set(fd: BorrowedFd<'_>, wanted: &MountAttributes) -> std::io::Result<()> {
    let recursive = Attributes {
        set: wanted.set_recursive,
        clear: wanted.clear_recursive,
        propagation: wanted.propagation_recursive,
        userns: 0,
    };
    if recursive.set | recursive.clear | recursive.propagation != 0 {
        mount::set_attributes(fd, true, recursive)?;
    }
    let single = Attributes { set: wanted.set, clear: wanted.clear, propagation: wanted.propagation, userns: 0 };
    if single.set | single.clear | single.propagation != 0 {
        mount::set_attributes(fd, false, single)?;
    }
    Ok(())
}

/// Idmaps a tree at once where every file system in it can be, else mount by mount; what cannot be (procfs, sysfs,
/// devtmpfs) stays as it is.
fn map_each(fd: &OwnedFd, source: &Path, recursive: bool, userns: BorrowedFd<'_>) -> Outcome<()> {
    let done = mount::idmap(fd.as_fd(), recursive, userns);
    if done.is_ok() || !recursive {
        return Ok(());
    }
    let _ = mount::idmap(fd.as_fd(), false, userns);
    let tree = Root::new(fd.try_clone().at(Step::Mount, "copy a descriptor")?);
    for below in mounts_below(source)? {
        if let Ok(mount) = tree.locate(&below) {
            let _ = mount::idmap(mount.as_fd(), false, userns);
        }
    }
    Ok(())
}

/// Mount points below `source`, relative to it.
fn mounts_below(source: &Path) -> Outcome<Vec<PathBuf>> {
    let source = std::fs::canonicalize(source).at_with(Step::Mount, || format!("resolve {}", source.display()))?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").at(Step::Mount, "read mountinfo")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter_map(|target| Some(PathBuf::from(unescape(target)).strip_prefix(&source).ok()?.to_owned()))
        .filter(|below| !below.as_os_str().is_empty())
        .collect())
}

/// mountinfo writes blanks and backslashes as `\` and three octal digits.
fn unescape(text: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal =
            bytes.get(at + 1..at + 4).filter(|digits| bytes[at] == b'\\' && digits.iter().all(u8::is_ascii_digit));
        match octal {
            Some(digits) => {
                out.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(out)
}

/// A user namespace with these maps and nobody in it.
fn namespace_of(map: &IdMap) -> Outcome<OwnedFd> {
    let (ours, theirs) = rorqual_linux::fdpass::stream_pair().at(Step::IdMap, "make a socket pair")?;
    let pid = match process::clone3(flags::NEWUSER, None).at(Step::IdMap, "clone a user namespace")? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(ours);
            let _ = rorqual_linux::fdpass::receive(theirs.as_fd(), &mut Vec::new(), 1, &mut Vec::new());
            process::exit_now(0);
        }
    };
    drop(theirs);
    let proc = format!("/proc/{}", pid.as_raw_nonzero());
    let made = super::maker::write_maps(&proc, map).and_then(|()| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(format!("{proc}/ns/user"), flags, Mode::empty()).at(Step::IdMap, "open the user namespace")
    });
    drop(ours);
    let _ = process::reap(Some(pid), true);
    made.map_err(|failure| Failure::new(Step::IdMap, failure.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_paths_are_unescaped() {
        assert_eq!(unescape(r"/a\040b\134c"), *r"/a b\c");
        assert_eq!(unescape(r"/plain\"), *r"/plain\");
    }
}
