//! What trees take on disk, counted as `du` counts: the blocks of each inode once, links not followed.

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{collections::HashSet, io, path::Path};

/// How deep trees are counted: each level costs a descriptor, and only somebody hostile goes deeper.
const DEPTH_MAX: usize = 200;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// A count over one tree or several: a file with names in more than one of them counts where it is met first.
#[derive(Debug, Default)]
pub struct Usage {
    /// Files with several names that were counted.
    seen: HashSet<(u64, u64)>,
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

impl Usage {
    /// Bytes of everything at and below `path`; nothing there is none. What vanishes meanwhile does not count.
    pub fn tree(&mut self, path: &Path) -> io::Result<u64> {
        let stat = match rustix::fs::lstat(path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut total = self.file(&stat);
        if !is_directory(&stat) {
            return Ok(total);
        }
        let mut open = Vec::new();
        descend(&mut open, rustix::fs::openat(CWD, path, directory_flags(), Mode::empty()))?;
        while let Some(directory) = open.last_mut() {
            let Some(entry) = directory.read() else {
                open.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let at = directory.fd()?;
            let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            total += self.file(&stat);
            if is_directory(&stat) {
                let below = rustix::fs::openat(at, name, directory_flags(), Mode::empty());
                if open.len() < DEPTH_MAX {
                    descend(&mut open, below)?;
                }
            }
        }
        Ok(total)
    }

    /// Bytes of one file or directory without what is below it.
    fn file(&mut self, stat: &Stat) -> u64 {
        let again = stat.st_nlink > 1 && !is_directory(stat) && !self.seen.insert((stat.st_dev, stat.st_ino));
        if again { 0 } else { u64::try_from(stat.st_blocks).unwrap_or_default() * BLOCK_BYTES }
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn descend(open: &mut Vec<Dir>, directory: rustix::io::Result<std::os::fd::OwnedFd>) -> io::Result<()> {
    match directory {
        Ok(directory) => open.push(Dir::new(directory)?),
        // Removed, or another kind of file by now.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    fn du(path: &Path) -> u64 {
        let done = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
        String::from_utf8(done.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn a_tree_takes_what_du_says() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("large"), vec![1; 100_000]).unwrap();
        fs::write(root.path().join("small"), "x").unwrap();
        fs::hard_link(below.join("large"), root.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", root.path().join("link")).unwrap();
        fs::File::create(root.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(Usage::default().tree(root.path()).unwrap(), du(root.path()));
        assert_eq!(Usage::default().tree(&root.path().join("none")).unwrap(), 0);
    }

    fn blocks(path: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).unwrap().blocks() * BLOCK_BYTES
    }

    #[test]
    fn a_file_of_two_trees_counts_once() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (root.path().join("one"), root.path().join("other"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(one.join("f"), vec![1; 50_000]).unwrap();
        fs::hard_link(one.join("f"), other.join("g")).unwrap();
        let mut usage = Usage::default();
        let sum = usage.tree(&one).unwrap() + usage.tree(&other).unwrap();
        assert_eq!(sum, du(&one) + Usage::default().tree(&other).unwrap() - blocks(&one.join("f")));
    }
}
