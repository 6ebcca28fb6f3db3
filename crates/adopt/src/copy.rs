//! Copying a volume's tree: owners, modes, times, extended attributes, hard links, special files and holes are kept, links
//! are never followed. A copy that was interrupted goes on: what is complete already is left alone.

use crate::{
    compare::{DIRECTORY, names, same_file},
    limits::{CHUNK_BYTES, TREE_DEPTH_MAX, XATTR_BYTES_MAX},
};
use rorqual_error::{Context, Error, Result};
use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
        chmodat, chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, ftruncate,
        futimens, linkat, mkdirat, mknodat, openat, openat2, readlinkat, seek, statat, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

type Os<T> = rustix::io::Result<T>;

/// Makes `target` what `source` is, with everything below.
pub(crate) fn tree(source: &impl AsFd, target: &OwnedFd) -> Result<()> {
    let root = target.try_clone().context("keep the copy open")?;
    let mut copier = Copier { root, linked: HashMap::new(), chunk: Vec::new() };
    copier.directory(source, target, Path::new(""), 0)
}

struct Copier {
    /// The root of the copy.
    root: OwnedFd,
    /// Where a file with several names was put first.
    linked: HashMap<(u64, u64), PathBuf>,
    chunk: Vec<u8>,
}

impl Copier {
    fn directory(&mut self, source: &impl AsFd, target: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        if depth > TREE_DEPTH_MAX {
            return Err(Error::invalid("directories of the volume are nested too deeply"));
        }
        let shown = || path.display().to_string();
        for name in names(source).with_context(|| format!("read /{}", shown()))? {
            let at = path.join(OsStr::from_bytes(name.to_bytes()));
            self.entry(source, target, &name, &at, depth).with_context(|| format!("copy /{}", at.display()))?;
        }
        // Last, or the times would change again.
        let stat = fstat(source).with_context(|| format!("look at /{}", shown()))?;
        finish(source, target, &stat).with_context(|| format!("copy the attributes of /{}", shown()))
    }

    fn entry(&mut self, source: &impl AsFd, target: &OwnedFd, name: &CStr, path: &Path, depth: usize) -> Result<()> {
        let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW).context("look")?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let before = match statat(target, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno).context("look at the copy"),
        };
        if kind == FileType::Directory {
            if before.is_none() {
                mkdirat(target, name, Mode::RWXU).context("make a directory")?;
            }
            let inner = openat(source, name, DIRECTORY, Mode::empty()).context("open")?;
            let made = openat(target, name, DIRECTORY, Mode::empty()).context("open what was made")?;
            return self.directory(&inner, &made, path, depth + 1);
        }
        let several = stat.st_nlink > 1;
        let first = self.linked.get(&(stat.st_dev, stat.st_ino)).filter(|_| several).cloned();
        let complete = before.as_ref().is_some_and(|before| {
            // Its time was set when all else was there.
            kind == FileType::RegularFile && first.is_none() && same_file(&stat, before)
        });
        if !complete {
            if before.is_some() {
                unlinkat(target, name, AtFlags::empty()).context("remove what an earlier copy left")?;
            }
            match first {
                Some(first) => return self.link(&first, target, name),
                None => self.make(source, target, name, &stat)?,
            }
        }
        if several {
            self.linked.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        Ok(())
    }

    fn make(&mut self, source: &impl AsFd, target: &OwnedFd, name: &CStr, stat: &Stat) -> Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::RegularFile => self.file(source, target, name),
            FileType::Symlink => {
                let to = readlinkat(source, name, Vec::new()).context("read a link")?;
                symlinkat(to, target, name).context("make a link")?;
                finish_by_name(target, name, stat).context("set owner and times")
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode);
                mknodat(target, name, kind, mode, stat.st_rdev).context("make a special file")?;
                finish_by_name(target, name, stat).context("set owner and times")?;
                chmodat(target, name, mode, AtFlags::empty()).context("set the mode")
            }
        }
    }

    /// Gives a file that was copied under another name this one too.
    fn link(&self, first: &Path, target: &OwnedFd, name: &CStr) -> Result<()> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let parent = first.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = openat2(&self.root, parent, flags, Mode::empty(), resolve).context("find its first name")?;
        linkat(&parent, first.file_name().unwrap_or_default(), target, name, AtFlags::empty()).context("link")
    }

    fn file(&mut self, source: &impl AsFd, target: &OwnedFd, name: &CStr) -> Result<()> {
        // Not blocking: what was a file a moment ago must not hold us up as a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let from = openat(source, name, flags, Mode::empty()).context("open")?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(target, name, flags, Mode::RUSR | Mode::WUSR).context("make a file")?;
        let stat = fstat(&from).context("look")?;
        self.contents(&from, &to, &stat).context("copy the contents")?;
        finish(&from, &to, &stat).context("set owner, mode and times")
    }

    /// Copies what is no hole, and gives the file its length.
    fn contents(&mut self, from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> std::io::Result<()> {
        let length = u64::try_from(stat.st_size).unwrap_or_default();
        let mut at = 0;
        while at < length {
            let (start, end) = match seek(from, SeekFrom::Data(at)) {
                Ok(start) => (start, seek(from, SeekFrom::Hole(start))?),
                // Nothing but a hole follows.
                Err(Errno::NXIO) => break,
                // A file system that knows no holes.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => (at, length),
                Err(errno) => return Err(errno.into()),
            };
            self.range(from, to, start, end.min(length))?;
            at = end;
        }
        Ok(ftruncate(to, length)?)
    }

    fn range(&mut self, from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> std::io::Result<()> {
        seek(from, SeekFrom::Start(start))?;
        seek(to, SeekFrom::Start(start))?;
        let mut left = end.saturating_sub(start);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
            match copy_file_range(from, None, to, None, want) {
                // Shorter than it was: it changes under us, and its length is set afterwards.
                Ok(0) => return Ok(()),
                Ok(moved) => left -= (moved as u64).min(left),
                Err(Errno::INTR) => {}
                // Between these file systems it must go through us.
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return self.through(from, to, left);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn through(&mut self, from: &OwnedFd, to: &OwnedFd, length: u64) -> std::io::Result<()> {
        let (from, mut to) = (File::from(from.try_clone()?), File::from(to.try_clone()?));
        let mut from = from.take(length);
        self.chunk.resize(CHUNK_BYTES, 0);
        loop {
            match from.read(&mut self.chunk)? {
                0 => return Ok(()),
                got => to.write_all(&self.chunk[..got])?,
            }
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

/// Owner, extended attributes, mode and times, in the order in which none undoes another.
fn finish(source: &impl AsFd, target: &OwnedFd, stat: &Stat) -> Result<()> {
    let (user, group) = owner(stat);
    fchown(target, user, group).context("set the owner")?;
    attributes(source, target)?;
    fchmod(target, Mode::from_raw_mode(stat.st_mode)).context("set the mode")?;
    futimens(target, &times(stat)).context("set the times")
}

fn finish_by_name(target: &OwnedFd, name: &CStr, stat: &Stat) -> Os<()> {
    let (user, group) = owner(stat);
    chownat(target, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
    utimensat(target, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

/// Extended attributes; one that the target's file system does not have is an error, for it would be lost.
fn attributes(source: &impl AsFd, target: &OwnedFd) -> Result<()> {
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = match flistxattr(source, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other.context("list attributes")?,
    };
    let mut value = vec![0; XATTR_BYTES_MAX];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let shown = || format!("attribute {}", String::from_utf8_lossy(name));
        let name = CString::new(name).with_context(shown)?;
        let length = match fgetxattr(source, &name, value.as_mut_slice()) {
            Err(Errno::NODATA) => continue,
            other => other.with_context(shown)?,
        };
        fsetxattr(target, &name, &value[..length], XattrFlags::empty()).with_context(shown)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
