use super::*;
use std::io::{Seek, Write};

/// Not a test by itself: the helper process of the others.
#[test]
fn helper() {
    crate::helper_main();
}

pub(crate) fn snapshots(root: &Path) -> Snapshots {
    snapshots_of(LayerKind::Directory, root)
}

pub(crate) fn snapshots_of(kind: LayerKind, root: &Path) -> Snapshots {
    let options = LayerOptions { kind, mounts: root.join("../mounts") };
    Snapshots::open_with(root, Helper::test("store::tests::helper"), &options).unwrap()
}

/// Runs `test` in a mount namespace of its own: what it mounts goes with it.
pub(crate) fn in_own_mounts(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        rorqual_linux::process::unshare(rorqual_linux::process::flags::NEWNS).unwrap();
        let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        test();
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn digest(bytes: &[u8]) -> DiffId {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    DiffId::from_bytes(out)
}

pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// Unpacks `archives`, lowest first; the chain IDs are made up.
pub(crate) fn stack(snapshots: &Snapshots, archives: &[Vec<u8>]) -> Result<(Vec<ChainId>, LayerInfo)> {
    let mut chain = Vec::new();
    let mut info = LayerInfo::default();
    for archive in archives {
        chain.push(digest(format!("{chain:?} {}", digest(archive)).as_bytes()));
        let unpack =
            Unpack { archive: file(archive), diff_id: digest(archive), verified: false, chain: &chain, below: None };
        info = snapshots.unpack(unpack, &mut |_| {})?.unwrap_or_default();
    }
    Ok((chain, info))
}

fn container() -> ContainerId {
    ContainerId::from_random([3; 32])
}

#[test]
fn a_containers_directories_come_and_go() {
    let root = tempfile::tempdir().unwrap();
    let snapshots = snapshots(root.path());
    let writable = snapshots.prepare(&container()).unwrap();
    assert_eq!(snapshots.usage(&container()).unwrap(), 4096);
    fs::write(writable.path.join("upper/file"), "x".repeat(5000)).unwrap();
    fs::hard_link(writable.path.join("upper/file"), writable.path.join("upper/again")).unwrap();
    assert_eq!(snapshots.usage(&container()).unwrap(), 4096 + 8192);
    snapshots.prepare(&container()).unwrap();
    assert!(writable.path.join("upper/file").exists());
    snapshots.remove(&container()).unwrap();
    snapshots.remove(&container()).unwrap();
    assert!(!writable.path.exists());
    snapshots.wait_for_deletions();
    assert_eq!(fs::read_dir(root.path().join("trash")).unwrap().count(), 0);
}

fn layers(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("layers")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn opening_finishes_what_was_interrupted() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("layers/ingest-3/fs/dir")).unwrap();
    fs::create_dir_all(root.path().join("trash/9/dir")).unwrap();
    let snapshots = snapshots(root.path());
    snapshots.wait_for_deletions();
    assert_eq!(fs::read_dir(root.path().join("trash")).unwrap().count(), 0);
    assert!(snapshots.layers().unwrap().is_empty());
    assert_eq!(layers(root.path()), [BASE_LAYER]);
}

#[test]
fn nothing_of_ours_is_open_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let snapshots = snapshots(root.path());
    snapshots.prepare(&container()).unwrap();
    for directory in ["layers", "containers", "trash", &format!("containers/{}", container())] {
        let mode = fs::metadata(root.path().join(directory)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{directory}");
    }
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let snapshots = snapshots(root.path());
    let archive = [crate::tar::tests::file("a", b"x"), crate::tar::tests::end()].concat();
    let chain = [digest(b"chain")];
    let unpack =
        Unpack { archive: file(&archive), diff_id: digest(b"other"), verified: false, chain: &chain, below: None };
    let error = snapshots.unpack(unpack, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), rorqual_error::Kind::InvalidArgument, "{error}");
    snapshots.wait_for_deletions();
    assert_eq!(layers(root.path()), [BASE_LAYER]);
}

#[test]
fn two_callers_unpack_a_layer_once() {
    let root = tempfile::tempdir().unwrap();
    let snapshots = snapshots(root.path());
    let archive = [crate::tar::tests::file("a", b"x"), crate::tar::tests::end()].concat();
    let chain = [digest(b"chain")];
    let results: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let unpack = Unpack {
                        archive: file(&archive),
                        diff_id: digest(&archive),
                        verified: false,
                        chain: &chain,
                        below: None,
                    };
                    snapshots.unpack(unpack, &mut |_| {}).unwrap().is_some()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|done| **done).count(), 1);
}

#[test]
fn layers_may_come_before_those_below_them() {
    use crate::tar::tests::{end, file as entry};
    in_own_mounts(|| {
        // The directory of the upper layer's file, and what its whiteouts are good for, are known from the lower one.
        let lower = [entry("dir/a", b"first"), entry("dir/b", b"second"), end()].concat();
        let upper = [entry("dir/.wh.a", b""), entry("dir/sub/c", b"third"), end()].concat();
        let chain = [digest(b"lower"), digest(b"upper")];
        let unpack = |snapshots: &Snapshots, archive: &[u8], chain: &[ChainId], below: Option<&Below<'_>>| {
            let unpack = Unpack { archive: file(archive), diff_id: digest(archive), verified: false, chain, below };
            snapshots.unpack(unpack, &mut |_| {}).map(|info| info.unwrap())
        };
        for kind in [LayerKind::Directory, LayerKind::Archive] {
            let made = [false, true].map(|early| {
                let root = tempfile::tempdir().unwrap();
                fs::create_dir(root.path().join("data")).unwrap();
                let snapshots = snapshots_of(kind, &root.path().join("data"));
                let info = if early {
                    let below = || unpack(&snapshots, &lower, &chain[..1], None).map(drop);
                    unpack(&snapshots, &upper, &chain, Some(&below)).unwrap()
                } else {
                    unpack(&snapshots, &lower, &chain[..1], None).unwrap();
                    unpack(&snapshots, &upper, &chain, None).unwrap()
                };
                let layer = root.path().join("data/layers").join(chain[1].hex());
                let bytes = match kind {
                    LayerKind::Archive => fs::read(layer.join("index.erofs")).unwrap(),
                    LayerKind::Directory => Vec::new(),
                };
                let dir = snapshots.layers_dir().join(chain[1].hex()).join("fs/dir");
                let sub = dir.join("sub/c");
                let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
                let names: std::collections::BTreeSet<_> = names.collect();
                (info, bytes, names, fs::read(sub).unwrap())
            });
            assert!(made[0] == made[1], "{kind:?}");
            assert_eq!(made[0].3, b"third");

            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("data")).unwrap();
            let snapshots = snapshots_of(kind, &root.path().join("data"));
            let never = || Err(Error::unavailable("the layer below failed"));
            let error = unpack(&snapshots, &upper, &chain, Some(&never)).unwrap_err();
            assert_eq!(error.to_string(), "the layer below failed");
            snapshots.wait_for_deletions();
            assert!(snapshots.layers().unwrap().is_empty());
        }
    });
}
