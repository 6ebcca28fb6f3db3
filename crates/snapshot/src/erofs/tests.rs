//! The same archives, kept with an index and unpacked: what the kernel shows of both is the same.

use crate::{
    store::{
        LayerKind, Unpack, Verification,
        tests::{digest, in_own_mounts, snapshots_of, stack},
    },
    tar::tests::{Raw, end, file, pax},
};
use proptest::prelude::*;
use rorqual_linux::usage::Usage;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// What is known of a file, but for what a directory's entries say of its times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    links: u64,
    modified: Option<(i64, i64)>,
    content: Vec<u8>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0u8; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = std::str::from_utf8(name).unwrap().to_owned();
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect()
}

/// A whole tree, by path: what can be looked at. Nothing says when a directory without an entry or a whiteout was made: those `untimed`, and
/// whiteouts, are seen without a time, and whiteouts without an owner.
fn walk(root: &Path, untimed: &dyn Fn(&Path) -> bool) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let full = root.join(&path);
        // What is listed is there: a whiteout where nothing is to be hidden would not be.
        let stat = fs::symlink_metadata(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()));
        let kind = stat.file_type();
        let content = if kind.is_dir() {
            open.extend(fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
            Vec::new()
        } else if kind.is_symlink() {
            fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
        } else if kind.is_file() {
            let mut content = Vec::new();
            File::open(&full).unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content.len() as u64, stat.len(), "{path:?}");
            content
        } else {
            Vec::new()
        };
        let is_whiteout = stat.mode() & 0o170_000 == 0o020_000 && stat.rdev() == 0;
        let modified = (!is_whiteout && !untimed(&path)).then(|| (stat.mtime(), stat.mtime_nsec()));
        let owner = if is_whiteout { (0, 0) } else { (stat.uid(), stat.gid()) };
        let (mode, device, links) = (stat.mode(), stat.rdev(), stat.nlink());
        seen.insert(path, Seen { mode, owner, device, links, modified, content, xattrs: xattrs(&full) });
    }
    seen
}

/// Two data roots with the same layers.
struct Both {
    root: tempfile::TempDir,
    fs: Vec<[PathBuf; 2]>,
}

impl Both {
    /// Unpacks a stack both ways; `None` where both refuse it. `indexed` is how many layers have an index.
    fn new(archives: &[Vec<u8>]) -> Option<(Self, usize)> {
        let root = tempfile::tempdir().unwrap();
        let made = [(LayerKind::Directory, "directories"), (LayerKind::Archive, "archives")].map(|(kind, name)| {
            let data = root.path().join(name).join("data");
            fs::create_dir_all(&data).unwrap();
            let snapshots = snapshots_of(kind, &data);
            assert_eq!(snapshots.layer_kind(), kind);
            let chain = stack(&snapshots, archives).map(|(chain, _)| chain);
            let entries = fs::read_dir(data.join("layers")).unwrap().count();
            (chain, snapshots, entries)
        });
        let [(directories, one, count), (archived, other, other_count)] = made;
        let (Ok(directories), Ok(archived)) = (&directories, &archived) else {
            assert_eq!((directories.is_err(), count), (archived.is_err(), other_count), "{directories:?} {archived:?}");
            return None;
        };
        let indexed = archived.iter().filter(|chain| other.tar(chain).unwrap().is_some()).count();
        let place = |snapshots: &crate::Snapshots, chain: &rorqual_types::ChainId| {
            snapshots.layers_dir().join(chain.hex()).join("fs")
        };
        let fs = directories.iter().zip(archived).map(|(a, b)| [place(&one, a), place(&other, b)]).collect();
        Some((Self { root, fs }, indexed))
    }

    /// Every layer looks the same, and so does the merged tree under the host's root and as in a user namespace.
    fn compare(&self, untimed: &dyn Fn(&Path) -> bool) {
        for (number, [directory, archive]) in self.fs.iter().enumerate() {
            differ(&format!("layer {number}"), &walk(directory, untimed), &walk(archive, untimed));
        }
        for user in [false, true] {
            let [directories, archives] = [0, 1].map(|which| {
                let merged = self.merged(which, user);
                walk(&PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&merged))), untimed)
            });
            differ("the merged tree", &directories, &archives);
        }
    }

    fn merged(&self, which: usize, user_attributes: bool) -> std::os::fd::OwnedFd {
        let open = |path: &Path| std::os::fd::OwnedFd::from(File::open(path).unwrap());
        let lowers: Vec<_> = self.fs.iter().rev().map(|layer| open(&layer[which])).collect();
        let scratch = tempfile::tempdir_in(self.root.path()).unwrap().keep();
        let [upper, work] = ["upper", "work"].map(|name| {
            fs::create_dir(scratch.join(name)).unwrap();
            open(&scratch.join(name))
        });
        use std::os::fd::AsFd;
        let overlay = rorqual_linux::mount::Overlay {
            lowers: &lowers,
            upper: upper.as_fd(),
            work: work.as_fd(),
            user_attributes,
        };
        let merged = overlay.mount().unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(&merged, ".", flags, rustix::fs::Mode::empty()).unwrap()
    }
}

fn differ(what: &str, one: &BTreeMap<PathBuf, Seen>, other: &BTreeMap<PathBuf, Seen>) {
    for path in one.keys().chain(other.keys()) {
        let (one, other) = (one.get(path), other.get(path));
        assert!(one == other, "{what}, {}: {} {}", path.display(), short(one), short(other));
    }
}

fn short(seen: Option<&Seen>) -> String {
    format!("{seen:?}").chars().take(600).collect()
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), end()].concat()
}

fn entry(kind: u8, path: &str, mode: u32) -> Raw {
    let mut raw = Raw::new(kind, path, 0);
    raw.set(100, format!("{mode:07o}\0").as_bytes()).set(136, b"14524770000\0");
    raw
}

fn directory(path: &str) -> Vec<u8> {
    entry(b'5', path, 0o755).with(b"")
}

#[test]
fn ordinary_layers_are_the_same_both_ways() {
    in_own_mounts(|| {
        let mut device = entry(b'3', "dev/null", 0o666);
        device.set(329, b"0000001\0").set(337, b"0000003\0");
        let mut disk = entry(b'4', "dev/disk", 0o660);
        disk.set(329, b"0000010\0").set(337, b"0001234\0");
        let mut owned = Raw::new(b'0', "bin/setuid", 4);
        owned.set(100, b"0004755\0").set(108, b"0001750\0").set(116, b"0001751\0");
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let big: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 / 5) as u8).collect();
        let lower = archive(&[
            entry(b'5', "./", 0o711).with(b""),
            directory("bin"),
            owned.with(b"text"),
            directory("dev"),
            device.with(b""),
            disk.with(b""),
            entry(b'6', "dev/pipe", 0o622).with(b""),
            entry(b'5', "tmp", 0o1777).with(b""),
            entry(b'2', "tmp/link", 0o777).link("../bin/setuid").with(b""),
            pax(&[("linkpath", "long/".repeat(300).as_bytes())]),
            entry(b'2', "tmp/long-link", 0o777).with(b""),
            pax(&[
                ("SCHILY.xattr.user.note", b"kept"),
                ("SCHILY.xattr.user.empty", b""),
                ("SCHILY.xattr.security.capability", &capability),
                ("SCHILY.xattr.trusted.note", &[7; 2000]),
                ("SCHILY.xattr.user.overlay.opaque", b"y"),
                ("SCHILY.xattr.security.selinux", b"the host alone labels"),
                ("mtime", b"-5.25"),
            ]),
            file("bin/attributes", b"data"),
            entry(b'1', "tmp/again", 0).link("bin/attributes").with(b""),
            pax(&[("SCHILY.xattr.user.note", b"on a directory"), ("SCHILY.xattr.trusted.x", b"y")]),
            directory("noted"),
            pax(&[("SCHILY.xattr.user.note", b"not on a link"), ("SCHILY.xattr.trusted.x", b"y")]),
            entry(b'2', "noted/link", 0o777).link("x").with(b""),
            Raw::new(b'0', "bin/big", big.len() as u64).with(&big),
            file("bin/empty", b""),
            file("bin/exact", &[1; 512]),
            file("bin/one-more", &[2; 513]),
            directory("gone"),
            file("gone/x", b""),
            directory("hidden"),
            file("hidden/low", b""),
        ]);
        let upper = archive(&[
            entry(b'5', "./", 0o755).with(b""),
            file("bin/new", b"below a directory of the other layer"),
            file(".wh.gone", b""),
            directory("hidden"),
            file("hidden/.wh..wh..opq", b""),
            file("hidden/high", b"seen"),
            file("tmp/.wh.link", b""),
            file("tmp/.wh.never", b""),
        ]);
        let top = archive(&[directory("gone"), file("gone/again", b"x"), file("noted/new/deep", b"implied")]);
        let (both, indexed) = Both::new(&[lower, upper, top]).unwrap();
        assert_eq!(indexed, 3);
        both.compare(&|path| path == "noted/new" || path == "");
        let shown = fs::read_to_string(both.fs[0][1].join("bin/setuid")).unwrap();
        assert_eq!(shown, "text");
    });
}

/// Whiteouts below a directory that hides everything, before it does and after, directly and deeper.
#[test]
fn a_whiteout_that_hides_nothing_is_not_there() {
    in_own_mounts(|| {
        let lower = archive(&[
            directory("d"),
            file("d/a", b""),
            file("d/b", b""),
            directory("d/deep"),
            file("d/deep/c", b""),
            directory("kept"),
            file("kept/x", b""),
            directory("again"),
            file("again/y", b""),
        ]);
        let upper = archive(&[
            directory("d"),
            file("d/.wh.a", b""),
            directory("d/deep"),
            file("d/deep/.wh.c", b""),
            file("d/.wh..wh..opq", b""),
            file("d/.wh.b", b""),
            file("d/deep/.wh.c", b""),
            file("d/new", b"seen"),
            file("kept/.wh.x", b""),
            file(".wh.again", b""),
            directory("again"),
            file("again/.wh.y", b""),
        ]);
        let (both, indexed) = Both::new(&[lower, upper]).unwrap();
        assert_eq!(indexed, 2);
        both.compare(&|path| path == "" || path == "kept" || path == "d/deep");
        for which in [0, 1] {
            let layer = &both.fs[1][which];
            let names = |path: &str| {
                let entries = fs::read_dir(layer.join(path)).unwrap();
                let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
                names.sort();
                names
            };
            assert_eq!(names("d"), ["deep", "new"]);
            assert!(names("d/deep").is_empty() && names("again").is_empty());
            assert_eq!(names("kept"), ["x"], "this one hides something");
        }
    });
}

#[test]
fn a_directory_with_many_and_odd_names_is_the_same_both_ways() {
    in_own_mounts(|| {
        let mut parts = vec![directory("many")];
        for number in 0..3000 {
            parts.push(file(&format!("many/{}-{number}", "n".repeat(number % 60)), format!("{number}").as_bytes()));
        }
        let mut names: Vec<Vec<u8>> = (1..=255u8).filter(|byte| !b"/.".contains(byte)).map(|byte| vec![byte]).collect();
        names.extend((1..=255u8).filter(|byte| !b"/.".contains(byte)).map(|byte| vec![b'.', byte]));
        names.extend([b"...".to_vec(), b"..a".to_vec(), b"a".repeat(255), b"a".repeat(254), "\u{e4}".into()]);
        for (number, name) in names.iter().enumerate() {
            parts.push(pax(&[("path", &[b"odd/", name.as_slice()].concat())]));
            parts.push(file("x", format!("{number}").as_bytes()));
        }
        let deep = "deep/".repeat(700);
        parts.push(pax(&[("path", format!("{deep}end").as_bytes())]));
        parts.push(file("x", b"far down"));
        let (both, indexed) = Both::new(&[archive(&parts)]).unwrap();
        assert_eq!(indexed, 1);
        both.compare(&|path| path.starts_with("deep") || path == "odd" || path == "");
        assert_eq!(fs::read_dir(both.fs[0][1].join("odd")).unwrap().count(), names.len());
        for name in &names {
            assert!(both.fs[0][1].join("odd").join(std::ffi::OsStr::from_bytes(name)).exists(), "{name:?}");
        }
    });
}

/// What has no place in an index is unpacked; what is hostile is refused, both ways.
#[test]
fn unusual_layers_are_unpacked_and_hostile_ones_refused() {
    in_own_mounts(|| {
        let base = archive(&[directory("d"), file("d/low", b"low")]);
        let mut dirty = file("a", b"data");
        dirty[600] = 1;
        let unusual = [
            vec![entry(b'1', "hard", 0).link("d/low").with(b"")],
            vec![dirty],
            vec![
                pax(&[(
                    "SCHILY.xattr.security.capability",
                    &[1, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
                )]),
                file("v3", b""),
            ],
        ];
        for parts in unusual {
            let (both, indexed) = Both::new(&[base.clone(), archive(&parts)]).unwrap();
            assert_eq!(indexed, 1);
            both.compare(&|path| path == "" || path == "d");
            let layer = both.fs[1][1].parent().unwrap().to_owned();
            assert_eq!(fs::read_dir(layer).unwrap().count(), 1, "only the directory is left");
        }
        let link = |path: &str, target: &str| entry(b'2', path, 0o777).link(target).with(b"");
        let hard = |path: &str, target: &str| entry(b'1', path, 0).link(target).with(b"");
        let hostile = [
            vec![file("../canary", b"dead")],
            vec![hard("x", "../../canary")],
            vec![link("a", "b"), link("b", "a"), file("a/x", b"")],
            vec![file("a", b""), file("a/x", b"")],
            vec![hard("x", "nowhere")],
            vec![hard("x", "x")],
            vec![directory("e"), hard("x", "e")],
            vec![Raw::new(b'3', "x", 0).with(b"")],
            vec![file(".wh.", b"")],
            vec![directory(".wh.x")],
            vec![directory("e"), file("e/x", b""), hard("e", "e/x")],
            vec![link("l", "."), file("x", b""), hard("l/x", "x")],
            vec![pax(&[("path", &b"n".repeat(256))]), file("x", b"")],
            vec![pax(&[("path", "long/".repeat(500).as_bytes())]), link("l", "."), link("to", &"long/".repeat(19))],
        ];
        for (number, parts) in hostile.into_iter().enumerate() {
            let refused = Both::new(&[base.clone(), archive(&parts)]).is_none();
            assert!(refused || number == 13, "{number}");
        }
    });
}

#[test]
fn a_path_seen_twice_is_what_it_was_last_both_ways() {
    in_own_mounts(|| {
        let link = |path: &str, target: &str| entry(b'2', path, 0o777).link(target).with(b"");
        let parts = [
            file("a", b"old"),
            file("a", b"new"),
            directory("b"),
            file("b/inner", b""),
            file("b", b"file now"),
            link("c", "a"),
            directory("c"),
            file("c/inner", b"in c"),
            directory("d"),
            file("d/kept", b"kept"),
            entry(b'5', "d", 0o700).with(b""),
            link("up", "../../../.."),
            link("root", "/d"),
            file("up/one", b"1"),
            file("root/two", b"2"),
            entry(b'1', "three", 0).link("up/one").with(b""),
            entry(b'1', "one", 0).link("a").with(b""),
            link("e", "d/../d/./"),
            file("e/five", b"5"),
        ];
        let (both, indexed) = Both::new(&[archive(&[directory("c"), file("c/low", b"")]), archive(&parts)]).unwrap();
        assert_eq!(indexed, 2);
        both.compare(&|path| path == "");
    });
}

#[test]
fn an_archive_that_does_not_change_is_not_copied() {
    in_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        let snapshots = snapshots_of(LayerKind::Archive, &data);
        let unpack = |name: &str, bytes: &[u8]| {
            let blob = root.path().join(name);
            fs::write(&blob, bytes).unwrap();
            let chain = [digest(bytes)];
            let archive = File::open(&blob).unwrap();
            let unpack = Unpack { archive, diff_id: chain[0], verified: true, chain: &chain, below: None };
            let info = snapshots.unpack(unpack, &mut |_| {}).unwrap().unwrap();
            (fs::metadata(&blob).unwrap().nlink(), info, data.join("layers").join(chain[0].hex()))
        };
        let (names, info, layer) = unpack("plain", &archive(&[file("a", &[5; 40_000])]));
        assert_eq!((names, info.archived), (2, true));
        assert!(info.shared >= 40_000 && info.shared < info.size, "{info:?}");
        assert_eq!(
            fs::read(root.path().join("mounts").join(layer.file_name().unwrap()).join("fs/a")).unwrap(),
            [5; 40_000]
        );
        // What cannot be indexed is unpacked, and the archive has no other name then.
        let mut odd = archive(&[file("b", b"y")]);
        odd[1000] = 1;
        let (names, info, _) = unpack("odd", &odd);
        assert_eq!((names, info.archived, info.shared), (1, false, 0));
    });
}

#[test]
fn a_layer_stays_mounted_is_verified_and_goes() {
    in_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        let bytes = archive(&[directory("d"), file("d/a", &[5; 40_000])]);
        let snapshots = snapshots_of(LayerKind::Archive, &data);
        let (chain, info) = stack(&snapshots, std::slice::from_ref(&bytes)).unwrap();
        let layer = data.join("layers").join(chain[0].hex());
        // What is mounted is in one place only, and the disk is measured without it.
        assert_eq!(fs::read_dir(layer.join("fs")).unwrap().count(), 0);
        let usage = Usage::default().tree(&layer).unwrap();
        assert_eq!(info.size, usage - 4096);
        let mut kept = Vec::new();
        snapshots.tar(&chain[0]).unwrap().unwrap().read_to_end(&mut kept).unwrap();
        assert!(kept == bytes);
        assert_eq!(snapshots.verify(&chain[0], &digest(&bytes)).unwrap(), Verification::Intact);

        // Another daemon finds it mounted; one that extracts uses it all the same.
        drop(snapshots);
        let snapshots = snapshots_of(LayerKind::Directory, &data);
        let shown = snapshots.layers_dir().join(chain[0].hex()).join("fs");
        assert!(shown.join("d/a").exists());
        assert_eq!(mounts_at(&shown), 1);
        let upper = archive(&[file("d/b", b"")]);
        let both = stack(&snapshots, &[bytes.clone(), upper.clone()]).unwrap().0;
        assert_eq!(both[0], chain[0]);
        assert_eq!(snapshots.verify(&both[1], &digest(&upper)).unwrap(), Verification::Directory);
        assert!(snapshots.layers_dir().join(both[1].hex()).join("fs/d/b").exists());

        // After a boot nothing is mounted.
        rustix::mount::unmount(snapshots.layers_dir(), rustix::mount::UnmountFlags::DETACH).unwrap();
        drop(snapshots);
        let snapshots = snapshots_of(LayerKind::Archive, &data);
        assert!(shown.join("d/a").exists());

        let tar = layer.join("layer.tar");
        let mut changed = bytes.clone();
        changed[1500] ^= 1;
        fs::write(&tar, &changed).unwrap();
        let found = snapshots.verify(&chain[0], &digest(&bytes)).unwrap();
        assert_eq!(found, Verification::Altered(digest(&changed)));

        snapshots.remove_layer(&chain[0]).unwrap();
        snapshots.wait_for_deletions();
        assert!(!layer.exists() && !shown.exists());
        assert_eq!(snapshots.verify(&chain[0], &digest(&bytes)).unwrap(), Verification::Missing);
        assert_eq!(mounts_at(&shown), 0);
        assert_eq!(fs::read_dir(data.join("trash")).unwrap().count(), 0);
    });
}

fn mounts_at(path: &Path) -> usize {
    let path = path.parent().unwrap().canonicalize().map(|parent| parent.join("fs")).unwrap_or(path.to_owned());
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    table.lines().filter(|line| line.split(' ').nth(4) == path.to_str()).count()
}

/// What a random entry is made from: kind, parent, name, number, and a choice among what stands before.
type Choice = (u8, u8, u8, u32, u8);

/// A latest time that is before any test runs.
const LATEST: u32 = 1_600_000_000;

/// An archive of entries that often meet: few names, links among them, hard links to files that are there.
fn random_archive(choices: &[Choice]) -> Vec<u8> {
    const PARENTS: [&str; 8] = ["", "", "dir/", "lib/", "dir/sub/", "lib/dir/", "link/", ".hidden/"];
    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "link", "dir", "lib", "sub", "~", "a-rather-long-name"];
    const TARGETS: [&str; 6] = ["dir", "../lib", "/lib/dir", "nowhere", ".", "a/../b"];
    let mut parts = Vec::new();
    let mut files: Vec<String> = Vec::new();
    for (kind, parent, name, number, pick) in choices {
        let parent = PARENTS[usize::from(*parent) % PARENTS.len()];
        let path = format!("{parent}{}", NAMES[usize::from(*name) % NAMES.len()]);
        let data: Vec<u8> = (0..number % 3000).map(|at| at as u8).collect();
        let time = format!("{}.{:09}", number % LATEST, number % 1_000_000_000);
        let mut records = vec![("mtime", time.as_bytes())];
        let value = number.to_le_bytes();
        match pick % 6 {
            0 => records.push(("SCHILY.xattr.user.note", &value)),
            1 => records.push(("SCHILY.xattr.trusted.note", &value[..1])),
            2 => records.push(("SCHILY.xattr.user.overlay.redirect", &value)),
            _ => {}
        }
        let raw = |kind: u8, size: usize| {
            let mut raw = Raw::new(kind, &path, size as u64);
            raw.set(100, format!("{:07o}\0", number & 0o7777).as_bytes());
            raw.set(108, format!("{:07o}\0", number % 5000).as_bytes());
            raw.set(116, format!("{:07o}\0", number % 70).as_bytes());
            raw
        };
        let made = match kind % 16 {
            0..=4 => {
                files.push(path.clone());
                raw(b'0', data.len()).with(&data)
            }
            5..=8 => raw(b'5', 0).with(b""),
            9 => raw(b'2', 0).link(TARGETS[usize::from(*pick) % TARGETS.len()]).with(b""),
            10 | 11 => match files.get(usize::from(*pick) % files.len().max(1)) {
                Some(target) => raw(b'1', 0).link(target).with(b""),
                None => continue,
            },
            12 => raw(b'6', 0).with(b""),
            13 => {
                let mut device = raw(b'3', 0);
                device.set(329, b"0000001\0").set(337, format!("{:07o}\0", 1 + number % 300).as_bytes());
                device.with(b"")
            }
            14 => {
                let hidden = NAMES[usize::from(*name) % NAMES.len()];
                parts.push(file(&format!("{parent}.wh.{hidden}"), b""));
                continue;
            }
            _ => {
                parts.push(file(&format!("{parent}.wh..wh..opq"), b""));
                continue;
            }
        };
        parts.extend([pax(&records), made]);
    }
    archive(&parts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    /// Refused by both, or the same: single layers, and overlays of two.
    #[test]
    fn random_layers_are_the_same_both_ways(
        lower in prop::collection::vec(any::<Choice>(), 1..16),
        upper in prop::collection::vec(any::<Choice>(), 1..16),
    ) {
        in_own_mounts(move || {
            if let Some((both, _)) = Both::new(&[random_archive(&lower), random_archive(&upper)]) {
                both.compare(&|path| is_implied(&both, path));
            }
        });
    }
}

/// Whether the time of `path` is that of its making in some layer: a directory without an entry.
fn is_implied(both: &Both, path: &Path) -> bool {
    path == Path::new("")
        || both.fs.iter().any(|layer| {
            let stat = fs::symlink_metadata(layer[0].join(path));
            stat.is_ok_and(|stat| stat.is_dir() && stat.mtime() > i64::from(LATEST))
        })
}
