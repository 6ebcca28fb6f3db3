//! Archives that lie, and documents that could be two things: each is refused, and nothing of it stays.

use super::{
    made::{Layout, config, docker_archive, layer, manifest_json, tar_of},
    *,
};
use crate::oci::media;

/// Loads, expects a refusal with this text in it, and looks that nothing changed.
fn refused(archive: &[u8], text: &str) {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let kept = docker_archive(&["kept"], &[layer("kept", "kept")], "{}");
    load(&images, &kept).unwrap();
    let before = tree(root.path());
    let error = load(&images, archive).expect_err(text).to_string();
    assert!(error.contains(text), "{error:?} does not say {text:?}");
    assert!(error.len() < 1000, "{error}");
    images.snapshots.wait_for_deletions();
    assert_eq!(tree(root.path()), before, "{text}");
    assert_eq!(images.count(), 1);
}

fn tree(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for directory in ["content/blobs/sha256", "content/ingest", "layers", "trash"] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            names.push(format!("{directory}/{}", entry.unwrap().file_name().display()));
        }
        if directory == "layers" {
            names.retain(|name| *name != format!("layers/{}", rorqual_snapshot::BASE_LAYER));
        }
    }
    names.sort();
    names
}

#[test]
fn archives_that_are_none() {
    refused(&tar_of::<&str, &str>(&[]), "unrecognized image format");
    refused(&tar_of(&[("foo", "x")]), "unrecognized image format");
    refused(&tar_of(&[("manifest.json", "[]")]), "image might be filtered out");
    refused(&tar_of(&[("manifest.json", "{")]), "untar manifest \"manifest.json\"");
    refused(b"garbage", "unexpected EOF");
    refused(&[7; 4096], "checksum");
    refused(
        &tar_of(&[("oci-layout", r#"{"imageLayoutVersion":"9"}"#), ("index.json", "{}")]),
        "unsupported OCI version 9",
    );
}

#[test]
fn truncated_at_any_place() {
    let whole = docker_archive(&["a"], &[layer("a", &"x".repeat(5000))], "{}");
    for length in [100, 512, 700, 1024, 3000, 6000, whole.len() - 1200] {
        let root = tempfile::tempdir().unwrap();
        let images = open(root.path());
        assert!(load(&images, &whole[..length]).is_err(), "{length}");
        assert!(tree(root.path()).is_empty(), "{length}");
    }
    let packed = zstd::encode_all(whole.as_slice(), 1).unwrap();
    refused(&packed[..packed.len() - 5], "");
}

#[test]
fn what_manifest_json_promises_must_be_there() {
    let layers = [layer("a", "a")];
    let good = config(&layers, "amd64", "{}");
    let manifest = |config: &str, tags: &[&str], names: &[&str]| {
        manifest_json(config, tags, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).into_bytes()
    };
    let archive = |manifest: Vec<u8>, config: &[u8]| {
        tar_of(&[("manifest.json", manifest), ("c", config.to_vec()), ("l", layers[0].clone())])
    };
    refused(&archive(manifest("nope", &["a"], &["l"]), &good), "image config \"nope\" not found");
    refused(&archive(manifest("c", &["a"], &["nope"]), &good), "failed to resolve layers: layer \"nope\" not found");
    refused(&archive(manifest("c", &["BAD tag"], &["l"]), &good), "normalize image ref \"BAD tag\"");
    refused(&archive(manifest("c", &["a"], &["l", "l"]), &good), "mismatched image rootfs and manifest layers");
    refused(&archive(manifest("c", &["a"], &["l"]), &config(&[layer("a", "b")], "amd64", "{}")), "digest");
    refused(&archive(manifest("c", &["a"], &["l"]), b"{\"layers\":[]}"), "ambiguous document");
    refused(&archive(manifest("c", &["a"], &["l"]), b"[]"), "invalid JSON");
    refused(&archive(manifest("../c", &["a"], &["l"]), &good), "not found");
}

/// `oci.ambiguous` for whole archives; single documents are tested with their types.
#[test]
fn layouts_that_lie() {
    let mut good = Layout::default();
    let manifest = good.image(&[layer("a", "a")], "amd64", media::LAYER, <[u8]>::to_vec);

    let mut missing = Layout::default();
    missing.name(media::MANIFEST, &manifest, "docker.io/library/a:1");
    refused(&missing.archive(), "not found");

    let mut wrong_type = Layout::default();
    wrong_type.image(&[layer("a", "a")], "amd64", media::LAYER, <[u8]>::to_vec);
    wrong_type.name(media::INDEX, &manifest, "docker.io/library/a:1");
    refused(&wrong_type.archive(), "ambiguous document");

    let both = String::from_utf8(manifest.clone()).unwrap().replacen('{', r#"{"manifests":[],"#, 1);
    let mut two = Layout::default();
    two.image(&[layer("a", "a")], "amd64", media::LAYER, <[u8]>::to_vec);
    two.blob(both.as_bytes());
    two.name(media::MANIFEST, both.as_bytes(), "docker.io/library/a:1");
    refused(&two.archive(), "ambiguous document");

    let mut lying = Layout::default();
    lying.image(&[layer("a", "a")], "amd64", media::LAYER, <[u8]>::to_vec);
    let long = String::from_utf8(manifest).unwrap().replace("\"size\":2048", "\"size\":2047");
    lying.blob(long.as_bytes());
    lying.name(media::MANIFEST, long.as_bytes(), "docker.io/library/a:1");
    refused(&lying.archive(), "");

    let blob = format!("blobs/sha256/{}", "0".repeat(64));
    refused(&tar_of(&[(blob.as_str(), "not that")]), "unexpected digest");
    refused(&tar_of(&[("blobs/sha256/xyz", "x")]), "invalid checksum digest format");
    refused(&tar_of(&[("a", "x"), ("a", "y")]), "stands twice");
}

#[test]
fn a_hostile_layer_refuses_the_whole_image() {
    let mut climbing = tar_of(&[("aa/evil", "x")]);
    climbing[..2].copy_from_slice(b"..");
    let sum: u32 = climbing[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    climbing[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    refused(&docker_archive(&["a"], &[layer("fine", "x"), climbing], "{}"), "leads outside");
}

#[test]
fn a_layer_that_expands_without_end_is_refused() {
    // bomb.corpus: 1.2 GB of zeros in one file, a few kilobytes on the wire.
    struct Zeros(u64);
    impl Read for Zeros {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(self.0 as usize);
            buffer[..length].fill(0);
            self.0 -= length as u64;
            Ok(length)
        }
    }
    let size = 1300u64 << 20;
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_path("bomb").unwrap();
    header.set_cksum();
    let stream = header.as_bytes().as_slice().chain(Zeros(size + 1024));
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    std::io::copy(&mut { stream }, &mut encoder).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 1 << 20, "{}", packed.len());
    refused(&packed, "more than 1000 times");
}

/// A file system of 12 MB of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
            .arg(root.path())
            .status();
        assert!(status.unwrap().success());
        Self(root)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_the_image_and_serves_the_others() {
    let disk = SmallDisk::new();
    let root = disk.0.path();
    let images = open(root);
    load(&images, &docker_archive(&["kept"], &[layer("kept", "kept")], "{}")).unwrap();
    let before = tree(root);
    for size in [6 << 20, 20 << 20] {
        let big = docker_archive(&["big"], &[layer("big", &"x".repeat(size))], "{}");
        let error = load(&images, &big).unwrap_err().to_string();
        assert!(error.to_lowercase().contains("no space left on device"), "{error}");
        images.snapshots.wait_for_deletions();
        assert_eq!(tree(root), before, "{size}");
    }
    assert_eq!(names(&images).len(), 1);
    load(&images, &docker_archive(&["small"], &[layer("small", "small")], "{}")).unwrap();
    assert_eq!(names(&images).len(), 2);
}
