//! Layers made of hostile and ordinary archives, unpacked by the confined helper, and looked at on disk and as a
//! mounted overlay.

use crate::{
    store::tests::{snapshots, stack},
    tar::tests::{Raw, end, file, pax},
};
use rorqual_error::Result;
use rorqual_types::ChainId;
use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

/// A data root with a canary beside it, and what its layers are unpacked to.
struct Stage {
    root: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        fs::write(root.path().join("canary"), "alive").unwrap();
        Self { root }
    }

    fn unpack(&self, archives: &[Vec<Vec<u8>>]) -> Result<Vec<PathBuf>> {
        let archives: Vec<Vec<u8>> = archives.iter().map(|parts| [parts.concat(), end()].concat()).collect();
        let data = self.root.path().join("data");
        let snapshots = snapshots(&data);
        let (chain, _) = stack(&snapshots, &archives)?;
        Ok(chain.iter().map(|chain: &ChainId| data.join("layers").join(chain.hex()).join("fs")).collect())
    }

    /// The layer must be refused, with nothing left and nothing outside touched.
    fn refused(&self, archive: Vec<Vec<u8>>, text: &str) {
        let error = self.unpack(&[archive]).expect_err(text).to_string();
        assert!(error.contains(text), "{error:?} does not say {text:?}");
        self.intact();
        let layers = self.root.path().join("data/layers");
        assert_eq!(fs::read_dir(layers).unwrap().count(), 1, "{text}: more than the base layer");
    }

    fn intact(&self) {
        assert_eq!(fs::read_to_string(self.root.path().join("canary")).unwrap(), "alive");
        assert_eq!(fs::read_dir(self.root.path()).unwrap().count(), 2);
    }
}

fn one(parts: &[Vec<u8>]) -> (Stage, PathBuf) {
    let stage = Stage::new();
    let layers = stage.unpack(&[parts.to_vec()]).unwrap();
    (stage, layers.into_iter().next().unwrap())
}

fn directory(path: &str) -> Vec<u8> {
    let mut raw = Raw::new(b'5', path, 0);
    raw.set(100, b"0000755\0");
    raw.with(b"")
}

fn link(path: &str, target: &str) -> Vec<u8> {
    Raw::new(b'2', path, 0).link(target).with(b"")
}

fn hard_link(path: &str, target: &str) -> Vec<u8> {
    Raw::new(b'1', path, 0).link(target).with(b"")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|stat| stat.file_type().is_char_device() && stat.rdev() == 0)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 100];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn everything_an_entry_says_is_kept() {
    let owned = |kind: u8, path: &str, mode: &[u8]| {
        let mut raw = Raw::new(kind, path, 0);
        raw.set(100, mode).set(108, b"0001750\0").set(116, b"0001751\0").set(136, b"14524770000\0");
        raw
    };
    let mut device = owned(b'3', "null", b"0000666\0");
    device.set(329, b"0000001\0").set(337, b"0000003\0");
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (_stage, root) = one(&[
        owned(b'5', "./", b"0000711\0").with(b""),
        owned(b'5', "dir", b"0002770\0").with(b""),
        owned(b'0', "dir/setuid", b"0004755\0").with(b""),
        owned(b'0', "dir/plain", b"0000600\0").with(b""),
        owned(b'2', "dir/link", b"0000777\0").link("/nowhere").with(b""),
        owned(b'6', "pipe", b"0002770\0").with(b""),
        device.with(b""),
        pax(&[
            ("SCHILY.xattr.user.note", b"kept"),
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.trusted.note", b"kept too"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.security.selinux", b"the host alone labels"),
            ("mtime", b"1700000000.123456789"),
        ]),
        file("attributes", b"data"),
        hard_link("dir/again", "attributes"),
    ]);
    let owner = |path: &str| {
        let stat = fs::symlink_metadata(root.join(path)).unwrap();
        (stat.uid(), stat.gid(), stat.mode() & 0o7777)
    };
    assert_eq!(owner(""), (1000, 1001, 0o711));
    assert_eq!(owner("dir"), (1000, 1001, 0o2770));
    assert_eq!(owner("dir/setuid"), (1000, 1001, 0o4755));
    assert_eq!(owner("dir/plain"), (1000, 1001, 0o600));
    assert_eq!(owner("dir/link"), (1000, 1001, 0o777));
    assert_eq!(owner("pipe"), (1000, 1001, 0o2770));
    assert_eq!(owner("null"), (1000, 1001, 0o666));
    assert!(fs::symlink_metadata(root.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(fs::symlink_metadata(root.join("null")).unwrap().rdev(), rustix::fs::makedev(1, 3));
    for path in ["dir", "dir/link", "dir/plain", "pipe", "null", ""] {
        assert_eq!(fs::symlink_metadata(root.join(path)).unwrap().mtime(), 1_699_999_744, "{path}");
    }
    let file = root.join("attributes");
    let stat = fs::metadata(&file).unwrap();
    assert_eq!((stat.mtime(), stat.mtime_nsec(), stat.nlink()), (1_700_000_000, 123_456_789, 2));
    assert_eq!(xattr(&file, "user.note").unwrap(), b"kept");
    assert_eq!(xattr(&file, "trusted.note").unwrap(), b"kept too");
    assert_eq!(xattr(&file, "security.capability").unwrap(), capability);
    assert_eq!(xattr(&file, "trusted.overlay.redirect"), None);
    assert_eq!(xattr(&file, "user.overlay.redirect"), None);
    assert_eq!(xattr(&file, "security.selinux"), None);
}

#[test]
fn what_leads_out_is_refused_or_stays_inside() {
    let stage = Stage::new();
    stage.refused(vec![file("../canary", b"dead")], "leads outside");
    stage.refused(vec![hard_link("x", "../../canary")], "leads outside");
    stage.refused(vec![link("a", "b"), link("b", "a"), file("a/x", b"")], "too many links");
    stage.refused(vec![file("a", b""), file("a/x", b"")], "is not a directory");
    stage.refused(vec![hard_link("x", "nowhere")], "does not exist");
    stage.refused(vec![hard_link("x", "x")], "link to itself");
    stage.refused(vec![directory("d"), hard_link("x", "d")], "");
    stage.refused(vec![Raw::new(b'3', "x", 0).with(b"")], "hide other files");
    let mut cut = Raw::new(b'3', "x", 0);
    cut.set(329, b"0010000\0");
    stage.refused(vec![cut.with(b"")], "hide other files");
    stage.refused(vec![file(".wh.", b"")], "whiteout without a name");
    stage.refused(vec![file(".wh...", b"")], "whiteout without a name");
    stage.refused(vec![directory(".wh.x")], "whiteout that is no file");
    let outside = stage.root.path().to_str().unwrap();
    let up = "../".repeat(12);
    // Through links of its own an archive reaches only itself.
    let layers = stage
        .unpack(&[vec![
            link("up", &up),
            link("root", "/"),
            link("host", outside),
            file("up/one", b"1"),
            file("root/two", b"2"),
            file("host/canary", b"dead"),
            hard_link("three", "up/one"),
            link("last", &format!("{outside}/canary")),
            file("last", b"replaces the link"),
        ]])
        .unwrap();
    stage.intact();
    let root = &layers[0];
    assert_eq!(fs::read_to_string(root.join("one")).unwrap(), "1");
    assert_eq!(fs::read_to_string(root.join("two")).unwrap(), "2");
    assert_eq!(fs::read_to_string(root.join("three")).unwrap(), "1");
    assert_eq!(fs::read_to_string(root.join(&outside[1..]).join("canary")).unwrap(), "dead");
    assert!(fs::symlink_metadata(root.join("last")).unwrap().is_file());
}

#[test]
fn a_path_seen_twice_is_what_it_was_last() {
    let (_stage, root) = one(&[
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
        directory("d"),
    ]);
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "new");
    assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "file now");
    assert_eq!(fs::read_to_string(root.join("c/inner")).unwrap(), "in c");
    assert!(root.join("d/kept").exists());
}

#[test]
fn upper_layers_see_the_lower_ones() {
    let stage = Stage::new();
    let mut shared = Raw::new(b'5', "shared", 0);
    shared.set(100, b"0001777\0").set(108, b"0000144\0").set(136, b"14524770000\0");
    let layers = stage
        .unpack(&[
            vec![
                shared.with(b""),
                file("shared/low", b"low"),
                directory("usr/lib"),
                link("lib", "usr/lib"),
                file("gone", b""),
                directory("hidden"),
                file("hidden/low", b""),
            ],
            vec![
                file("shared/new", b""),
                file("lib/new", b""),
                hard_link("hard", "shared/low"),
                file(".wh.gone", b""),
                file(".wh.never", b""),
                file("hidden/.wh..wh..opq", b""),
                file("hidden/new", b""),
                file(".wh..wh.plnk", b""),
            ],
            vec![file("hidden/top", b""), file(".wh.shared", b""), file("shared/again", b"")],
        ])
        .unwrap();
    let second = &layers[1];
    // A parent that only the lower layer has keeps its attributes; one behind a link is found.
    let stat = fs::metadata(second.join("shared")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.mtime()), (0o1777, 100, 1_699_999_744));
    assert!(second.join("usr/lib/new").exists() && !second.join("lib").exists());
    assert_eq!(fs::metadata(second.join("hard")).unwrap().nlink(), 2);
    assert!(is_whiteout(&second.join("gone")));
    assert!(fs::symlink_metadata(second.join("never")).is_err());
    for name in ["user.overlay.opaque", "trusted.overlay.opaque"] {
        assert_eq!(xattr(&second.join("hidden"), name).unwrap(), b"y", "{name}");
        // Removed and made anew: nothing of the old directory may show.
        assert_eq!(xattr(&layers[2].join("shared"), name).unwrap(), b"y", "{name}");
    }
    assert_eq!(xattr(&layers[2].join("hidden"), "user.overlay.opaque"), None);
    assert!(!second.join(".wh..wh.plnk").exists());
}

#[test]
fn an_opaque_root_hides_every_name() {
    let stage = Stage::new();
    let layers = stage
        .unpack(&[
            vec![file("a", b""), directory("d"), file("d/x", b"")],
            vec![directory("d"), file("d/y", b""), file(".wh..wh..opq", b"")],
        ])
        .unwrap();
    assert!(is_whiteout(&layers[1].join("a")));
    assert_eq!(xattr(&layers[1].join("d"), "user.overlay.opaque").unwrap(), b"y");
}

/// The merged tree as the kernel shows it, under the host's root and with attributes of user namespaces.
#[test]
fn whiteouts_mean_to_the_kernel_what_they_say() {
    let stage = Stage::new();
    let layers = stage
        .unpack(&[
            vec![file("gone", b""), directory("hidden"), file("hidden/low", b""), file("kept", b"")],
            vec![file(".wh.gone", b""), file("hidden/.wh..wh..opq", b""), file("hidden/new", b"")],
            vec![file("hidden/top", b"")],
        ])
        .unwrap();
    let lowers: Vec<String> = layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    let target = stage.root.path().join("data/merged");
    fs::create_dir(&target).unwrap();
    for option in ["", ",userxattr"] {
        let script = format!(
            "mount -t overlay overlay -o lowerdir={}{option} {target} && cd {target} && find . | sort",
            lowers.join(":"),
            target = target.display()
        );
        let output = std::process::Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let shown = String::from_utf8_lossy(&output.stdout).replace('\n', " ");
        assert_eq!(shown, ". ./hidden ./hidden/new ./hidden/top ./kept ", "{option}");
    }
}

#[test]
fn a_set_group_id_directory_passes_nothing_on() {
    let mut parent = Raw::new(b'5', "d", 0);
    parent.set(100, b"0002755\0").set(116, b"0000062\0");
    let (_stage, root) = one(&[parent.with(b""), file("d/f", b""), directory("d/sub")]);
    assert_eq!(fs::metadata(root.join("d/f")).unwrap().gid(), 0);
    assert_eq!((mode(&root.join("d/sub")), fs::metadata(root.join("d/sub")).unwrap().gid()), (0o755, 0));
}

/// `race.unpack`: other names of the host change all the time while layers with links are unpacked; the canaries stay.
#[test]
fn nothing_outside_is_touched_while_names_change() {
    let stage = Stage::new();
    let host = stage.root.path().join("data/host");
    fs::create_dir_all(host.join("a")).unwrap();
    fs::create_dir_all(host.join("b")).unwrap();
    fs::write(host.join("a/canary"), "alive").unwrap();
    std::os::unix::fs::symlink("a", host.join("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (one, other) = (host.join("b"), host.join("link"));
                rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, exchange).unwrap();
            }
        });
        for round in 0..12 {
            let target = host.join(if round % 2 == 0 { "link" } else { "b" });
            let target = target.to_str().unwrap();
            stage
                .unpack(&[vec![
                    link("out", target),
                    file("out/canary", format!("dead {round}").as_bytes()),
                    link("out/nested", "../../../.."),
                    file("out/nested/x", b""),
                ]])
                .unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    stage.intact();
    assert_eq!(fs::read_to_string(host.join("a/canary")).unwrap(), "alive");
    assert_eq!(fs::read_dir(host.join("a")).unwrap().count(), 1);
    // One of the two is the link, the other the empty directory.
    let directories = ["b", "link"].map(|name| host.join(name)).into_iter().filter(|path| !path.is_symlink());
    assert_eq!(directories.map(|path| fs::read_dir(path).unwrap().count()).collect::<Vec<_>>(), [0]);
}

/// The layer that GNU tar makes of a tree, unpacked here, is the tree that GNU tar unpacks.
#[test]
fn trees_are_unpacked_as_gnu_tar_does() {
    let work = tempfile::tempdir().unwrap();
    let tree = work.path().join("tree");
    fs::create_dir_all(tree.join("deep").join("x".repeat(120)).join("y".repeat(120))).unwrap();
    fs::write(tree.join("deep").join("x".repeat(120)).join("z".repeat(200)), "long").unwrap();
    fs::write(tree.join("big"), vec![7; 3 << 20]).unwrap();
    fs::write(tree.join("\u{e4}\u{f6}"), "text").unwrap();
    fs::hard_link(tree.join("big"), tree.join("deep/hard")).unwrap();
    std::os::unix::fs::symlink("../big", tree.join("deep/link")).unwrap();
    std::os::unix::fs::symlink("t".repeat(300), tree.join("deep/long-link")).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let mut tar = std::process::Command::new("tar");
        tar.args(["--create", "--sort=name", "--format", format, "-f", "-", "-C"]).arg(&tree);
        if format == "ustar" {
            tar.args(["--exclude=long-link", "--exclude=xx*"]);
        }
        let archive = tar.arg(".").output().unwrap().stdout;
        let reference = tempfile::tempdir().unwrap();
        fs::write(work.path().join("archive"), &archive).unwrap();
        let status = std::process::Command::new("tar")
            .args(["--extract", "--same-owner", "--preserve-permissions", "-f"])
            .arg(work.path().join("archive"))
            .arg("-C")
            .arg(reference.path())
            .status();
        assert!(status.unwrap().success());
        let stage = Stage::new();
        let data = stage.root.path().join("data");
        let snapshots = snapshots(&data);
        let (chain, _) = stack(&snapshots, &[archive]).unwrap();
        let ours = listing(&data.join("layers").join(chain[0].hex()).join("fs"));
        assert!(ours.lines().count() > 4);
        assert_eq!(ours, listing(reference.path()), "{format}");
    }
}

/// Names, types, modes, owners, times, links and sizes of a tree.
fn listing(root: &Path) -> String {
    let output = std::process::Command::new("find")
        .arg(root)
        .args(["-printf", "%P %y %m %U %G %T@ %n %l "])
        .args(["-type", "f", "-printf", "%s\n", "-o", "-printf", "\n"])
        .output()
        .unwrap();
    let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}
