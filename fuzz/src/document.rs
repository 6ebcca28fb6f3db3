//! Manifests, indexes and configurations: one meaning for all readers (threats.md, R9 and V10).

use crate::go::{self, Shape};
use rorqual_oci::image::{Document, INDEX_ENTRIES_MAX, ImageConfig, Index, LAYERS_MAX, Manifest, chain_ids, media};
use serde_json::Value;

const PLATFORM: Shape = Shape::Object(&[
    ("architecture", Shape::Text),
    ("os", Shape::Text),
    ("os.version", Shape::Text),
    ("os.features", Shape::Texts),
    ("variant", Shape::Text),
]);
const DESCRIPTOR: &[(&str, Shape)] = &[
    ("mediaType", Shape::Text),
    ("digest", Shape::Text),
    ("size", Shape::Number),
    ("urls", Shape::Texts),
    ("annotations", Shape::TextMap),
    ("data", Shape::Text),
    ("platform", PLATFORM),
    ("artifactType", Shape::Text),
];
const MANIFEST: Shape = Shape::Object(&[
    ("schemaVersion", Shape::Number),
    ("mediaType", Shape::Text),
    ("artifactType", Shape::Text),
    ("config", Shape::Object(DESCRIPTOR)),
    ("layers", Shape::Objects(DESCRIPTOR)),
    ("subject", Shape::Object(DESCRIPTOR)),
    ("annotations", Shape::TextMap),
]);
const INDEX: Shape = Shape::Object(&[
    ("schemaVersion", Shape::Number),
    ("mediaType", Shape::Text),
    ("artifactType", Shape::Text),
    ("manifests", Shape::Objects(DESCRIPTOR)),
    ("subject", Shape::Object(DESCRIPTOR)),
    ("annotations", Shape::TextMap),
]);

pub(crate) fn manifest(input: &[u8]) {
    one_kind(input);
    for media_type in [media::MANIFEST, media::DOCKER_MANIFEST] {
        let Some(manifest) = as_manifest(media_type, input) else { continue };
        assert!(manifest.layers.len() <= LAYERS_MAX);
        assert_eq!(detected(input), Some(known(media_type, &manifest.media_type)));
        as_go_reads(input, MANIFEST, &manifest);
        let written = json(&manifest);
        let again = as_manifest(media_type, &written).expect("what we write we read");
        assert_eq!(json(&again), written);
    }
    if let Ok(config) = ImageConfig::parse(input) {
        check_config(&config);
    }
}

pub(crate) fn index(input: &[u8]) {
    one_kind(input);
    for media_type in [media::INDEX, media::DOCKER_INDEX] {
        let Some(index) = as_index(media_type, input) else { continue };
        assert!(index.manifests.len() <= INDEX_ENTRIES_MAX);
        // One without entries, and without a type of its own, is not recognised.
        assert!(detected(input).map_or(index.manifests.is_empty(), |it| it == known(media_type, &index.media_type)));
        as_go_reads(input, INDEX, &index);
        for platform in index.manifests.iter().filter_map(|entry| entry.platform.as_ref()?.platform()) {
            assert_eq!(platform.to_string().parse().ok(), Some(platform));
        }
        let written = json(&index);
        let again = as_index(media_type, &written).expect("what we write we read");
        assert_eq!(json(&again), written);
    }
}

fn as_manifest(media_type: &str, bytes: &[u8]) -> Option<Manifest> {
    match Document::parse(media_type, bytes) {
        Ok(Document::Manifest(manifest)) => Some(*manifest),
        Ok(Document::Index(_)) => panic!("an index where a manifest was promised"),
        Err(_) => None,
    }
}

fn as_index(media_type: &str, bytes: &[u8]) -> Option<Index> {
    match Document::parse(media_type, bytes) {
        Ok(Document::Index(index)) => Some(*index),
        Ok(Document::Manifest(_)) => panic!("a manifest where an index was promised"),
        Err(_) => None,
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our documents are JSON")
}

/// Nothing is taken for two kinds of document.
fn one_kind(input: &[u8]) {
    let is = |media_type| Document::parse(media_type, input).is_ok();
    let kinds = [is(media::MANIFEST) || is(media::DOCKER_MANIFEST), is(media::INDEX) || is(media::DOCKER_INDEX)];
    assert!(kinds != [true, true], "one document is a manifest and an index");
    let image = ImageConfig::parse(input).is_ok_and(|config| !config.rootfs.diff_ids.is_empty());
    assert!(!image || kinds == [false, false], "one document is an image's configuration and something else");
}

/// What a document that comes without its type is taken for.
fn detected(input: &[u8]) -> Option<String> {
    Document::detect(input).ok()
}

/// What it must be taken for: its own word, or else OCI's type.
fn known(media_type: &str, own: &str) -> String {
    match own {
        "" if media::is_index(media_type) => media::INDEX.to_owned(),
        "" => media::MANIFEST.to_owned(),
        own => own.to_owned(),
    }
}

fn as_go_reads(input: &[u8], shape: Shape, ours: &impl serde::Serialize) {
    // Numbers and escapes that cannot be decoded may stand where nobody decodes them.
    let Some(node) = go::parse(input) else { return };
    let theirs = go::read(&node, shape).map(go::pruned);
    let ours: Value = serde_json::to_value(ours).expect("our documents are JSON");
    assert_eq!(theirs, Some(go::pruned(ours)), "a program in Go reads another document");
}

fn check_config(config: &ImageConfig) {
    assert!(config.rootfs.diff_ids.len() <= LAYERS_MAX);
    let again = ImageConfig::parse(&json(config)).expect("what we write we read");
    assert_eq!(&again, config);
    let fold = |bytes: &[u8]| {
        let mut out = [0; 32];
        bytes.iter().enumerate().for_each(|(at, byte)| out[at % 32] ^= byte);
        rorqual_types::Digest::from_bytes(out)
    };
    let chain = chain_ids(&config.rootfs.diff_ids, fold);
    assert_eq!(chain.len(), config.rootfs.diff_ids.len());
    assert_eq!(chain.first(), config.rootfs.diff_ids.first());
    let _ = config.platform().platform();
}
