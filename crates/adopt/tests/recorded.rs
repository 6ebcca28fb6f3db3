//! Two data roots that dockerd 28.5 left, one of each store, with the same made in both: two images of one and two layers,
//! named volumes with data and with options, an anonymous one, and containers that were never started.

use rorqual_adopt::{Container, Source, There, in_order};
use rorqual_error::Kind;
use rustix::fs::{FlockOperation, flock};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
};

const OVERLAY2: &[u8] = include_bytes!("recorded/overlay2.tar.gz");
const CONTAINERD: &[u8] = include_bytes!("recorded/containerd.tar.gz");

fn unpacked(recorded: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(recorded)).unpack(directory.path()).unwrap();
    directory
}

/// Both stores, with their names.
fn roots() -> [(&'static str, tempfile::TempDir); 2] {
    [("overlay2", unpacked(OVERLAY2)), ("containerd", unpacked(CONTAINERD))]
}

fn open(root: &tempfile::TempDir) -> Source {
    Source::open(root.path(), None).unwrap()
}

fn container(source: &Source, name: &str) -> Container {
    let mut all = source.containers().unwrap().into_iter();
    all.find(|found| found.what == name).unwrap().object.unwrap()
}

/// Every name below with times, sizes and contents.
fn described(directory: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let mut content = Vec::new();
        if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if stat.is_file() {
            content = fs::read(&path).unwrap();
        }
        let what = (stat.mode(), stat.uid(), stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec(), content);
        all.insert(path.display().to_string(), format!("{what:?}"));
    }
    all
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn images_become_archives_whose_blobs_have_their_digests() {
    for (store, root) in roots() {
        let mut seen = Vec::new();
        for found in open(&root).images().unwrap() {
            let image = found.object.unwrap_or_else(|error| panic!("{store}: {}: {error}", found.what));
            seen.push(found.what);
            let mut archive = Vec::new();
            image.write(&image.names, &mut archive).unwrap();
            let mut files = BTreeMap::new();
            for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                files.insert(entry.path().unwrap().display().to_string(), bytes);
            }
            for (name, bytes) in &files {
                if let Some(hex) = name.strip_prefix("blobs/sha256/") {
                    assert_eq!(hex, sha256(bytes), "{store}");
                }
            }
            let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
            let entry = &index["manifests"][0];
            assert_eq!(entry["digest"], image.id.to_string());
            assert_eq!(entry["annotations"]["io.containerd.image.name"], image.names[0].to_string());
            let manifest = &files[&format!("blobs/sha256/{}", image.id.hex())];
            let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
            for part in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
                let hex = part["digest"].as_str().unwrap().trim_start_matches("sha256:");
                assert_eq!(files[&format!("blobs/sha256/{hex}")].len() as u64, part["size"].as_u64().unwrap());
            }
        }
        seen.sort();
        assert_eq!(seen, ["example.org/team/small:2", "small:1"], "{store}");
    }
}

#[test]
fn ids_are_those_that_dockerd_showed() {
    for ((store, root), ids) in
        roots().into_iter().zip([["580b79ffb174", "95e9bde79908"], ["0761e42cf406", "ebdf168e86ff"]])
    {
        let images = open(&root).images().unwrap().into_iter().map(|found| found.object.unwrap());
        let mut shown: Vec<String> = images.map(|image| image.docker_id.hex()[..12].to_owned()).collect();
        shown.sort();
        assert_eq!(shown, ids, "{store}");
    }
}

#[test]
fn volumes_have_their_labels_options_and_data() {
    for (store, root) in roots() {
        let mut anonymous = 0;
        for found in open(&root).volumes().unwrap() {
            let volume = found.object.unwrap();
            match volume.name.as_str() {
                "data" => {
                    assert_eq!(volume.labels["kept"], "yes");
                    let there = tempfile::tempdir().unwrap();
                    let mountpoint = there.path().join("_data");
                    fs::create_dir(&mountpoint).unwrap();
                    assert_eq!(volume.look(&mountpoint).unwrap(), There::Nothing);
                    volume.place(&mountpoint).unwrap();
                    assert_eq!(fs::read_to_string(mountpoint.join("motd")).unwrap(), "a small image\n");
                    assert_eq!(volume.look(&mountpoint).unwrap(), There::Same);
                    assert_eq!(fs::read_dir(there.path()).unwrap().count(), 1, "nothing else is left there");
                    fs::write(mountpoint.join("new"), "").unwrap();
                    assert_eq!(volume.look(&mountpoint).unwrap(), There::Other);
                    assert_eq!(volume.place(&mountpoint).unwrap_err().kind(), Kind::Conflict);
                    let nowhere = volume.place(Path::new("/nowhere/at/all")).unwrap_err();
                    assert_eq!(nowhere.kind(), Kind::Unavailable);
                }
                "scratch" => {
                    assert_eq!(volume.options["o"], "size=1m");
                    assert!(!volume.has_data());
                }
                _ => {
                    assert_eq!(volume.labels["com.docker.volume.anonymous"], "");
                    anonymous += 1;
                }
            }
        }
        assert_eq!(anonymous, 1, "{store}");
    }
}

#[test]
fn definitions_keep_what_was_asked_for() {
    for (store, root) in roots() {
        let source = open(&root);
        let (web, side) = (container(&source, "web"), container(&source, "side"));
        let body = serde_json::to_value(web.definition(&[&web, &side], "small:2", None)).unwrap();
        let host = &body["HostConfig"];
        for (found, expected) in [
            (&body["Image"], "small:2"),
            (&body["Hostname"], "web"),
            (&body["Env"][0], "A=b"),
            (&body["Cmd"][1], "--listen"),
            (&body["Labels"]["role"], "web"),
            (&host["Binds"][0], "data:/data:ro"),
            (&host["PortBindings"]["80/tcp"][0]["HostPort"], "8080"),
            (&host["RestartPolicy"]["Name"], "on-failure"),
            (&host["Mounts"][0]["Target"], "/state"),
            (&host["NetworkMode"], "bridge"),
        ] {
            assert_eq!(found, expected, "{store}");
        }
        assert_eq!(host["Memory"], 64 << 20);
        assert!(host.get("Runtime").is_none(), "dockerd's default is left to the new engine");
        assert_eq!(host["Mounts"].as_array().unwrap().len(), 1, "the data of the anonymous volume, and no other");
        let anonymous = host["Mounts"][0]["Source"].as_str().unwrap();
        assert_eq!(web.volumes().into_iter().collect::<Vec<_>>(), [anonymous, "data"]);

        let body = serde_json::to_value(side.definition(&[&web, &side], "small:1", None)).unwrap();
        assert_eq!(body["HostConfig"]["NetworkMode"], "container:web", "by name: the ID will be another");
        assert_eq!(body["HostConfig"]["VolumesFrom"][0], "web");
        assert_eq!(body["Hostname"], "");
        assert!(body["HostConfig"].get("Mounts").is_none(), "what comes from another container is not mounted twice");

        let apart = container(&source, "apart");
        assert_eq!(apart.networks().into_iter().collect::<Vec<_>>(), ["apart"]);
        let body = serde_json::to_value(apart.definition(&[], "small:1", None)).unwrap();
        let endpoints = &body["NetworkingConfig"]["EndpointsConfig"];
        assert_eq!(endpoints["apart"]["Aliases"], serde_json::json!(["other"]));
    }
}

#[test]
fn a_health_check_of_the_images_own_is_left_to_the_image() {
    let root = unpacked(OVERLAY2);
    let path = root.path().join("containers");
    for entry in fs::read_dir(path).unwrap() {
        let file = entry.unwrap().path().join("config.v2.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, text.replace(r#""Config":{"#, r#""Config":{"Healthcheck":{"Test":["CMD","x"]},"#)).unwrap();
    }
    let web = container(&open(&root), "web");
    for (image, own) in [("x", false), ("y", true)] {
        let image = serde_json::json!({ "Test": ["CMD", image] });
        let body = serde_json::to_value(web.definition(&[], "x", Some(&image))).unwrap();
        assert_eq!(body.get("Healthcheck").is_some(), own);
    }
    let body = serde_json::to_value(web.definition(&[], "x", None)).unwrap();
    assert_eq!(body["Healthcheck"]["Test"][1], "x");
}

#[test]
fn a_container_comes_after_those_it_refers_to() {
    for (store, root) in roots() {
        let mut containers = open(&root).containers().unwrap();
        for _ in 0..containers.len() {
            containers.rotate_left(1);
            containers = in_order(containers);
            let at = |name| containers.iter().position(|found| found.what == name).unwrap();
            assert!(at("web") < at("side"), "{store}");
            assert_eq!(containers.len(), 4);
        }
    }
}

#[test]
fn what_a_container_changed_is_counted() {
    for (store, root) in roots() {
        let source = open(&root);
        for (name, count) in [("changed", 1), ("web", 0), ("side", 0)] {
            assert_eq!(source.changed_files(&container(&source, name)).unwrap(), count, "{store} {name}");
        }
    }
}

#[test]
fn a_container_that_cannot_be_taken_says_why() {
    for (change, why) in [
        ((r#""Running":false"#, r#""Running":true"#), "it ran when dockerd ended"),
        ((r#""Managed":false"#, r#""Managed":true"#), "it belongs to a service of a swarm"),
        ((r#""Config":{"#, r#""Config":{"NewThing":["x"],"#), "Config.NewThing is not known here"),
        ((r#""Config":{"#, r#""Config":["#), "read containers/"),
    ] {
        let root = unpacked(OVERLAY2);
        let path = root.path().join("containers");
        for entry in fs::read_dir(path).unwrap() {
            let file = entry.unwrap().path().join("config.v2.json");
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains(change.0), "{why}");
            fs::write(file, text.replace(change.0, change.1)).unwrap();
        }
        for found in open(&root).containers().unwrap() {
            let error = found.object.unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }
}

#[test]
fn the_data_root_is_as_it_was() {
    for (store, root) in roots() {
        let before = described(root.path());
        let source = open(&root);
        for image in source.images().unwrap() {
            image.object.unwrap().write(&[], &mut std::io::sink()).unwrap();
        }
        for volume in source.volumes().unwrap().into_iter().filter(|found| found.what == "data") {
            let there = tempfile::tempdir().unwrap();
            fs::create_dir(there.path().join("_data")).unwrap();
            volume.object.unwrap().place(&there.path().join("_data")).unwrap();
        }
        source.containers().unwrap();
        source.left_behind().unwrap();
        drop(source);
        assert!(described(root.path()) == before, "{store}");
    }
}

#[test]
fn a_data_root_in_use_is_refused_and_an_opened_one_is_held() {
    for (store, root) in roots() {
        let files: &[&str] = match store {
            "overlay2" => &["volumes/metadata.db", "network/files/local-kv.db"],
            _ => &["volumes/metadata.db", "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db"],
        };
        for path in files {
            let file = File::open(root.path().join(path)).unwrap();
            flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
            let error = Source::open(root.path(), None).unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
            assert!(error.to_string().contains("stop it first"), "{error}");
            flock(&file, FlockOperation::Unlock).unwrap();
            let source = open(&root);
            assert!(flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(), "{path}: none may start now");
            drop(source);
        }
    }
}

#[test]
fn what_is_no_data_root_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Source::open(directory.path(), None).unwrap_err().kind(), Kind::InvalidArgument);
    assert_eq!(Source::open(&directory.path().join("none"), None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn links_in_a_data_root_are_not_followed() {
    let root = unpacked(OVERLAY2);
    let volumes = root.path().join("volumes");
    fs::remove_dir_all(volumes.join("data/_data")).unwrap();
    std::os::unix::fs::symlink("/etc", volumes.join("data/_data")).unwrap();
    let source = open(&root);
    let volume = source.volumes().unwrap().into_iter().find(|found| found.what == "data").unwrap().object.unwrap();
    let there = tempfile::tempdir().unwrap();
    fs::create_dir(there.path().join("_data")).unwrap();
    assert!(volume.place(&there.path().join("_data")).is_err());
    assert_eq!(fs::read_dir(there.path().join("_data")).unwrap().count(), 0);
}

#[test]
fn the_data_root_of_remapped_user_namespaces_is_refused_and_named() {
    let root = unpacked(OVERLAY2);
    let below = root.path().join("100000.100000");
    fs::create_dir_all(below.join("containers")).unwrap();
    fs::create_dir_all(below.join("volumes")).unwrap();
    let left = open(&root).left_behind().unwrap();
    assert!(left.iter().any(|what| what.starts_with("100000.100000: ")), "{left:?}");
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&below, &link).unwrap();
    for path in [below, link] {
        let error = Source::open(&path, None).unwrap_err();
        assert_eq!(error.kind(), Kind::NotImplemented);
        assert!(error.to_string().contains("userns-remap"), "{error}");
    }
}
