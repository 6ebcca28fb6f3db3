use crate::*;
use rorqual_metadata::Store;
use rorqual_snapshot::{Helper, LayerKind, LayerOptions, Snapshots, helper_main};
use rorqual_types::{Filters, Reference};
use std::{
    io::{Cursor, Read},
    path::Path,
    sync::Arc,
};

mod behaviour;
mod hostile;
mod kill;
mod made;
mod referrers;
mod remote;
mod shared;

/// Not a test by itself: the unpack helper of the others.
#[test]
fn helper() {
    helper_main();
}

pub(crate) fn open(root: &Path) -> Images {
    let store = Store::open(&root.join("meta")).unwrap();
    let layers = LayerOptions { kind: LayerKind::Directory, mounts: root.join("mounts") };
    let snapshots = Arc::new(Snapshots::open_with(root, Helper::test("tests::helper"), &layers).unwrap());
    Images::open(root, store, snapshots).unwrap()
}

/// Loads an archive; returns the lines that docker would print, or the error.
pub(crate) fn load(images: &Images, archive: &[u8]) -> Result<Vec<String>> {
    load_from(images, &mut Cursor::new(archive))
}

pub(crate) fn load_from(images: &Images, archive: &mut (dyn Read + Send)) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    images.load(archive, None, &mut |message| {
        if let Progress::Stream(line) = message {
            lines.push(line.trim_end().to_owned());
        }
    })?;
    Ok(lines)
}

pub(crate) fn nobody() -> Vec<User> {
    Vec::new()
}

pub(crate) fn names(images: &Images) -> Vec<(String, Vec<String>)> {
    let list = images.list(&ListOptions::default()).unwrap();
    let mut names: Vec<_> = list.into_iter().map(|image| (name::short(&image.id), image.repo_tags)).collect();
    names.sort();
    names
}

/// `TEST_ARCHIVES="a.tar b.tar"`: loads real archives and prints what it took.
#[test]
fn archives_by_hand() {
    let Ok(archives) = std::env::var("TEST_ARCHIVES") else { return };
    let root = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let images = open(root.path());
    for path in archives.split_whitespace() {
        let begin = std::time::Instant::now();
        let lines = load_from(&images, &mut std::fs::File::open(path).unwrap());
        println!("{path}: {lines:?} {:?}", begin.elapsed());
    }
    for image in images.list(&ListOptions { shared_size: true, manifests: true, ..Default::default() }).unwrap() {
        println!("{image:#?}");
        let name = image.id.to_string();
        let resolved = images.resolve(&name, None).unwrap();
        println!("{:?} {}", resolved.lowers(), resolved.max_owner_id);
        println!("{:?}", images.inspect(&name, None, true).unwrap());
        println!("{:?}", images.history(&name, None).unwrap());
    }
    println!("{}", images.size());
}
