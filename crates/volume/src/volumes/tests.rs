use super::*;
use std::os::unix::fs::{MetadataExt, symlink};

struct Fixture {
    directory: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("meta")).unwrap();
        Self { directory, store }
    }

    fn open(&self) -> Volumes {
        Volumes::open(self.directory.path().join("volumes"), &self.store).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn named(name: &str) -> CreateVolume {
    CreateVolume { name: Some(name.into()), ..CreateVolume::default() }
}

fn id(n: u8) -> ContainerId {
    ContainerId::from_random([n; 32])
}

fn filters(pairs: &[(&str, &str)]) -> Filters {
    let mut filters = Filters::default();
    pairs.iter().for_each(|(name, value)| filters.add(*name, *value));
    filters
}

fn names(volumes: &Volumes, pairs: &[(&str, &str)]) -> Vec<String> {
    volumes.list(&filters(pairs)).unwrap().iter().map(|volume| volume.name.to_string()).collect()
}

#[test]
fn a_volume_outlives_the_daemon() {
    let fixture = Fixture::new();
    let (made, new) = fixture.open().create(&named("data")).unwrap();
    assert!(new);
    fs::write(made.mountpoint.join("file"), "x").unwrap();
    let volumes = fixture.open();
    assert_eq!(volumes.create(&named("data")).unwrap(), (made.clone(), false));
    assert_eq!(volumes.get("data").unwrap(), made);
    assert_eq!(volumes.usage(&"data".parse().unwrap()).unwrap(), 3 * 4096, "two directories and a file");
    assert_eq!(fs::metadata(fixture.path("volumes/data")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(made.mountpoint).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn errors_are_dockers() {
    let fixture = Fixture::new();
    let volumes = fixture.open();
    let error = |request: CreateVolume| volumes.create(&request).unwrap_err().to_string();
    assert_eq!(
        error(named("x")),
        "create x: volume name is too short, names should be at least two alphanumeric characters"
    );
    assert!(error(named("bad/name")).starts_with("create bad/name: \"bad/name\" includes invalid characters"));
    assert_eq!(
        error(CreateVolume { driver: "nosuch".into(), ..named("v3") }),
        "create v3: error looking up volume plugin nosuch: plugin \"nosuch\" not found"
    );
    let options = BTreeMap::from([("foo".to_owned(), "bar".to_owned())]);
    assert_eq!(error(CreateVolume { options, ..named("v4") }), "create v4: invalid option: \"foo\"");
    assert_eq!(volumes.get("nosuch").unwrap_err().to_string(), "get nosuch: no such volume");
    assert_eq!(volumes.remove("nosuch", false).unwrap_err().to_string(), "get nosuch: no such volume");
    assert!(!volumes.remove("nosuch", true).unwrap());
    assert!(names(&volumes, &[]).is_empty());
}

#[test]
fn a_used_volume_is_not_removed() {
    let fixture = Fixture::new();
    let volumes = fixture.open();
    volumes.create_for(&named("data"), &id(1)).unwrap();
    volumes.acquire("data", &id(2)).unwrap();
    let error = volumes.remove("data", true).unwrap_err();
    assert_eq!(error.to_string(), format!("remove data: volume is in use - [{}, {}]", id(1), id(2)));
    assert!(volumes.release(&id(1)).is_empty());
    assert_eq!(volumes.users("data"), [id(2)]);
    volumes.release(&id(2));
    assert!(volumes.remove("data", false).unwrap());
    assert!(!fixture.path("volumes/data").exists());
    assert!(fixture.open().get("data").is_err());
}

#[test]
fn an_anonymous_volume_is_told_to_go_with_its_last_container() {
    let fixture = Fixture::new();
    let volumes = fixture.open();
    let (volume, _) = volumes.create_for(&CreateVolume::default(), &id(1)).unwrap();
    assert!(volume.anonymous && volume.labels.contains_key("com.docker.volume.anonymous"));
    volumes.acquire(volume.name.as_str(), &id(2)).unwrap();
    assert!(volumes.release(&id(1)).is_empty());
    assert_eq!(volumes.release(&id(2)), [volume.name]);
}

#[test]
fn lists_are_filtered() {
    let fixture = Fixture::new();
    let volumes = fixture.open();
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    volumes.create(&CreateVolume { labels, ..named("net-v1") }).unwrap();
    volumes.create_for(&named("net-v2"), &id(1)).unwrap();
    assert_eq!(names(&volumes, &[]), ["net-v1", "net-v2"]);
    assert_eq!(names(&volumes, &[("dangling", "true")]), ["net-v1"]);
    assert_eq!(names(&volumes, &[("dangling", "0")]), ["net-v2"]);
    assert_eq!(names(&volumes, &[("name", "v2")]), ["net-v2"]);
    assert_eq!(names(&volumes, &[("label", "a=b")]), ["net-v1"]);
    assert!(names(&volumes, &[("driver", "nfs")]).is_empty());
    let error = |pairs: &[(&str, &str)]| volumes.list(&filters(pairs)).unwrap_err().to_string();
    assert_eq!(error(&[("colour", "red")]), "invalid filter 'colour'");
    assert_eq!(error(&[("dangling", "bogus")]), "invalid filter 'dangling=[bogus]'");
}

#[test]
fn prune_takes_the_anonymous_unless_told_all() {
    let fixture = Fixture::new();
    let volumes = fixture.open();
    let (anonymous, _) = volumes.create(&CreateVolume::default()).unwrap();
    fs::write(anonymous.mountpoint.join("file"), "12345").unwrap();
    volumes.create(&named("named")).unwrap();
    volumes.create_for(&named("used"), &id(1)).unwrap();
    let pruned = volumes.prune(&filters(&[])).unwrap();
    assert_eq!(pruned, Pruned { names: vec![anonymous.name.to_string()], reclaimed: 3 * 4096 });
    assert_eq!(volumes.prune(&filters(&[("all", "1")])).unwrap().names, ["named"]);
    assert_eq!(names(&volumes, &[]), ["used"]);
    assert_eq!(volumes.prune(&filters(&[("foo", "bar")])).unwrap_err().to_string(), "invalid filter 'foo'");
}

#[test]
fn what_a_crash_left_is_finished() {
    let fixture = Fixture::new();
    let volumes = fixture.open();
    let (volume, _) = volumes.create(&named("going")).unwrap();
    fs::write(volume.mountpoint.join("file"), "x").unwrap();
    let mut record = volumes.table.get(&"going".to_owned()).unwrap().unwrap();
    record.removing = true;
    volumes.table.put(&"going".to_owned(), &record, Durability::Grouped).unwrap();
    fs::create_dir_all(fixture.path("volumes/unborn/_data")).unwrap();
    fs::create_dir_all(fixture.path("volumes/.trash-1-1-old/_data")).unwrap();
    fs::create_dir_all(fixture.path("volumes/unknown/_data/precious")).unwrap();
    let volumes = fixture.open();
    assert!(names(&volumes, &[]).is_empty());
    assert!(!fixture.path("volumes/unborn").exists());
    assert!(fixture.path("volumes/unknown/_data/precious").exists());
    let gone = || fs::read_dir(fixture.path("volumes")).unwrap().count() == 1;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !gone() && std::time::Instant::now() < end {
        thread::yield_now();
    }
    assert!(gone(), "trash is left");
}

/// A layer with a little of everything.
fn layer(root: &Path) {
    fs::create_dir_all(root.join("d/sub")).unwrap();
    fs::write(root.join("d/file"), "hello").unwrap();
    fs::hard_link(root.join("d/file"), root.join("d/sub/again")).unwrap();
    symlink("/etc/passwd", root.join("d/link")).unwrap();
    symlink("/d", root.join("way")).unwrap();
    let fifo = root.join("d/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    rustix::fs::lsetxattr(root.join("d/file"), "user.tag", b"v", rustix::fs::XattrFlags::empty()).unwrap();
    fs::set_permissions(root.join("d/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o1777)).unwrap();
}

fn check_copy(data: &Path) {
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "hello");
    let (file, again) = (fs::metadata(data.join("file")).unwrap(), fs::metadata(data.join("sub/again")).unwrap());
    assert_eq!((file.ino(), file.nlink(), file.mode() & 0o7777), (again.ino(), 2, 0o640));
    assert_eq!(fs::read_link(data.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::metadata(data).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::symlink_metadata(data.join("pipe")).unwrap().mode() & 0o170_000, 0o010_000);
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(data.join("file"), "user.tag", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"v");
}

#[test]
fn an_empty_volume_is_filled_from_the_image_once() {
    let fixture = Fixture::new();
    let volumes = fixture.open();
    let lower = fixture.path("layer");
    layer(&lower);
    let lowers = [lower.clone()];
    let (volume, _) = volumes.create(&named("data")).unwrap();
    assert!(!volumes.copy_up("data", &lowers, Path::new("/nonexistent")).unwrap());
    let error = volumes.copy_up("data", &lowers, Path::new("/d/file")).unwrap_err();
    assert_eq!(error.to_string(), "source /d/file is not directory");
    // By way of a link in the image, which leads within it.
    assert!(volumes.copy_up("data", &lowers, Path::new("/way")).unwrap());
    check_copy(&volume.mountpoint);
    fs::write(lower.join("d/more"), "x").unwrap();
    assert!(!volumes.copy_up("data", &lowers, Path::new("/d")).unwrap());
    assert!(!volume.mountpoint.join("more").exists());
    assert_eq!(fs::read_dir(fixture.path("volumes/data")).unwrap().count(), 1);
}

#[test]
fn a_link_in_the_image_does_not_lead_out_of_it() {
    let fixture = Fixture::new();
    let volumes = fixture.open();
    let lower = fixture.path("layer");
    fs::create_dir_all(&lower).unwrap();
    symlink("/etc", lower.join("d")).unwrap();
    symlink("../../../../../../etc", lower.join("e")).unwrap();
    volumes.create(&named("data")).unwrap();
    for path in ["/d", "/e", "/../../etc"] {
        assert!(!volumes.copy_up("data", std::slice::from_ref(&lower), Path::new(path)).unwrap(), "{path}");
    }
}

#[test]
fn layers_are_seen_as_one_and_mounts_are_undone() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let fixture = Fixture::new();
    let volumes = fixture.open();
    let (bottom, top) = (fixture.path("bottom"), fixture.path("top"));
    layer(&bottom);
    fs::write(bottom.join("d/gone"), "x").unwrap();
    fs::create_dir_all(top.join("d")).unwrap();
    fs::set_permissions(top.join("d"), fs::Permissions::from_mode(0o1777)).unwrap();
    let whiteout = top.join("d/gone");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &whiteout,
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .unwrap();
    let (volume, _) = volumes.create(&named("data")).unwrap();
    assert!(volumes.copy_up("data", &[top, bottom], Path::new("/d")).unwrap());
    check_copy(&volume.mountpoint);
    assert!(!volume.mountpoint.join("gone").exists());

    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=1000")];
    let options: BTreeMap<_, _> = options.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let (tmpfs, _) = volumes.create(&CreateVolume { options, ..named("mem") }).unwrap();
    volumes.mount("mem", &id(1)).unwrap();
    volumes.mount("mem", &id(2)).unwrap();
    assert_eq!(fs::metadata(&tmpfs.mountpoint).unwrap().uid(), 1000);
    // The next daemon finds it mounted.
    let volumes = fixture.open();
    volumes.mount("mem", &id(2)).unwrap();
    volumes.unmount_unused();
    assert_eq!(fs::metadata(&tmpfs.mountpoint).unwrap().uid(), 1000);
    volumes.unmount(&id(2));
    assert_eq!(fs::metadata(&tmpfs.mountpoint).unwrap().uid(), 0);
    let missing = [("type", "none"), ("o", "bind"), ("device", "/nonexistent")];
    let options: BTreeMap<_, _> = missing.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let (bind, _) = volumes.create(&CreateVolume { options, ..named("bind") }).unwrap();
    let at = bind.mountpoint.display();
    assert_eq!(
        volumes.mount("bind", &id(1)).unwrap_err().to_string(),
        format!(
            "error while mounting volume '{at}': failed to mount local volume: mount /nonexistent:{at}, flags: 0x1000: no such \
             file or directory"
        )
    );
}
