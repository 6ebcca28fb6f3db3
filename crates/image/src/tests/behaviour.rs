//! What docker 28.5 does with the containerd image store, as measured; and that nothing is left behind.

use super::{
    made::{Layout, docker_archive, layer, tar_of},
    *,
};
use crate::oci::media;
use rorqual_error::Kind;
use rorqual_metadata::Durability;
use rorqual_types::ContainerId;
use std::{collections::BTreeSet, io::Write};

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn one(tags: &[&str], text: &str) -> Vec<u8> {
    docker_archive(tags, &[layer("base", "base"), layer("own", text)], r#"{"Labels":{"x":"1"},"Cmd":["/own"]}"#)
}

fn items(deleted: Result<Deleted>) -> Result<Vec<String>> {
    Ok(deleted?.items.iter().map(ToString::to_string).collect())
}

fn files(root: &Path) -> (usize, usize) {
    let base = rorqual_snapshot::BASE_LAYER;
    let count = |path: &str| {
        let entries = std::fs::read_dir(root.join(path)).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name() != base).count()
    };
    (count("content/blobs/sha256"), count("layers"))
}

#[test]
fn loading_prints_names_or_the_id() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    assert_eq!(load(&images, &one(&["a:1", "a:2"], "x")).unwrap(), ["Loaded image: a:1", "Loaded image: a:2"]);
    let lines = load(&images, &one(&[], "y")).unwrap();
    assert!(lines[0].starts_with("Loaded image ID: sha256:"), "{lines:?}");
    assert_eq!(images.count(), 2);
    // The one without a name has one as soon as it is loaded with one.
    assert_eq!(load(&images, &one(&["b"], "y")).unwrap(), ["Loaded image: b:latest"]);
    assert_eq!(images.count(), 2);
    assert_eq!(names(&images).iter().map(|(_, tags)| tags.len()).sum::<usize>(), 3);
    let entries = images.history("a:1", None).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.created_by.as_str()).collect::<Vec<_>>(), ["step 1", "step 0"]);
    assert_eq!((entries[1].id.as_str(), entries[1].size), ("<missing>", 8192));
    assert_eq!(entries[0].tags.as_deref().unwrap(), ["a:1", "a:2"]);
}

#[test]
fn a_name_that_moves_leaves_an_image_without_a_name() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    load(&images, &one(&["a"], "x")).unwrap();
    load(&images, &one(&["a"], "y")).unwrap();
    let dangling = |wanted: &str| {
        let mut filters = Filters::default();
        filters.add("dangling", wanted);
        images.list(&ListOptions { filters, ..Default::default() }).unwrap()
    };
    let lost = dangling("true");
    assert_eq!((lost.len(), lost[0].repo_tags.len(), lost[0].repo_digests.len()), (1, 0, 0));
    assert_eq!(dangling("false")[0].repo_tags, ["a:latest"]);
    let pruned = images.prune(&Filters::default(), &nobody).unwrap();
    assert_eq!(pruned.items, [DeletedItem::Deleted(lost[0].id.to_string())]);
    assert!(pruned.reclaimed > 0);
    assert_eq!(images.count(), 1);
    images.tag("a", &reference("b:2")).unwrap();
    let mut all = Filters::default();
    all.add("dangling", "false");
    assert_eq!(images.prune(&all, &nobody).unwrap().items.len(), 3);
    assert_eq!(files(root.path()), (0, 0));
}

#[test]
fn words_find_images_as_in_docker() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    load(&images, &one(&["store/a:1"], "x")).unwrap();
    let id = images.resolve("store/a:1", None).unwrap().id;
    for word in [
        "docker.io/store/a:1".to_owned(),
        id.to_string(),
        id.hex(),
        name::short(&id),
        id.to_string()[..15].to_owned(),
        format!("store/a@{id}"),
    ] {
        assert_eq!(images.resolve(&word, None).unwrap().id, id, "{word}");
    }
    for (word, message) in [
        ("store/a", "No such image: store/a:latest"),
        ("store/b:1", "No such image: store/b:1"),
        ("sha256:0000", "No such image: sha256:0000"),
        ("abcdef012345", "No such image: abcdef012345:latest"),
        (&format!("store/b@{id}"), &format!("No such image: store/b@{id}")),
    ] {
        let error = images.resolve(word, None).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (message, Kind::NotFound));
    }
    assert_eq!(images.resolve("A:1", None).unwrap_err().kind(), Kind::InvalidArgument);
}

#[test]
fn removal_follows_names_and_containers() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let user = |running| {
        let image = images.resolve("a:1", None).or_else(|_| images.resolve("a:2", None)).unwrap().id;
        move || vec![User { id: ContainerId::from_random([7; 32]), running, image, reference: "a:1".into() }]
    };
    let no = DeleteOptions::default;
    let force = || DeleteOptions { force: true, ..Default::default() };
    load(&images, &one(&["a:1", "a:2"], "x")).unwrap();
    let id = images.resolve("a:1", None).unwrap().id;
    let short = name::short(&id);
    let many =
        format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories");
    assert_eq!(images.delete(&short, no(), &nobody).unwrap_err().to_string(), many);
    let (stopped, running) = (user(false), user(true));
    assert_eq!(items(images.delete("a:1", no(), &running)).unwrap(), ["Untagged: a:1"]);
    let used = format!(
        "conflict: unable to delete a:2 (must be forced) - container 070707070707 is using its referenced image {short}"
    );
    assert_eq!(images.delete("a:2", no(), &stopped).unwrap_err().to_string(), used);
    let stop = format!(
        "conflict: unable to delete {short} (must be forced) - image is being used by stopped container 070707070707"
    );
    assert_eq!(images.delete(&short, no(), &stopped).unwrap_err().to_string(), stop);
    let hard = format!(
        "conflict: unable to delete {short} (cannot be forced) - image is being used by running container 070707070707"
    );
    assert_eq!(images.delete(&short, force(), &running).unwrap_err().to_string(), hard);
    // By force, and by its last name, a running container's image loses the name only.
    assert_eq!(items(images.delete("a:2", force(), &running)).unwrap(), ["Untagged: a:2"]);
    assert_eq!(images.count(), 1);
    assert_eq!(items(images.delete(&short, no(), &nobody)).unwrap(), [format!("Deleted: {id}")]);
    assert_eq!(images.delete("a:2", no(), &nobody).unwrap_err().to_string(), "No such image: a:2");
    assert_eq!(files(root.path()), (0, 0));

    load(&images, &one(&["a:1", "b:1"], "x")).unwrap();
    let deleted = images.delete(&short, force(), &nobody).unwrap();
    assert_eq!(deleted.events.iter().map(|event| event.action).collect::<Vec<_>>(), ["untag", "untag", "delete"]);
}

#[test]
fn a_containers_layers_stay_until_it_goes() {
    let root = tempfile::tempdir().unwrap();
    let (id, lowers) = {
        let images = open(root.path());
        load(&images, &one(&["a"], "x")).unwrap();
        let image = images.resolve("a", None).unwrap();
        let id = ContainerId::from_random([1; 32]);
        let mut transaction = images.store.begin();
        images.hold(&mut transaction, &id, &image).unwrap();
        transaction.commit(Durability::Grouped).unwrap();
        images.delete("a", DeleteOptions { force: true, ..Default::default() }, &nobody).unwrap();
        (id, image.lowers())
    };
    let images = open(root.path());
    assert_eq!(files(root.path()), (0, 2));
    assert_eq!(images.held(&id).unwrap().unwrap().lowers, lowers);
    images.retain_holds(&BTreeSet::from([id.clone()])).unwrap();
    assert_eq!(files(root.path()), (0, 2));
    images.retain_holds(&BTreeSet::new()).unwrap();
    assert_eq!(files(root.path()), (0, 0));
}

#[test]
fn save_and_load_keep_every_digest() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let mut layout = Layout::default();
    let amd64 = layout.image(&[layer("a", "amd64")], "amd64", media::LAYER_GZIP, gzip);
    let arm64 = layout.image(&[layer("a", "arm64")], "arm64", media::LAYER_ZSTD, zstd);
    let platform = |architecture: &str| format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}"#);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
        media::INDEX,
        Layout::descriptor(media::MANIFEST, &arm64, &platform("arm64")),
        Layout::descriptor(media::MANIFEST, &amd64, &platform("amd64"))
    );
    layout.blob(index.as_bytes());
    layout.name(media::INDEX, index.as_bytes(), "docker.io/library/multi:1");
    layout.name(media::MANIFEST, &arm64, "docker.io/library/arm:1");

    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    assert_eq!(load(&images, &layout.archive()).unwrap(), ["Loaded image: multi:1", "Loaded image: arm:1"]);
    let multi = images.resolve("multi:1", None).unwrap();
    assert_eq!(
        (multi.id, multi.platform.to_string().as_str()),
        (rorqual_content::digest(index.as_bytes()), "linux/amd64")
    );
    let arm = images.resolve("multi:1", Some(&"linux/arm64".parse().unwrap())).unwrap();
    assert_eq!(arm.manifest.digest, rorqual_content::digest(&arm64));
    assert_ne!(arm.lowers, multi.lowers);
    assert_eq!(images.resolve("arm:1", None).unwrap().platform.to_string(), "linux/arm64");
    assert!(images.resolve("arm:1", Some(&"linux/amd64".parse().unwrap())).is_err());
    assert_eq!(images.inspect("multi:1", None, true).unwrap().manifests.unwrap().len(), 2);

    let save = |images: &Images| {
        let mut saved = Vec::new();
        images.save(&["multi:1".into(), "arm:1".into()], None, &mut saved).unwrap();
        saved
    };
    let saved = save(&images);
    let other_root = tempfile::tempdir().unwrap();
    let other = open(other_root.path());
    let mut lines = load(&other, &gzip(&saved)).unwrap();
    lines.sort();
    assert_eq!(lines, ["Loaded image: arm:1", "Loaded image: multi:1"]);
    assert_eq!(names(&other), names(&images));
    assert_eq!(save(&other), saved);
    let mut lost = Vec::new();
    assert!(other.save(&["multi:1".into(), "nope".into()], None, &mut lost).is_err());
    assert!(lost.is_empty());
}

#[test]
fn an_import_is_an_image_of_one_layer() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    for (n, archive) in [layer("a", "b"), zstd::encode_all(layer("a", "c").as_slice(), 1).unwrap()].iter().enumerate() {
        let options = ImportOptions {
            reference: Some(reference(&format!("imported:{n}"))),
            message: "hello".into(),
            changes: vec!["CMD [\"sleep\"]".into()],
            ..Default::default()
        };
        let mut said = Vec::new();
        let (id, events) = images.import(&mut archive.as_slice(), options, &mut |line| said.push(line)).unwrap();
        assert_eq!(events.iter().map(|event| event.action).collect::<Vec<_>>(), ["tag", "import"]);
        assert!(matches!(&said[..], [Progress::Status { status, .. }] if *status == id.to_string()));
        let image = images.inspect(&format!("imported:{n}"), None, false).unwrap();
        assert_eq!(image.config.unwrap().config.cmd.clone().unwrap(), ["sleep"]);
    }
    let bad = ImportOptions { changes: vec!["RUN x".into()], ..Default::default() };
    assert!(images.import(&mut layer("a", "b").as_slice(), bad, &mut |_| {}).is_err());
    let garbage = images.import(&mut [1u8; 700].as_slice(), ImportOptions::default(), &mut |_| {});
    assert_eq!(garbage.unwrap_err().kind(), Kind::InvalidArgument);
    assert_eq!(files(root.path()), (6, 2));
}

#[test]
fn filters_choose_images() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    load(&images, &one(&["a:1", "repo/b:2"], "x")).unwrap();
    load(&images, &docker_archive(&["c"], &[layer("c", "c")], "{}")).unwrap();
    for (filter, value, expected) in [
        ("reference", "a", 1),
        ("reference", "*/*:2", 1),
        ("reference", "nope", 0),
        ("label", "x", 1),
        ("label", "x=2", 0),
        ("until", "24h", 2),
        ("until", "2024-01-01", 0),
        ("before", "c", 0),
        ("since", "a:1", 0),
    ] {
        let mut filters = Filters::default();
        filters.add(filter, value);
        let list = images.list(&ListOptions { filters, ..Default::default() }).unwrap();
        assert_eq!(list.len(), expected, "{filter}={value}");
    }
    let mut unknown = Filters::default();
    unknown.add("colour", "red");
    let error = images.list(&ListOptions { filters: unknown, ..Default::default() }).unwrap_err();
    assert_eq!(error.to_string(), "invalid filter 'colour'");
}

#[test]
fn a_layer_that_had_not_settled_is_unpacked_again_after_a_power_cut() {
    let root = tempfile::tempdir().unwrap();
    let id = ContainerId::from_random([2; 32]);
    let lowers = {
        let images = open(root.path());
        load(&images, &one(&["a"], "x")).unwrap();
        let image = images.resolve("a", None).unwrap();
        let mut transaction = images.store.begin();
        images.hold(&mut transaction, &id, &image).unwrap();
        transaction.commit(Durability::Grouped).unwrap();
        image.lowers()
    };
    // As an earlier boot left it: recorded, not settled, and half written.
    let top = root.path().join("layers").join(&lowers[0]).join("fs");
    std::fs::write(top.join("own"), "").unwrap();
    {
        let store = Store::open(&root.path().join("meta")).unwrap();
        let table: Table<ChainId, LayerRecord> = store.table("image.layers");
        for (chain, mut record) in table.list().unwrap() {
            record.unsynced = Some("an earlier boot".into());
            table.put(&chain, &record, Durability::Synced).unwrap();
        }
    }
    let images = open(root.path());
    assert_eq!(std::fs::read_to_string(top.join("own")).unwrap(), "x");
    assert_eq!(images.held(&id).unwrap().unwrap().lowers, lowers);
    assert_eq!(images.resolve("a", None).unwrap().lowers(), lowers);
}

#[test]
fn opening_fifty_images_reads_no_tree() {
    let root = tempfile::tempdir().unwrap();
    {
        let images = open(root.path());
        for n in 0..50 {
            let archive =
                docker_archive(&[&format!("image:{n}")], &[layer("base", "b"), layer("own", &n.to_string())], "{}");
            load(&images, &archive).unwrap();
        }
    }
    let begin = std::time::Instant::now();
    let images = open(root.path());
    let opened = begin.elapsed();
    assert_eq!((images.count(), images.list(&ListOptions::default()).unwrap().len()), (50, 50));
    println!("open with 50 images: {opened:?}, with a list: {:?}", begin.elapsed());
    assert!(opened.as_millis() < 1000, "{opened:?}");
    let _ = tar_of::<&str, &str>(&[]);
}
