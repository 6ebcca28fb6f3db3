//! Whether a directory holds something.

use rustix::{
    fs::{CWD, Dir, Mode, OFlags, openat},
    io::Result,
};
use std::{os::fd::OwnedFd, path::Path};

/// Opens a directory, not through a link.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
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
