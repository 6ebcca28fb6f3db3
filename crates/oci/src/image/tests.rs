use super::*;

const DIGEST: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

fn descriptor(media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{DIGEST}","size":3}}"#)
}

fn manifest(extra: &str) -> String {
    let (config, layer) = (descriptor(media::CONFIG), descriptor(media::LAYER));
    format!(r#"{{"schemaVersion":2,{extra}"config":{config},"layers":[{layer}]}}"#)
}

#[test]
fn a_manifest_is_read_under_its_own_type_only() {
    let text = manifest("");
    assert!(matches!(Document::parse(media::MANIFEST, text.as_bytes()), Ok(Document::Manifest(_))));
    assert!(matches!(Document::parse(media::DOCKER_MANIFEST, text.as_bytes()), Ok(Document::Manifest(_))));
    assert_eq!(Document::detect(text.as_bytes()).unwrap(), media::MANIFEST);
    let other = manifest(&format!(r#""mediaType":"{}","#, media::INDEX));
    assert!(Document::parse(media::MANIFEST, other.as_bytes()).is_err());
}

/// `oci.ambiguous`: documents that two readers could take for two things.
#[test]
fn ambiguous_documents_are_refused() {
    let entry = descriptor(media::MANIFEST);
    for extra in [
        format!(r#""manifests":[{entry}],"#),
        r#""manifests":[],"#.to_owned(),
        r#""Manifests":[],"#.to_owned(),
        r#""MANIFESTS":{},"#.to_owned(),
        r#""fsLayers":[],"#.to_owned(),
        r#""config":{},"#.to_owned(),
        r#""Config":{},"#.to_owned(),
        r#""schemaVersion":2,"#.to_owned(),
        r#""mediaType":"a","mediaType":"b","#.to_owned(),
    ] {
        for media_type in [media::MANIFEST, media::INDEX, media::DOCKER_MANIFEST, media::DOCKER_INDEX] {
            let text = manifest(&extra);
            assert!(Document::parse(media_type, text.as_bytes()).is_err(), "{media_type} {text}");
        }
    }
    // Nothing that could be of two kinds: a manifest as an index without entries, a configuration as a manifest.
    for media_type in [media::INDEX, media::DOCKER_INDEX] {
        assert!(Document::parse(media_type, manifest("").as_bytes()).is_err(), "{media_type}");
    }
    let rootfs = format!(r#""rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}},"#);
    assert!(Document::parse(media::MANIFEST, manifest(&rootfs).as_bytes()).is_err());
    // An index that is really a manifest, a version that is none, and what is no object at all.
    for text in [r#"{"schemaVersion":1,"manifests":[]}"#, "[]", "null", "", "{}x", r#"{"manifests":[]}"#] {
        assert!(Document::parse(media::INDEX, text.as_bytes()).is_err(), "{text}");
    }
    assert!(Document::parse("text/plain", manifest("").as_bytes()).is_err());
    let mut bytes = manifest(r#""x":"?","#).into_bytes();
    assert!(Document::parse(media::MANIFEST, &bytes).is_ok());
    let ignored = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[ignored] = 0xff;
    assert!(Document::parse(media::MANIFEST, &bytes).is_err());
}

/// Readers in Go find fields by names in any case; what they find must be what we found.
#[test]
fn keys_that_only_others_would_read_are_refused() {
    let text = manifest("");
    assert!(Document::parse(media::MANIFEST, text.as_bytes()).is_ok());
    for (key, other) in [
        ("layers", "Layers"),
        ("layers", "layer\u{17f}"),
        ("digest", "Digest\":\"x\",\"digest"),
        ("size", "Size\":9,\"size"),
        ("mediaType", "mediatype\":\"x\",\"mediaType"),
        ("digest", "platform\":{\"OS\":\"linux\"},\"digest"),
        ("schemaVersion", "Annotations\":{},\"schemaVersion"),
        ("schemaVersion", "Subject\":null,\"schemaVersion"),
    ] {
        let text = text.replace(&format!("\"{key}\""), &format!("\"{other}\""));
        assert!(Document::parse(media::MANIFEST, text.as_bytes()).is_err(), "{text}");
    }
    // What nobody reads may be called anything.
    let free = r#""annotations":{"Size":"a","size":"b"},"x":{"Layers":[{"Digest":1}]},"#;
    assert!(Document::parse(media::MANIFEST, manifest(free).as_bytes()).is_ok());
}

#[test]
fn a_size_is_one_that_every_reader_can_hold() {
    let sized = |size: u64| manifest("").replace("\"size\":3", &format!("\"size\":{size}"));
    assert!(Document::parse(media::MANIFEST, sized(i64::MAX as u64).as_bytes()).is_ok());
    assert!(Document::parse(media::MANIFEST, sized(i64::MAX as u64 + 1).as_bytes()).is_err());
}

#[test]
fn depth_size_and_layer_count_are_limited() {
    let nested = |depth: usize| {
        let inner = "[".repeat(depth - 1) + &"]".repeat(depth - 1);
        manifest(&format!(r#""annotations":{{}},"x":{inner},"#))
    };
    assert!(Document::parse(media::MANIFEST, nested(16).as_bytes()).is_ok());
    assert!(Document::parse(media::MANIFEST, nested(17).as_bytes()).is_err());
    let padded = |size: usize| {
        let text = manifest("");
        text.clone() + &" ".repeat(size - text.len())
    };
    assert!(Document::parse(media::MANIFEST, padded(4 << 20).as_bytes()).is_ok());
    assert!(Document::parse(media::MANIFEST, padded((4 << 20) + 1).as_bytes()).is_err());
    let layers = |count: usize| {
        let layers = vec![descriptor(media::LAYER); count].join(",");
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, descriptor(media::CONFIG))
    };
    assert!(Document::parse(media::MANIFEST, layers(500).as_bytes()).is_ok());
    assert!(Document::parse(media::MANIFEST, layers(501).as_bytes()).is_err());
}

#[test]
fn a_configuration_keeps_null_from_empty() {
    let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Env":[],"Entrypoint":"/x","ExposedPorts":{"80/tcp":{}}},
        "rootfs":{"type":"layers","diff_ids":[]},"history":null,"container_config":{"Hostname":"x"}}"#;
    let config = ImageConfig::parse(text.as_bytes()).unwrap();
    assert_eq!(config.config.cmd, None);
    assert_eq!(config.config.env, Some(vec![]));
    assert_eq!(config.config.entrypoint, Some(vec!["/x".to_owned()]));
    assert!(config.config.exposed_ports.unwrap().contains_key("80/tcp"));
    assert!(ImageConfig::parse(br#"{"layers":[]}"#).is_err());
}
