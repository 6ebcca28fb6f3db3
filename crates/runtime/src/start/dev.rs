//! The container's `/dev`: a tmpfs the maker fills before any process of the container can see it (R4).
//!
//! Made by the host's root and detached, its device nodes work inside a user namespace, where the container could not make
//! any itself; their owners are the container's ids.

use crate::{
    failure::{At, Outcome},
    plan::{Device, IdMap},
    protocol::{Failure, Step},
};
use rorqual_linux::{
    mount::{self, attr},
    root::{Make, Root},
};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Links every `/dev` has.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Directories that other file systems are mounted on.
const DIRECTORIES: [&str; 3] = ["pts", "shm", "mqueue"];

/// A detached `/dev` with `devices`.
pub fn make(
    options: &[(String, String)],
    attributes: u64,
    devices: &[Device],
    map: Option<&IdMap>,
) -> Outcome<OwnedFd> {
    // What is made here has the modes it is given, whatever the caller's umask.
    let umask = rustix::process::umask(Mode::empty());
    let made = fill(options, attributes, devices, map);
    rustix::process::umask(umask);
    made
}

fn fill(options: &[(String, String)], attributes: u64, devices: &[Device], map: Option<&IdMap>) -> Outcome<OwnedFd> {
    let owner = Owner { map };
    let mut options = options.to_vec();
    let (uid, gid) = owner.of(0, 0)?;
    if map.is_some() {
        options.push(("uid".into(), uid.as_raw().to_string()));
        options.push(("gid".into(), gid.as_raw().to_string()));
    }
    // Written to here, so read-only only at the end.
    let dev = mount::filesystem("tmpfs", "tmpfs", &options, attributes & !(attr::RDONLY | attr::NODEV))
        .at(Step::Device, "mount a tmpfs for /dev")?;
    let root = Root::new(dev);
    for name in DIRECTORIES {
        rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(0o755))
            .at_with(Step::Device, || format!("make /dev/{name}"))?;
        owner.give(root.as_fd(), name, 0, 0)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &root, name).at_with(Step::Device, || format!("make /dev/{name}"))?;
        owner.give(root.as_fd(), name, 0, 0)?;
    }
    for device in devices.iter().filter(|device| below_dev(&device.path).is_some()) {
        let path = below_dev(&device.path).unwrap_or_default();
        make_node(&root, path, device, &owner)?;
    }
    Ok(root.into_fd())
}

/// The part of a path behind `/dev/`.
pub fn below_dev(path: &str) -> Option<&str> {
    path.strip_prefix("/dev/").map(|rest| rest.trim_start_matches('/')).filter(|rest| !rest.is_empty())
}

/// Makes one node below `root`, with directories on the way.
pub fn make_node(root: &Root, path: &str, device: &Device, owner: &Owner<'_>) -> Outcome<()> {
    let what = || format!("make the device {}", device.path);
    let kind = match device.kind {
        b'b' => FileType::BlockDevice,
        b'p' => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let path = Path::new(path);
    let name = path.file_name().ok_or_else(|| Failure::new(Step::Device, what()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            root.make(parent, Make::Directory).at_with(Step::Device, what)?
        }
        _ => root.open("/", OFlags::PATH, Mode::empty()).at_with(Step::Device, what)?,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    let mode = Mode::from_raw_mode(device.mode & 0o7777);
    match rustix::fs::mknodat(&parent, name, kind, mode, number) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            // A link of ours (`ptmx`) or an earlier entry of the list: the later one wins, as with runc's order.
            rustix::fs::unlinkat(&parent, name, AtFlags::empty()).at_with(Step::Device, what)?;
            rustix::fs::mknodat(&parent, name, kind, mode, number).at_with(Step::Device, what)?;
        }
        Err(error) => return Err(error).at_with(Step::Device, what),
    }
    // mknod applies the umask.
    rustix::fs::chmodat(&parent, name, mode, AtFlags::empty()).at_with(Step::Device, what)?;
    owner.give(parent.as_fd(), &name.to_string_lossy(), device.uid, device.gid)
}

/// Gives files to ids of the container.
#[derive(Debug)]
pub struct Owner<'a> {
    /// The container's maps; `None` leaves ids as they are.
    pub map: Option<&'a IdMap>,
}

impl Owner<'_> {
    fn of(&self, uid: u32, gid: u32) -> Outcome<(Uid, Gid)> {
        let Some(map) = self.map else { return Ok((Uid::from_raw(uid), Gid::from_raw(gid))) };
        // An id outside the map (a device group of the host) falls back to the container's root.
        let uid = map.host_uid(uid).or_else(|| map.host_uid(0));
        let gid = map.host_gid(gid).or_else(|| map.host_gid(0));
        match (uid, gid) {
            (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
            _ => Err(Failure::new(Step::IdMap, "the user namespace has no id 0")),
        }
    }

    /// Changes the owner of `dir/name`, never following a link.
    pub fn give(&self, dir: BorrowedFd<'_>, name: &str, uid: u32, gid: u32) -> Outcome<()> {
        if self.map.is_none() && (uid, gid) == (0, 0) {
            return Ok(());
        }
        let (uid, gid) = self.of(uid, gid)?;
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .at_with(Step::Device, || format!("give /dev/{name} to the container"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_dev_is_made_there() {
        assert_eq!(below_dev("/dev/null"), Some("null"));
        assert_eq!(below_dev("/dev//net/tun"), Some("net/tun"));
        assert_eq!(below_dev("/dev/"), None);
        assert_eq!(below_dev("/devil"), None);
    }
}
