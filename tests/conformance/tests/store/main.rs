//! The store gives its disk back: `system df` is what `du` says, nothing on the disk belongs to nothing, and an emptied
//! node takes next to none.
//!
//! `RORQUAL_STORE_OPS` sets the length of the random history (200), `RORQUAL_STORE_KILLS` how often the daemon is killed
//! in it (a tenth of that), `RORQUAL_STORE_LAYERS` what layers are kept as (`directories`), `RORQUAL_SEED` repeats a run.

#![forbid(unsafe_code)]

mod budget;
mod fsck;
mod history;
mod oracle;

use rorqual_testkit::{Archive, Daemon, Finished, archive::Tar, command, places};
use serde_json::json;
use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::Path, process::Command};

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 33)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image of one layer of so many bytes.
fn image(name: &str, bytes: usize, seed: u64) -> Archive {
    let layer = Tar::new().file(&format!("data-{seed}"), 0o644, &noise(bytes, seed)).finish();
    Archive::new(name, json!({"Cmd": ["/data"]})).layer(layer)
}

fn load(daemon: &Daemon, archive: &[u8]) {
    let answer = daemon.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(archive));
    let text = answer.expect("load an image").ok().text();
    assert!(text.contains("Loaded image"), "{text}");
}

/// Our own command line against the daemon.
fn rorqual(daemon: &Daemon, arguments: &[&str]) -> Finished {
    let mut command = Command::new(places::binary("rorqual"));
    command.env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", places::cache().join("docker-config"));
    command::finish(command.args(arguments), b"", command::DEADLINE)
}

/// Every file below `root`, by device and inode.
fn files(root: &Path) -> BTreeMap<(u64, u64), String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("list a directory") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("look at an entry");
            if metadata.is_dir() {
                open.push(path);
            } else {
                found.insert((metadata.dev(), metadata.ino()), path.display().to_string());
            }
        }
    }
    found
}

/// What is not compressed is on the disk once, however it came.
#[test]
fn an_uncompressed_layer_is_stored_once() {
    let daemon = Daemon::start("once");
    if !daemon.exec_root().join("layers").exists() {
        // Where layers are directories there is nothing to share.
        return daemon.finish();
    }
    let bytes = 8 << 20;
    let archive = image("once:1", bytes, 1);
    load(&daemon, &archive.docker_archive());
    let check = |how: &str| {
        let (blobs, layers) =
            (files(&daemon.data_root().join("content/blobs")), files(&daemon.data_root().join("layers")));
        let shared: Vec<_> = blobs.keys().filter(|inode| layers.contains_key(inode)).collect();
        assert_eq!(shared.len(), 1, "{how}: {blobs:?} {layers:?}");
        let total = oracle::du(&daemon);
        assert!(total < bytes as u64 * 5 / 4, "{how}: {total} bytes for {bytes}");
        oracle::df_is_du(&daemon);
        let size = daemon.api().get("/images/json")[0]["Size"].as_u64().expect("a size");
        assert!(size.abs_diff(bytes as u64) < 100_000, "{how}: {size}");
    };
    check("load");
    let verbose = rorqual(&daemon, &["system", "df", "-v"]).ok();
    assert!(verbose.contains("\nData root usage: 8.") && verbose.contains("(images 8."), "{verbose}");
    // What is given back is what came, whoever has the other name of it.
    let mut command = rorqual_testkit::daemon::docker_command(&daemon.host());
    let saved = daemon.root.join("saved.tar");
    command.args(["save", "-o"]).arg(&saved).arg("once:1");
    command::finish(&mut command, b"", command::DEADLINE).ok();
    daemon.docker(["rmi", "once:1"]).ok();
    assert!(oracle::settled_du(&daemon) < 2 << 20);
    load(&daemon, &std::fs::read(&saved).expect("read the archive"));
    check("load of what was saved");
    daemon.docker(["rmi", "once:1"]).ok();

    let netns = daemon.netns.as_ref().expect("a network");
    let registry = rorqual_testkit::Registry::start(rorqual_testkit::Maker::Ours, netns, 5000);
    load(&daemon, &archive.docker_archive());
    daemon.docker(["tag", "once:1", "localhost:5000/once:1"]).ok();
    daemon.docker(["push", "-q", "localhost:5000/once:1"]).ok();
    daemon.docker(["rmi", "once:1", "localhost:5000/once:1"]).ok();
    daemon.docker(["pull", "-q", "localhost:5000/once:1"]).ok();
    check("pull");
    daemon.docker(["rmi", "localhost:5000/once:1"]).ok();
    std::fs::remove_file(saved).expect("remove the archive");
    drop(registry);

    let layer = archive.layers.first().expect("a layer");
    let imported =
        daemon.api().send("POST", "/images/create?fromSrc=-&repo=once&tag=2", "application/x-tar", Some(layer));
    imported.expect("import").ok();
    check("import");
    daemon.docker(["rmi", "once:2"]).ok();
    daemon.finish();
}

/// A container whose image is gone keeps the layer, and the accounts stay right.
#[test]
fn a_layer_outlives_its_blob() {
    let daemon = Daemon::start("outl");
    load(&daemon, &image("kept:1", 4 << 20, 3).docker_archive());
    let container = daemon.docker(["create", "kept:1"]).ok();
    daemon.docker(["rmi", "-f", "kept:1"]).ok();
    oracle::df_is_du(&daemon);
    assert!(oracle::settled_du(&daemon) > 4 << 20);
    daemon.docker(["rm", container.trim()]).ok();
    assert!(oracle::settled_du(&daemon) < 2 << 20);
    daemon.finish();
}
