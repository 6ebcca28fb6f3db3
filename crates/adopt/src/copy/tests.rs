//! A tree with everything a volume can hold, copied whole, and copied in two parts.

use super::*;
use crate::compare::same;
use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
};

const HOLE: u64 = 8 << 20;

fn open(path: &Path) -> OwnedFd {
    crate::root::open_directory(path).unwrap()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: owners and devices need root");
    }
    root
}

/// Names below a directory with what must be kept of them.
fn described(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let kind = if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if stat.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else {
            format!("{} bytes, {} links, device {}", stat.len(), stat.nlink(), stat.rdev())
        };
        let shown = path.strip_prefix(directory).unwrap().display();
        let (mode, uid, gid) = (stat.mode(), stat.uid(), stat.gid());
        all.push(format!("{shown} {mode:o} {uid}:{gid} {}.{} {kind}", stat.mtime(), stat.mtime_nsec()));
    }
    all.sort();
    all
}

fn volume(directory: &Path) {
    let path = |name: &str| directory.join(name);
    fs::create_dir_all(path("d/e/f")).unwrap();
    fs::write(path("d/one"), "one").unwrap();
    fs::hard_link(path("d/one"), path("d/e/two")).unwrap();
    fs::write(path("set-id"), "x").unwrap();
    symlink("/etc/passwd", path("link")).unwrap();
    let sparse = File::create(path("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(b"middle", HOLE).unwrap();
    sparse.set_len(3 * HOLE).unwrap();
    let here = open(directory);
    mknodat(&here, "pipe", FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    mknodat(&here, "device", FileType::CharacterDevice, Mode::from_raw_mode(0o600), rustix::fs::makedev(1, 3)).unwrap();
    let file = openat(&here, "d/one", OFlags::RDONLY, Mode::empty()).unwrap();
    fsetxattr(&file, "user.note", b"kept", XattrFlags::empty()).unwrap();
    std::os::unix::fs::chown(path("d"), Some(1000), Some(1001)).unwrap();
    std::os::unix::fs::lchown(path("link"), Some(7), Some(8)).unwrap();
    std::os::unix::fs::chown(path("set-id"), Some(5), Some(6)).unwrap();
    fs::set_permissions(path("set-id"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(path("d"), fs::Permissions::from_mode(0o1777)).unwrap();
    let old = Timestamps {
        last_access: Timespec { tv_sec: 1, tv_nsec: 2 },
        last_modification: Timespec { tv_sec: 3, tv_nsec: 4 },
    };
    for name in ["d/e", "d/one", "link", "pipe", "."] {
        utimensat(&here, name, &old, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

#[test]
fn everything_is_kept() {
    if !is_root() {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    volume(from.path());
    let (source, target) = (open(from.path()), open(to.path()));
    assert!(!same(&source, &target).unwrap());
    let before = described(from.path());
    tree(&source, &target).unwrap();
    assert_eq!(described(to.path()), before);
    assert_eq!(described(from.path()), before, "the source is as it was");
    assert!(same(&source, &target).unwrap());
    let copied = openat(&target, "d/e/two", OFlags::RDONLY, Mode::empty()).unwrap();
    let mut value = [0; 16];
    assert_eq!(fgetxattr(&copied, "user.note", &mut value[..]).unwrap(), 4);
    let sparse = fs::metadata(to.path().join("sparse")).unwrap();
    assert!(sparse.blocks() * 512 < HOLE, "holes stay holes");
    assert!(fs::read(to.path().join("sparse")).unwrap() == fs::read(from.path().join("sparse")).unwrap());
}

#[test]
fn a_copy_goes_on_where_it_was_interrupted() {
    if !is_root() {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    volume(from.path());
    let (source, target) = (open(from.path()), open(to.path()));
    // As if killed: half a file, a link made by an earlier order, nothing of the rest.
    fs::create_dir_all(to.path().join("d/e")).unwrap();
    fs::write(to.path().join("set-id"), "").unwrap();
    fs::write(to.path().join("d/e/two"), "on").unwrap();
    tree(&source, &target).unwrap();
    assert_eq!(described(to.path()), described(from.path()));
    // What is complete is not copied again.
    let inode = fs::metadata(to.path().join("sparse")).unwrap().ino();
    tree(&source, &target).unwrap();
    assert_eq!(fs::metadata(to.path().join("sparse")).unwrap().ino(), inode);
    assert_eq!(described(to.path()), described(from.path()));
}

#[test]
fn differences_are_seen() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, text) in [("a", "1"), ("b", "2")] {
        fs::write(from.path().join(name), text).unwrap();
    }
    let (source, target) = (open(from.path()), open(to.path()));
    tree(&source, &target).unwrap();
    assert!(same(&source, &target).unwrap());
    for change in [
        (|path| fs::write(path, "3").unwrap()) as fn(PathBuf),
        |path| fs::remove_file(path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
    ] {
        change(to.path().join("b"));
        assert!(!same(&source, &target).unwrap());
    }
}
