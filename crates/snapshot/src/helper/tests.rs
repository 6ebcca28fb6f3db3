//! A helper that was taken over, and what the daemon believes of it.

use super::*;
use crate::{
    store::{
        LayerKind, LayerOptions, Snapshots, Unpack,
        tests::{digest, file, in_own_mounts},
    },
    tar::tests::end,
};
use std::{fs, fs::File, os::unix::fs::FileExt};

/// What the helper writes over the index: `OFFSET:HEX`, or how long the index is.
const LIE: &str = "LIE";

/// Not a test by itself: a helper that leaves an index without files, with a lie in it.
#[test]
fn liar() {
    if std::env::args_os().next().is_none_or(|name| name != HELPER_NAME) {
        return;
    }
    let socket = io::stdin().as_fd().try_clone_to_owned().unwrap();
    let (job, fds): (Job, Vec<OwnedFd>) = receive(&socket).unwrap().unwrap();
    let mut fds = fds.into_iter().map(File::from).skip(2);
    let (archive, index) = (fds.next().unwrap(), fds.next().unwrap());
    archive.set_len(1024).unwrap();
    crate::erofs::empty(&index).unwrap();
    index.write_all_at(&job.index.unwrap().uuid, 1024 + 48).unwrap();
    let lie = std::env::var(LIE).unwrap();
    match lie.split_once(':') {
        Some((offset, hex)) => {
            let bytes: Vec<u8> =
                (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
            index.write_all_at(&bytes, offset.parse().unwrap()).unwrap();
        }
        None if lie.is_empty() => {}
        None => index.set_len(lie.parse().unwrap()).unwrap(),
    }
    let made = Made::Layer(LayerInfo { size: 4096, entries: 0, ..LayerInfo::default() });
    send(&socket, &Report::Done { made, digest: Some(digest(&end())) }, &[]).unwrap();
    std::process::exit(0);
}

#[test]
fn an_index_that_no_honest_helper_writes_is_not_mounted() {
    in_own_mounts(|| {
        for (what, lie) in [
            ("the truth", ""),
            ("no index", "0"),
            ("half a superblock", "1100"),
            ("no root", "1290"),
            ("a longer one", "100000"),
            ("another magic", "1024:00"),
            ("other features", "1104:ff"),
            ("larger blocks", "1036:0c"),
            ("more blocks than there are", "1060:ffff"),
            ("a root behind the end", "1038:ffff"),
            ("a root in the superblock", "1038:2100"),
            ("no inodes", "1040:0000000000000000"),
            ("very many inodes", "1040:ffffffff"),
            ("another name", "1072:00112233"),
            ("a longer archive", "1216:ffff"),
            ("a root that is a file", "1284:a481"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let data = root.path().join("data");
            fs::create_dir(&data).unwrap();
            let honest = Helper::test("helper::tests::liar");
            let helper = Helper { environment: vec![(LIE.into(), lie.into())], ..honest };
            let options = LayerOptions { kind: LayerKind::Archive, mounts: root.path().join("mounts") };
            let snapshots = Snapshots::open_with(&data, helper, &options).unwrap();
            assert_eq!(snapshots.layer_kind(), LayerKind::Archive, "the kernel mounts indexes");
            let chain = [digest(b"chain")];
            let unpack =
                Unpack { archive: file(&end()), diff_id: digest(&end()), verified: false, chain: &chain, below: None };
            let result = snapshots.unpack(unpack, &mut |_| {});
            snapshots.wait_for_deletions();
            match lie {
                "" => drop(result.unwrap().unwrap()),
                _ => {
                    let error = result.expect_err(what).to_string();
                    let told = "the unpack helper wrote an index that is none; the layer is not used";
                    assert_eq!(error, told, "{what}");
                    assert!(snapshots.layers().unwrap().is_empty(), "{what}");
                }
            }
        }
    });
}
