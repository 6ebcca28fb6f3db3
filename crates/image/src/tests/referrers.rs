//! What refers to an image comes, goes and stays with it.

use super::{
    made::{Layout, layer},
    remote::{Fake, Sunk, files, gzip, pull, push},
    *,
};
use crate::oci::{Descriptor, media};
use rorqual_content::digest;

/// The manifest of an artifact about `subject`, of one blob; and its descriptor, as a registry that lies a little
/// lists it.
fn artifact(subject: &[u8], blob: &[u8]) -> (Vec<u8>, Descriptor) {
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"application/x.signature","config":{},"layers":[{}],
            "subject":{},"annotations":{{"by":"us","io.containerd.image.name":"docker.io/library/evil:1"}}}}"#,
        media::MANIFEST,
        Layout::descriptor("application/vnd.oci.empty.v1+json", b"{}", ""),
        Layout::descriptor("application/x.signature.blob", blob, ""),
        Layout::descriptor(media::MANIFEST, subject, "")
    )
    .into_bytes();
    let mut listed = Descriptor::new(media::MANIFEST, digest(&manifest), manifest.len() as u64);
    listed.artifact_type = "application/another.type".into();
    (manifest, listed)
}

/// A registry with an image of one manifest, signed twice.
fn signed() -> (Fake, Vec<u8>, [Descriptor; 2]) {
    let mut fake = Fake::default();
    let image = fake.image(&[layer("own", "x")], "amd64", gzip);
    fake.root = Some((media::MANIFEST.into(), image.clone()));
    fake.put(b"{}");
    let listed = [b"one".as_slice(), b"two"].map(|blob| {
        fake.put(blob);
        let (manifest, listed) = artifact(&image, blob);
        fake.put(&manifest);
        listed
    });
    fake.referrers.insert(digest(&image), listed.to_vec());
    (fake, image, listed)
}

/// The digests of what is known to refer to the image, in order.
fn kept(images: &Images, name: &str) -> Vec<Digest> {
    let found = images.inspect(name, None, false).unwrap().referrers;
    found.iter().map(|referrer| referrer.descriptor.digest).collect()
}

#[test]
fn referrers_live_and_go_with_their_image() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let (fake, image, listed) = signed();
    pull(&images, &fake, "r:5000/a:1").unwrap();
    let found = images.inspect("r:5000/a:1", None, false).unwrap().referrers;
    assert_eq!(found.iter().map(|one| one.subject).collect::<Vec<_>>(), [digest(&image); 2]);
    // described by what it says of itself; a name in an artifact names nothing
    assert_eq!(found[0].descriptor.artifact_type, "application/x.signature");
    assert_eq!(found[0].descriptor.annotations, [("by".to_owned(), "us".to_owned())].into());
    // manifest, configuration, layer; two artifacts with a blob each, and the empty configuration
    assert_eq!(files(root.path()), [8, 0, 1]);

    // they are known after a restart, and nothing else removes them
    drop(images);
    let images = open(root.path());
    images.collect_garbage().unwrap();
    assert_eq!(kept(&images, "r:5000/a:1"), listed.clone().map(|one| one.digest));
    images.tag("r:5000/a:1", &"r:5000/b:1".parse().unwrap()).unwrap();
    images.delete("r:5000/a:1", DeleteOptions::default(), &nobody).unwrap();
    assert_eq!(kept(&images, "r:5000/b:1").len(), 2);
    images.delete("r:5000/b:1", DeleteOptions::default(), &nobody).unwrap();
    images.snapshots.wait_for_deletions();
    assert_eq!(files(root.path()), [0, 0, 0]);
    assert!(images.state().referrers.is_empty());
}

#[test]
fn a_later_pull_brings_what_was_signed_since() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let (mut fake, image, listed) = signed();
    fake.referrers.insert(digest(&image), vec![listed[0].clone()]);
    pull(&images, &fake, "r:5000/a:1").unwrap();
    fake.referrers.insert(digest(&image), vec![listed[1].clone()]);
    let (again, _) = pull(&images, &fake, "r:5000/a:1").unwrap();
    assert!(!again.newer);
    assert_eq!(kept(&images, "r:5000/a:1"), listed.map(|one| one.digest));
}

#[test]
fn a_referrer_that_is_not_what_it_says_is_left_out() {
    let (_, image, _) = signed();
    let (other, _) = artifact(b"another image", b"one");
    let (missing, _) = artifact(&image, b"never sent");
    let mut huge = String::from_utf8(artifact(&image, b"one").0).unwrap();
    huge = huge.replace("\"size\":3}", "\"size\":68000000000}");
    for (what, manifest) in [("about another", other), ("a blob is missing", missing), ("huge", huge.into_bytes())] {
        let root = tempfile::tempdir().unwrap();
        let images = open(root.path());
        let (mut fake, image, _) = signed();
        fake.put(&manifest);
        let listed = Descriptor::new(media::MANIFEST, digest(&manifest), manifest.len() as u64);
        fake.referrers.insert(digest(&image), vec![listed]);
        pull(&images, &fake, "r:5000/a:1").unwrap();
        assert!(kept(&images, "r:5000/a:1").is_empty(), "{what}");
        assert_eq!(files(root.path()), [3, 0, 1], "{what}");
    }
}

#[test]
fn more_referrers_than_the_limit_stay_in_the_registry() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let (mut fake, image, _) = signed();
    let listed = (0..crate::referrers::REFERRERS_MAX + 1).map(|number| {
        let blob = number.to_string();
        fake.put(blob.as_bytes());
        let (manifest, listed) = artifact(&image, blob.as_bytes());
        fake.put(&manifest);
        listed
    });
    let listed = listed.collect();
    fake.referrers.insert(digest(&image), listed);
    pull(&images, &fake, "r:5000/a:1").unwrap();
    assert_eq!(kept(&images, "r:5000/a:1").len(), crate::referrers::REFERRERS_MAX);
}

#[test]
fn a_push_sends_them_after_what_they_are_about() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let (fake, image, listed) = signed();
    pull(&images, &fake, "r:5000/a:1").unwrap();
    let sunk = Sunk::default();
    *sunk.referrers.lock().unwrap() = Some(Vec::new());
    push(&images, &sunk, "r:5000/a:1").unwrap();
    let sent = sunk.referrers.lock().unwrap().clone().unwrap();
    assert_eq!(sent, listed.clone().map(|one| (digest(&image), one.digest)));
    for blob in [b"one".as_slice(), b"two", b"{}"] {
        assert!(sunk.blobs.lock().unwrap().contains_key(&digest(blob)));
    }
    // A registry that takes no artifacts has the image all the same, and it is told.
    let (pushed, lines) = push(&images, &Sunk::default(), "r:5000/a:1").unwrap();
    assert_eq!(pushed.target.digest, digest(&image));
    let told = "Referrer application/x.signature was not pushed: manifest invalid";
    let count = lines.iter().filter(|line| matches!(line, Progress::Status { status, .. } if status == told)).count();
    assert_eq!(count, 2, "{lines:?}");
}

#[test]
fn an_archive_holds_them_too() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let (fake, image, listed) = signed();
    pull(&images, &fake, "r:5000/a:1").unwrap();
    let mut archive = Vec::new();
    images.save(&["r:5000/a:1".to_owned()], None, &mut archive).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let others = open(elsewhere.path());
    load(&others, &archive).unwrap();
    assert_eq!(others.count(), 1, "an artifact is no image");
    assert_eq!(kept(&others, "r:5000/a:1"), listed.map(|one| one.digest));
    assert_eq!(files(elsewhere.path()), [8, 0, 1]);

    // about what is not in the archive: it goes with the rest of it
    let mut layout = Layout::default();
    let own = layout.image(&[layer("a", "y")], "amd64", media::LAYER_GZIP, gzip);
    layout.name(media::MANIFEST, &own, "r:5000/own:1");
    let (stray, _) = artifact(&image, b"one");
    for blob in [stray.as_slice(), b"{}", b"one"] {
        layout.blob(blob);
    }
    layout.name(media::MANIFEST, &stray, "");
    let third = tempfile::tempdir().unwrap();
    let images = open(third.path());
    load(&images, &layout.archive()).unwrap();
    assert!(kept(&images, "r:5000/own:1").is_empty());
    assert_eq!(files(third.path()), [3, 0, 1]);
}
