//! Whether two trees hold the same: names, kinds, sizes, times of files, where links lead. Contents are not read: a file
//! that keeps its time to the nanosecond and its size is taken for the same, as rsync takes it.

use crate::limits::TREE_DEPTH_MAX;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::{Errno, Result},
};
use std::{collections::BTreeSet, ffi::CString, os::fd::AsFd};

/// Directories are only entered, never through a link.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whether both directories, and all below, are the same.
pub(crate) fn same(one: &impl AsFd, other: &impl AsFd) -> Result<bool> {
    directories(one, other, 0)
}

/// The names in a directory.
pub(crate) fn names(directory: &impl AsFd) -> Result<BTreeSet<CString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Whether a directory holds nothing.
pub(crate) fn is_empty(directory: &impl AsFd) -> Result<bool> {
    Ok(names(directory)?.is_empty())
}

/// What of a file must be equal for its data not to be copied again.
pub(crate) fn same_file(one: &Stat, other: &Stat) -> bool {
    let key = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    key(one) == key(other)
}

fn directories(one: &impl AsFd, other: &impl AsFd, depth: usize) -> Result<bool> {
    if depth > TREE_DEPTH_MAX {
        return Err(Errno::LOOP);
    }
    let (here, there) = (fstat(one)?, fstat(other)?);
    let key = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    let all = names(one)?;
    if key(&here) != key(&there) || all != names(other)? {
        return Ok(false);
    }
    for name in all {
        let stat = |directory| statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW);
        let (here, there) = (stat(one.as_fd())?, stat(other.as_fd())?);
        let equal = here.st_mode == there.st_mode
            && match FileType::from_raw_mode(here.st_mode) {
                FileType::Directory => {
                    let open = |directory| openat(directory, &name, DIRECTORY, Mode::empty());
                    directories(&open(one.as_fd())?, &open(other.as_fd())?, depth + 1)?
                }
                FileType::RegularFile => same_file(&here, &there),
                FileType::Symlink => readlinkat(one, &name, Vec::new())? == readlinkat(other, &name, Vec::new())?,
                _ => here.st_rdev == there.st_rdev,
            };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}
