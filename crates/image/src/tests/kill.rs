//! `kill -9` at named places of load, tag and removal: what was acknowledged is there, and nothing else is.

use super::{
    made::{docker_archive, layer},
    *,
};
use std::{
    collections::BTreeSet,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

fn archive(n: usize) -> Vec<u8> {
    docker_archive(&[&format!("image:{n}")], &[layer("base", "b"), layer("own", &n.to_string())], "{}")
}

/// Not a test by itself: what the other runs and kills.
#[test]
fn victim() {
    let Ok(root) = std::env::var("IMAGE_VICTIM") else { return };
    let root = Path::new(&root);
    let images = open(root);
    let say = |text: String| {
        let mut log = std::fs::File::options().append(true).create(true).open(root.join("acknowledged")).unwrap();
        std::io::Write::write_all(&mut log, text.as_bytes()).unwrap();
    };
    for n in 0..4 {
        load(&images, &archive(n)).unwrap();
        say(format!("+image:{n}\n"));
    }
    images.delete("image:1", DeleteOptions::default(), &nobody).unwrap();
    say("-image:1\n".into());
    images.tag("image:2", &"image:0".parse().unwrap()).unwrap();
    images.prune(&Filters::default(), &nobody).unwrap();
    say("end\n".into());
}

fn check(point: &str) {
    let root = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::kill::victim", "--nocapture"])
        .env("IMAGE_VICTIM", root.path())
        .env(rorqual_metadata::failpoint::VARIABLE, point)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9), "{point}");
    let acknowledged = std::fs::read_to_string(root.path().join("acknowledged")).unwrap_or_default();
    let mut expected = BTreeSet::new();
    for line in acknowledged.lines() {
        match line.split_at(1) {
            ("+", name) => expected.insert(name.to_owned()),
            ("-", name) => expected.remove(name),
            _ => true,
        };
    }

    let images = open(root.path());
    images.snapshots.wait_for_deletions();
    let listed = images.list(&ListOptions { manifests: true, ..Default::default() }).unwrap();
    let there: BTreeSet<String> = listed.iter().flat_map(|image| image.repo_tags.clone()).collect();
    // What was under way may have happened or not.
    let missing: Vec<&String> = expected.difference(&there).collect();
    assert!(missing.is_empty() || missing == ["image:1"] && acknowledged.lines().count() == 4, "{point}: {missing:?}");
    assert!(there.difference(&expected).count() <= 1, "{point}: {there:?} against {expected:?}");
    let (mut layers, mut blobs) = (BTreeSet::from([rorqual_snapshot::BASE_LAYER.to_owned()]), BTreeSet::new());
    for image in &listed {
        let resolved = images.resolve(&image.id.to_string(), None).unwrap();
        for lower in resolved.lowers() {
            assert!(root.path().join("layers").join(&lower).join("fs").is_dir(), "{point}");
            layers.insert(lower);
        }
        let Node::Manifest(manifest) = images.node(&image.target).unwrap() else { panic!() };
        blobs.extend(manifest.layers.iter().map(|layer| layer.digest.hex()));
        blobs.extend([manifest.config.digest.hex(), image.id.hex()]);
    }
    let names = |path: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root.path().join(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("layers"), layers, "{point}");
    assert_eq!(names("content/blobs/sha256"), blobs, "{point}");
    assert!(names("content/ingest").is_empty() && names("trash").is_empty(), "{point}");
    load(&images, &archive(9)).unwrap();
}

use crate::documents::Node;

#[test]
fn killed_while_content_comes_in() {
    for point in
        ["content.ingested=kill", "content.finished=kill@2", "snapshot.unpacked=kill", "snapshot.renamed=kill@2"]
    {
        check(point);
    }
}

#[test]
fn killed_around_the_record() {
    for point in ["image.synced=kill", "image.synced=kill@2", "image.recorded=kill", "image.recorded=kill@3"] {
        check(point);
    }
}

#[test]
fn killed_in_a_removal() {
    for point in
        ["image.unrecorded=kill", "image.blobs-deleted=kill", "image.unrecorded=kill@3", "image.blobs-deleted=kill@2"]
    {
        check(point);
    }
}
