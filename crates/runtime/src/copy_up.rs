//! Copies a small tree between two directories of the container, for a tmpfs that starts with the image's content.

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timestamps},
    io::Errno,
};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Directories deeper than this are refused: recursion is bounded.
const DEPTH_MAX: usize = 128;

/// Copies what is in `from` into `to`, with modes, owners and times. Links are copied as links; sockets are left out.
pub fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    copy_directory(from, to, DEPTH_MAX)
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut entries = Dir::new(rustix::fs::openat(from, c".", flags, Mode::empty())?)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, depth)?;
        }
    }
    let stat = rustix::fs::fstat(from)?;
    let to = rustix::fs::openat(to, c".", flags, Mode::empty())?;
    set_metadata(&to, &stat)
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let nofollow = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let flags = nofollow | OFlags::RDONLY | OFlags::DIRECTORY;
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let target = rustix::fs::openat(to, name, flags, Mode::empty())?;
            copy_directory(source.as_fd(), target.as_fd(), depth)
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(from, name, nofollow | OFlags::RDONLY, Mode::empty())?;
            let flags = nofollow | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            let (mut source, mut target) = (std::fs::File::from(source), std::fs::File::from(target));
            io::copy(&mut source, &mut target)?;
            set_metadata(&target.into(), &stat)
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&link, to, name)?;
            own(to, name, &stat)
        }
        FileType::Socket | FileType::Unknown => Ok(()),
        kind => {
            rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
            own(to, name, &stat)
        }
    }
}

fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    Ok(rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Owner first: a change of owner clears set-id bits.
fn set_metadata(fd: &OwnedFd, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(fd, Some(uid), Some(gid))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |sec, nsec| rustix::fs::Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(fd, &times)?)
}
