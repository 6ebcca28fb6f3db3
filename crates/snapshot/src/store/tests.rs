use super::*;
use std::{
    collections::BTreeMap,
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
};

/// Not a test by itself: the helper process of the others.
#[test]
fn helper() {
    crate::helper_main();
}

pub(crate) fn snapshots(root: &Path) -> Snapshots {
    Snapshots::open_with(root, Helper::test("store::tests::helper")).unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> DiffId {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    DiffId::from_bytes(out)
}

pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

/// Unpacks `archives`, lowest first; the chain IDs are made up.
pub(crate) fn stack(snapshots: &Snapshots, archives: &[Vec<u8>]) -> Result<Vec<ChainId>> {
    let chain: Vec<ChainId> =
        (0..archives.len()).map(|n| digest(format!("{n} {:?}", archives[n]).as_bytes())).collect();
    for (n, archive) in archives.iter().enumerate() {
        let unpack = Unpack { archive: file(archive), diff_id: digest(archive), verified: false, chain: &chain[..=n] };
        snapshots.unpack(unpack, &mut |_| {})?;
    }
    Ok(chain)
}

#[test]
fn debian() {
    let Ok(path) = std::env::var("UNPACK") else { return };
    let root = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let snapshots = snapshots(root.path());
    for verified in [true, false] {
        let begin = std::time::Instant::now();
        let chain = [digest(&[u8::from(verified)])];
        let unpack = Unpack { archive: File::open(&path).unwrap(), diff_id: digest(b"x"), verified, chain: &chain };
        let info = snapshots.unpack(unpack, &mut |_| {});
        println!("{info:?} {:?}", begin.elapsed());
    }
    println!(
        "{}",
        String::from_utf8_lossy(
            &std::process::Command::new("du").arg("-sx").arg(root.path().join("layers")).output().unwrap().stdout
        )
    );
}
