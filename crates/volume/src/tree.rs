//! How much a directory holds.

use crate::limits::MAX_DEPTH;
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat},
    io::Result,
};
use std::{collections::HashSet, os::fd::OwnedFd, path::Path};

/// Opens a directory, not through a link.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The sum of the sizes of the files below `path`, each inode once. What vanishes meanwhile is not counted.
pub(crate) fn size(path: &Path) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut total = 0;
    add(open_dir(path)?, &mut seen, &mut total, 0)?;
    Ok(total)
}

fn add(directory: OwnedFd, seen: &mut HashSet<(u64, u64)>, total: &mut u64, depth: usize) -> Result<()> {
    let entries = Dir::read_from(&directory)?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&directory, name, flags, Mode::empty()) {
                Ok(inner) if depth < MAX_DEPTH => add(inner, seen, total, depth + 1)?,
                _ => {}
            }
        } else if stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
            *total += u64::try_from(stat.st_size).unwrap_or_default();
        }
    }
    Ok(())
}

/// Whether a directory holds nothing.
pub(crate) fn is_empty(directory: &OwnedFd) -> Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
