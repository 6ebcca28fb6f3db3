//! Removal of whole trees by descriptors, however deep they are.

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::{self, Errno},
};
use std::os::fd::OwnedFd;

/// Directories held open at once; what is deeper is moved up first.
const DEPTH_MAX: usize = 32;

/// Removes `name` in `parent` and everything below it; nothing there is fine. Links are removed, never followed.
pub(crate) fn remove_tree(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let root = open(parent, name)?;
    // Emptying may move deep directories to the top, so it is done until there is nothing left.
    let mut moved = 0u64;
    loop {
        let before = moved;
        empty(&root, &root, 0, &mut moved)?;
        if moved == before {
            break;
        }
    }
    drop(root);
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn open(parent: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Removes what is in `directory`; directories below [`DEPTH_MAX`] are moved into `root`.
fn empty(root: &OwnedFd, directory: &OwnedFd, depth: usize, moved: &mut u64) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // A file system that does not tell types: it is a directory.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
        if depth < DEPTH_MAX {
            empty(root, &open(directory, name)?, depth + 1, moved)?;
            match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        } else {
            move_up(root, directory, name, moved)?;
        }
    }
    Ok(())
}

fn move_up(root: &OwnedFd, directory: &OwnedFd, name: &[u8], moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        let free = format!(".deep-{moved}");
        match rustix::fs::renameat_with(directory, name, root, free.as_str(), rustix::fs::RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &std::path::Path) -> OwnedFd {
        std::fs::File::open(path).unwrap().into()
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut at = directory(root.path());
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "directory", Mode::from_raw_mode(0o700)).unwrap();
            at = open(&at, b"directory").unwrap();
        }
        remove_tree(&directory(root.path()), b"directory").unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("tree/sub")).unwrap();
        std::fs::create_dir_all(root.path().join("outside")).unwrap();
        std::fs::write(root.path().join("outside/file"), "").unwrap();
        std::os::unix::fs::symlink("../../outside", root.path().join("tree/sub/link")).unwrap();
        std::os::unix::fs::symlink("outside", root.path().join("top")).unwrap();
        remove_tree(&directory(root.path()), b"tree").unwrap();
        remove_tree(&directory(root.path()), b"top").unwrap();
        remove_tree(&directory(root.path()), b"absent").unwrap();
        assert!(root.path().join("outside/file").exists());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
