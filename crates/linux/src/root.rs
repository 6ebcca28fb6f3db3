//! Paths inside a directory that its own content cannot lead out of (R1).

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

/// Symbolic links followed while a missing path is made, as the kernel's own limit.
const SYMLINKS_MAX: usize = 40;

/// A directory that paths are resolved in: `..` and absolute links stay below it, links of procfs are not followed.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

/// What [`Root::make`] leaves where nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

impl Root {
    /// Resolves in the directory `fd`.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Resolves in the directory at `path` of this process.
    pub fn open_path(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens what `path` leads to; close-on-exec is added.
    pub fn open(&self, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.open_how(path.as_ref(), flags, mode, ResolveFlags::empty())
    }

    /// As [`Root::open`], refusing to cross onto another mount or to follow any link.
    pub fn open_strict(&self, path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_how(path.as_ref(), flags, Mode::empty(), ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS)
    }

    fn open_how(&self, path: &Path, flags: OFlags, mode: Mode, more: ResolveFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        loop {
            // EAGAIN: a rename elsewhere raced with `..`; the kernel asks to try again.
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// A descriptor that only names what `path` leads to.
    pub fn locate(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH, Mode::empty())
    }

    /// What `path` leads to; missing directories on the way are made (0755), and at the end what `make` says. Dangling
    /// links are followed inside the root. What is there already is returned as it is, whatever its type.
    pub fn make(&self, path: impl AsRef<Path>, make: Make) -> io::Result<OwnedFd> {
        self.make_bounded(path.as_ref(), make, SYMLINKS_MAX)
    }

    fn make_bounded(&self, path: &Path, make: Make, links_left: usize) -> io::Result<OwnedFd> {
        match self.locate(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        if path.components().next_back() == Some(Component::ParentDir) {
            // What `..` leaves must exist before the kernel can leave it.
            self.make_bounded(path.parent().unwrap_or(Path::new("/")), Make::Directory, links_left)?;
            return self.locate(path);
        }
        let (parent, name) = split(path)?;
        let dir = self.make_bounded(&parent, Make::Directory, links_left)?;
        let made = match make {
            Make::Directory => rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)),
            Make::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match made {
            Ok(()) => self.locate(path),
            Err(Errno::EXIST) => {
                // Either somebody was faster, or the name is a link to something missing.
                let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    return self.locate(path);
                }
                let left = links_left.checked_sub(1).ok_or(Errno::LOOP)?;
                let target = rustix::fs::readlinkat(&dir, name, Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                self.make_bounded(&parent.join(target), make, left)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The directory itself.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Parent and last name. `.` and `..` at the end are no names.
fn split(path: &Path) -> io::Result<(PathBuf, &OsStr)> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Ok((path.parent().unwrap_or(Path::new("/")).to_owned(), name)),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Whether two descriptors name files of the same type, directory or not.
pub fn is_directory(fd: impl AsFd) -> io::Result<bool> {
    Ok(file_type(&rustix::fs::fstat(fd)?) == FileType::Directory)
}

/// The type in a file's mode.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn fresh(name: &str) -> (PathBuf, Root) {
        let dir = std::env::temp_dir().join(format!("rorqual-root-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("root")).unwrap();
        (dir.clone(), Root::open_path(&dir.join("root")).unwrap())
    }

    #[test]
    fn links_stay_inside() {
        let (dir, root) = fresh("links");
        symlink("/etc", dir.join("root/abs")).unwrap();
        symlink("../../../etc", dir.join("root/up")).unwrap();
        fs::create_dir(dir.join("root/etc")).unwrap();
        fs::write(dir.join("root/etc/mine"), "x").unwrap();
        for path in ["abs/mine", "up/mine", "/etc/../../etc/mine"] {
            assert!(root.locate(path).is_ok(), "{path}");
        }
        assert!(root.locate("abs/passwd").is_err());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn missing_targets_are_made_behind_dangling_links() {
        let (dir, root) = fresh("make");
        symlink("/run", dir.join("root/var")).unwrap();
        root.make("/var/lock/x/file", Make::File).unwrap();
        assert!(dir.join("root/run/lock/x/file").is_file());
        symlink("loop", dir.join("root/loop")).unwrap();
        assert!(root.make("/loop/x", Make::Directory).is_err());
        assert!(root.make("/a/../b", Make::Directory).is_ok());
        assert!(!dir.join("b").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
