//! Every input that is kept, run once: what a fuzzer found must stay found.

use rorqual_fuzz::TARGETS;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes of all inputs together: they are cloned with the sources.
const CORPUS_BYTES_MAX: u64 = 300 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let directory = corpus().join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("list {}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = inputs(name);
    assert!(inputs.len() >= 5, "{name} has {} inputs", inputs.len());
    for path in inputs {
        let input = fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(outcome.is_ok(), "{} breaks a promise: see above", path.display());
    }
}

#[test]
fn names_have_one_meaning() {
    check("reference");
}

#[test]
fn manifests_have_one_meaning() {
    check("manifest");
}

#[test]
fn indexes_have_one_meaning() {
    check("index");
}

#[test]
fn challenges_read_as_they_are_written() {
    check("challenge");
}

#[test]
fn ranges_lie_within_what_they_are_of() {
    check("range");
}

#[test]
fn archives_are_read_as_others_read_them() {
    check("tar");
}

#[test]
fn gzip_members_are_found_as_others_find_them() {
    check("gzip");
}

#[test]
fn zstd_frames_are_found_as_others_find_them() {
    check("zstd");
}

#[test]
fn layers_show_what_their_archives_make() {
    check("layer");
}

#[test]
fn the_corpus_is_small_and_of_targets_only() {
    let mut bytes = 0;
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name} is no target");
        bytes += inputs(&name).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
}
