//! `system fsck` finds each kind of damage, repairs what can be repaired, and says so by its exit status.

use crate::{image, load, rorqual};
use rorqual_testkit::{Archive, Daemon, archive::Tar};
use serde_json::json;
use std::{fs, os::unix::fs::FileExt, path::PathBuf};

fn entries(directory: PathBuf) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).expect("list").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths
}

/// Changes one byte of a file.
fn flip(path: &PathBuf) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 700).expect("read");
    file.write_all_at(&[!byte[0]], 700).expect("write");
}

fn blob_of(daemon: &Daemon, bytes: &[u8]) -> PathBuf {
    daemon.data_root().join("content/blobs/sha256").join(rorqual_testkit::archive::sha256(bytes))
}

#[test]
fn each_kind_of_damage_is_found_and_repaired() {
    let mut daemon = Daemon::start("fsck");
    let plain = image("plain:1", 300_000, 41);
    load(&daemon, &plain.docker_archive());
    let packed = Tar::new().file("packed", 0o644, &crate::noise(300_000, 42)).finish();
    load(&daemon, &Archive::new("packed:1", json!({})).layer(packed.clone()).oci_archive(Some("gzip")));
    let lost = image("lost:1", 200_000, 43);
    load(&daemon, &lost.docker_archive());
    daemon.docker(["volume", "create", "good"]).ok();
    daemon.docker(["volume", "create", "hollow"]).ok();
    let good = rorqual(&daemon, &["system", "fsck"]);
    assert!(good.code == 0 && good.stdout.contains("0 repaired, 0 left"), "{good}");

    let root = daemon.data_root();
    let orphan = "0".repeat(64);
    // a blob, and with it the layer that is the same file, or else a copy
    flip(&blob_of(&daemon, &plain.layers[0]));
    // the archive of a layer whose blob is compressed
    let archived = root.join("layers").join(rorqual_testkit::archive::sha256(&packed)).join("layer.tar");
    let archives = archived.exists();
    if archives {
        flip(&archived);
    }
    fs::remove_file(blob_of(&daemon, &lost.layers[0])).expect("remove a blob");
    fs::write(root.join("content/blobs/sha256").join(&orphan), "orphan").expect("write a blob");
    fs::create_dir_all(root.join("layers").join(&orphan).join("fs")).expect("make a layer");
    fs::create_dir_all(root.join("containers").join(&orphan).join("rw")).expect("make a container");
    fs::create_dir_all(root.join("volumes/found/_data")).expect("make a volume");
    fs::write(root.join("volumes/found/_data/file"), "data").expect("write");
    fs::remove_dir(root.join("volumes/hollow/_data")).expect("remove a volume's data");
    fs::write(root.join("stray"), "x").expect("write");

    let found = rorqual(&daemon, &["system", "fsck"]);
    assert_eq!(found.code, 4, "{found}");
    let mut wanted = vec![
        format!("blob sha256:{orphan} belongs to nothing"),
        format!("layer sha256:{orphan} belongs to nothing"),
        format!("container {orphan} has files and no record"),
        "volume found has data and no record".to_owned(),
        "volume hollow has no data directory".to_owned(),
        "data root entry stray is not the daemon's".to_owned(),
        format!("blob sha256:{} has the digest", rorqual_testkit::archive::sha256(&plain.layers[0])),
        format!("blob sha256:{} is missing", rorqual_testkit::archive::sha256(&lost.layers[0])),
    ];
    if archives {
        wanted.push(format!("layer sha256:{} has the digest", rorqual_testkit::archive::sha256(&packed)));
        wanted.push(format!("layer sha256:{} has the digest", rorqual_testkit::archive::sha256(&plain.layers[0])));
    }
    for text in &wanted {
        assert!(found.stdout.contains(text.as_str()), "{text} in {found}");
    }
    assert!(!found.stdout.contains("volume good"), "{found}");
    assert_eq!(rorqual(&daemon, &["system", "fsck"]).stdout, found.stdout, "a check changes nothing");

    let data_root = root.display().to_string();
    let busy = rorqual(&daemon, &["system", "fsck", "--data-root", &data_root]);
    assert!(busy.code == 8 && busy.stderr.contains("another daemon uses this data root"), "{busy}");
    let repaired = rorqual(&daemon, &["system", "fsck", "--repair"]);
    assert_eq!(repaired.code, 4, "the stray file and what is lost stay: {repaired}");
    fs::remove_file(root.join("stray")).expect("remove");
    let after = rorqual(&daemon, &["system", "fsck"]);
    assert_eq!(after.code, 4, "two images lack a layer: {after}");
    for name in ["plain:1", "lost:1"] {
        assert!(after.stdout.contains(&format!("image docker.io/library/{name} lacks 1 of its")), "{after}");
    }
    // What was damaged comes back whole, and runs.
    load(&daemon, &plain.docker_archive());
    load(&daemon, &lost.docker_archive());
    let container = daemon.docker(["create", "packed:1", "x"]).ok();
    daemon.docker(["rm", container.trim()]).ok();
    let whole = rorqual(&daemon, &["system", "fsck"]);
    assert_eq!(whole.code, 0, "{whole}");
    assert_eq!(fs::read_to_string(root.join("volumes/found/_data/file")).expect("read"), "data");
    assert_eq!(daemon.docker(["volume", "inspect", "-f", "{{.Name}}", "found"]).ok(), "found\n");

    // The same on a data root without a daemon.
    daemon.stop();
    let offline = |words: &[&str]| {
        let mut all = vec!["system", "fsck", "--data-root", &data_root];
        all.extend(words);
        rorqual(&daemon, &all)
    };
    let quiet = offline(&[]);
    assert_eq!(quiet.code, 0, "{quiet}");
    fs::create_dir_all(root.join("layers").join(&orphan).join("fs")).expect("make a layer");
    let layer = entries(root.join("layers")).into_iter().find(|path| path.join("index.erofs").exists());
    if let Some(layer) = &layer {
        // its index is mounted still
        fs::rename(layer, daemon.root.join("moved")).expect("move a layer away");
    }
    assert_eq!(offline(&[]).code, 4);
    let repaired = offline(&["--repair"]);
    assert_eq!(repaired.code, 1, "{repaired}");
    assert_eq!(offline(&[]).code, 0);
    let nothing = rorqual(&daemon, &["system", "fsck", "--data-root", "/nonexistent"]);
    assert!(nothing.code == 8 && nothing.stderr.contains("is no data root"), "{nothing}");
    daemon.boot();
    for name in ["plain:1", "packed:1", "lost:1"] {
        let container = daemon.docker(["create", name, "x"]).ok();
        daemon.docker(["rm", container.trim()]).ok();
    }
    daemon.finish();
}
