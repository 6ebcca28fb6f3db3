//! Directories of the data root: everything is opened for reading only, below a descriptor, and never through a link (R1).

use crate::limits::RECORDS_MAX;
use rorqual_error::{Context, Error, Kind, Result};
use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// What may lie between a directory of the data root and what is opened below it: no link, no way up.
const STRICT: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// Inside a layer or a volume links are content, and lead no further than its root.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A directory that is read and never written to.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

impl Root {
    /// The directory at `path`, which the user named and which may lie behind links.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|errno| failure(errno, path))?;
        Ok(Self { fd })
    }

    /// A directory below; `None` where there is none.
    pub(crate) fn directory(&self, path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        optional(beneath(&self.fd, path, OFlags::DIRECTORY, STRICT), path).map(|fd| fd.map(|fd| Self { fd }))
    }

    /// A regular file below; `None` where there is none.
    pub(crate) fn file(&self, path: impl AsRef<Path>) -> Result<Option<File>> {
        let path = path.as_ref();
        optional(regular(beneath(&self.fd, path, OFlags::NOFOLLOW, STRICT)), path)
    }

    /// A regular file of a layer, whose own links may lie on the way.
    pub(crate) fn content(&self, path: &Path) -> rustix::io::Result<File> {
        regular(beneath(&self.fd, path, OFlags::NOFOLLOW, INSIDE))
    }

    /// All of a small file; `None` where there is none.
    pub(crate) fn read(&self, path: impl AsRef<Path>, max: u64) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let Some(file) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
        if bytes.len() as u64 > max {
            return Err(Error::invalid(format!("{} has more than {max} bytes", path.display())));
        }
        Ok(Some(bytes))
    }

    /// The text of a small file, without the space around it. One that is missing is an error.
    pub(crate) fn text(&self, path: impl AsRef<Path>, max: u64) -> Result<String> {
        let path = path.as_ref();
        let bytes = self.read(path, max)?.ok_or_else(|| missing(path))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{} is not text", path.display())))?;
        Ok(text.trim().to_owned())
    }

    /// The names in a directory below, sorted; none where there is no directory.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        let path = path.as_ref();
        let Some(directory) = self.directory(path)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        let context = || format!("read {}", path.display());
        for entry in Dir::read_from(&directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
            if names.len() > RECORDS_MAX {
                return Err(Error::invalid(format!("{} has more than {RECORDS_MAX} entries", path.display())));
            }
        }
        names.sort();
        Ok(names)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens for reading, and does not touch the access time where we may leave it alone.
fn beneath(directory: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    // Not blocking: a pipe where a file was promised must not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | flags;
    let mut quiet = OFlags::NOATIME;
    loop {
        match openat2(&directory, path, flags | quiet, Mode::empty(), resolve) {
            // EAGAIN: a rename elsewhere raced with `..`; the kernel asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Only a file's owner may ask for it.
            Err(Errno::PERM) if !quiet.is_empty() => quiet = OFlags::empty(),
            result => return result,
        }
    }
}

fn regular(opened: rustix::io::Result<OwnedFd>) -> rustix::io::Result<File> {
    let fd = opened?;
    if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    Ok(File::from(fd))
}

fn optional<T>(opened: rustix::io::Result<T>, path: &Path) -> Result<Option<T>> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failure(errno, path)),
    }
}

fn failure(errno: Errno, path: &Path) -> Error {
    let kind = if errno == Errno::NOENT { Kind::NotFound } else { Kind::Internal };
    Error::new(kind, format!("open {}", path.display())).caused_by(std::io::Error::from(errno))
}

/// The error for a file that should be there.
pub(crate) fn missing(path: &Path) -> Error {
    Error::not_found(format!("{} is missing", path.display()))
}

/// Opens the directory at `path` of this machine, for what another program said of it: not through a link at its end.
pub(crate) fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
