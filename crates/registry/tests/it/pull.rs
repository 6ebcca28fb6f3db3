//! Workflow 1, pull: end-1, end-2, end-3.

use crate::support::{DOCKER, DOCKER_LIST, INDEX, OCI, sha256, start};
use serde_json::json;

#[tokio::test]
async fn the_base_says_that_this_is_a_registry() {
    let registry = start().await;
    for path in ["/v2/", "/v2"] {
        let answer = registry.get(path).await.expect(200);
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
        assert_eq!(answer.json(), json!({}));
    }
    registry.get("/").await.refused(404, "NAME_UNKNOWN");
    registry.get("/v2/a/b").await.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_blob_is_pulled_by_its_digest() {
    let registry = start().await;
    let digest = registry.push_blob("a/b", "hello").await;
    let path = format!("/v2/a/b/blobs/{digest}");
    let answer = registry.get(&path).await.expect(200);
    assert_eq!(answer.body, "hello");
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(answer.header("content-length"), "5");
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("accept-ranges"), "bytes");
    let answer = registry.head(&path).await.expect(200);
    assert_eq!((answer.header("content-length"), answer.header("docker-content-digest")), ("5", digest.as_str()));
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn an_unknown_blob_is_not_found() {
    let registry = start().await;
    let digest = registry.push_blob("a", "hello").await;
    registry.get(&format!("/v2/a/blobs/{}", sha256("other"))).await.refused(404, "BLOB_UNKNOWN");
    registry.head(&format!("/v2/a/blobs/{}", sha256("other"))).await.expect(404);
    // A blob of one repository is not one of another.
    registry.get(&format!("/v2/b/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    registry.get("/v2/a/blobs/sha256:xyz").await.refused(400, "DIGEST_INVALID");
    registry.get(&format!("/v2/a/blobs/sha512:{}", "0".repeat(128))).await.refused(400, "DIGEST_INVALID");
    registry.get(&format!("/v2/A/blobs/{digest}")).await.refused(400, "NAME_INVALID");
}

#[tokio::test]
async fn part_of_a_blob_is_pulled_by_range() {
    let registry = start().await;
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let digest = registry.push_blob("a", bytes.clone()).await;
    let path = format!("/v2/a/blobs/{digest}");
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=1000000-2500000", 1_000_000, 2_500_001),
        ("bytes=2999999-", 2_999_999, 3_000_000),
        ("bytes=-7", 2_999_993, 3_000_000),
        ("bytes=10-99999999", 10, 3_000_000),
    ] {
        let answer = registry.send("GET", &path, &[("Range", range)], "").await.expect(206);
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{}/3000000", end - 1));
        assert!(answer.body == bytes[start..end], "{range}");
        let answer = registry.send("HEAD", &path, &[("Range", range)], "").await.expect(206);
        assert_eq!(answer.header("content-length"), (end - start).to_string());
    }
    let answer = registry.send("GET", &path, &[("Range", "bytes=3000000-")], "").await.refused(416, "RANGE_INVALID");
    assert_eq!(answer.header("content-range"), "bytes */3000000");
    assert!(registry.get(&path).await.expect(200).body == bytes);
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let registry = start().await;
    let digest = registry.push_blob("a", "").await;
    let answer = registry.get(&format!("/v2/a/blobs/{digest}")).await.expect(200);
    assert_eq!((answer.header("content-length"), answer.body.len()), ("0", 0));
}

#[tokio::test]
async fn a_manifest_is_pulled_by_tag_and_by_digest() {
    let registry = start().await;
    let image = registry.image("a/b", "x").await;
    // White space and the order of keys are the client's, and come back as they went.
    let text = format!(" {}\n", serde_json::to_string_pretty(&image).unwrap());
    let digest = sha256(&text);
    registry.send("PUT", "/v2/a/b/manifests/v1", &[("Content-Type", OCI)], text.clone()).await.expect(201);
    for reference in ["v1", digest.as_str()] {
        let path = format!("/v2/a/b/manifests/{reference}");
        let answer = registry.send("GET", &path, &[("Accept", OCI)], "").await.expect(200);
        assert_eq!(answer.body, text);
        assert_eq!((answer.header("content-type"), answer.header("docker-content-digest")), (OCI, digest.as_str()));
        let answer = registry.send("HEAD", &path, &[("Accept", OCI)], "").await.expect(200);
        assert_eq!(answer.header("content-length"), text.len().to_string());
        assert_eq!((answer.header("content-type"), answer.header("docker-content-digest")), (OCI, digest.as_str()));
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn an_unknown_manifest_is_not_found() {
    let registry = start().await;
    registry.push_image("a", "v1", "x").await;
    for (name, reference) in [("a", "v2"), ("a", &*sha256("x")), ("b", "v1")] {
        registry.get(&format!("/v2/{name}/manifests/{reference}")).await.refused(404, "MANIFEST_UNKNOWN");
        registry.head(&format!("/v2/{name}/manifests/{reference}")).await.expect(404);
    }
    registry.get("/v2/a/manifests/.x").await.refused(400, "TAG_INVALID");
}

#[tokio::test]
async fn a_client_that_has_it_is_not_sent_it_again() {
    let registry = start().await;
    let manifest = registry.push_image("a", "v1", "x").await;
    let blob = registry.push_blob("a", "hello").await;
    for (path, digest) in [("/v2/a/manifests/v1".to_owned(), manifest), (format!("/v2/a/blobs/{blob}"), blob)] {
        let etag = registry.get(&path).await.expect(200).header("etag").to_owned();
        assert_eq!(etag, format!("\"{digest}\""));
        for known in [etag.as_str(), &format!("W/{etag}"), &format!("\"x\", {etag}"), digest.as_str(), "*"] {
            let answer = registry.send("GET", &path, &[("If-None-Match", known)], "").await.expect(304);
            assert_eq!((answer.header("etag"), answer.body.len()), (etag.as_str(), 0));
        }
        registry.send("GET", &path, &[("If-None-Match", "\"sha256:0\"")], "").await.expect(200);
    }
}

#[tokio::test]
async fn every_kind_of_manifest_comes_back_as_it_was_pushed() {
    let registry = start().await;
    let mut image = registry.image("a", "x").await;
    image["mediaType"] = DOCKER.into();
    let digest = registry.push_manifest("a", "docker", DOCKER, &image).await;
    let child = json!({"mediaType": DOCKER, "digest": digest, "size": image.to_string().len()});
    for (tag, media_type) in [("list", DOCKER_LIST), ("index", INDEX)] {
        let list = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [child]});
        let digest = registry.push_manifest("a", tag, media_type, &list).await;
        let answer = registry.get(&format!("/v2/a/manifests/{tag}")).await.expect(200);
        assert_eq!((answer.header("content-type"), sha256(&answer.body)), (media_type, digest));
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_is_named() {
    let registry = start().await;
    let answer = registry.send("POST", "/v2/a/manifests/v1", &[], "").await.refused(405, "UNSUPPORTED");
    assert_eq!(answer.header("allow"), "GET, HEAD, PUT, DELETE");
}
