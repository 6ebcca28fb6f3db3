//! Workflow 2, push: end-4 to end-7, end-11, end-13.

use crate::support::{DOCKER, INDEX, OCI, closing, is_refusal, sha256, start};
use serde_json::json;

#[tokio::test]
async fn a_blob_is_pushed_by_post_and_put() {
    let registry = start().await;
    let location = registry.begin("a").await;
    let digest = sha256("hello");
    let answer = registry.send("PUT", &closing(&location, &digest), &[], "hello").await.expect(201);
    assert_eq!(answer.location(), format!("/v2/a/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(registry.get(&answer.location()).await.expect(200).body, "hello");
    registry.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_blob_is_pushed_by_one_post() {
    let registry = start().await;
    let digest = sha256("hello");
    let answer =
        registry.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], "hello").await.expect(201);
    assert_eq!(answer.location(), format!("/v2/a/blobs/{digest}"));
    assert_eq!(registry.get(&answer.location()).await.expect(200).body, "hello");
    let answer = registry.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], "hellO").await;
    answer.refused(400, "DIGEST_INVALID");
    // A digest without a body begins an upload.
    let answer = registry.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], "").await.expect(202);
    assert!(!answer.location().is_empty());
    registry.send("POST", "/v2/a/blobs/uploads/?digest=sha256:x", &[], "hello").await.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_blob_is_pushed_in_chunks() {
    let registry = start().await;
    let answer = registry.send("POST", "/v2/a/blobs/uploads/", &[("Content-Length", "0")], "").await.expect(202);
    let mut location = answer.location();
    assert_eq!(answer.header("range"), "0-0");
    assert!(!answer.header("docker-upload-uuid").is_empty());
    let octets = ("Content-Type", "application/octet-stream");
    let answer = registry.send("PATCH", &location, &[("Content-Range", "0-5"), octets], "hello ").await.expect(202);
    assert_eq!(answer.header("range"), "0-5");
    location = answer.location();
    let answer = registry.get(&location).await.expect(204);
    assert_eq!(answer.header("range"), "0-5");
    location = answer.location();
    let answer = registry.send("PATCH", &location, &[("Content-Range", "6-10"), octets], "world").await.expect(202);
    location = answer.location();
    let digest = sha256("hello world!");
    let last = [("Content-Range", "11-11"), octets];
    registry.send("PUT", &closing(&location, &digest), &last, "!").await.expect(201);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body, "hello world!");
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_told_where_to_go_on() {
    let registry = start().await;
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[("Content-Range", "0-4")], "hello").await.expect(202);
    for (range, body) in [("6-10", "world"), ("0-4", "hello"), ("4-8", "oworl"), ("x", "world"), ("9-5", "world")] {
        let answer = registry.send("PATCH", &location, &[("Content-Range", range)], body).await;
        let answer = answer.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!((answer.header("range"), answer.location()), ("0-4", location.clone()), "{range}");
    }
    let path = closing(&location, &sha256("hello"));
    registry.send("PUT", &path, &[("Content-Range", "9-9")], "!").await.refused(416, "BLOB_UPLOAD_INVALID");
    registry.send("PUT", &path, &[], "").await.expect(201);
}

#[tokio::test]
async fn a_declared_range_must_be_the_body() {
    let registry = start().await;
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[("Content-Range", "0-9")], "hello").await.refused(400, "SIZE_INVALID");
    registry.send("PATCH", &location, &[("Content-Range", "0-3")], "hello").await.refused(400, "SIZE_INVALID");
    registry.get(&location).await.expect(204);
}

#[tokio::test]
async fn a_blob_with_another_digest_is_refused_and_not_kept() {
    let registry = start().await;
    let location = registry.begin("a").await;
    let location = registry.send("PATCH", &location, &[], "hello").await.expect(202).location();
    let other = sha256("other");
    let answer = registry.send("PUT", &closing(&location, &other), &[], "").await;
    answer.refused(400, "DIGEST_INVALID");
    for digest in [other, sha256("hello")] {
        registry.head(&format!("/v2/a/blobs/{digest}")).await.expect(404);
    }
    let location = registry.begin("a").await;
    registry.send("PUT", &location, &[], "x").await.refused(400, "DIGEST_INVALID");
    registry.send("PUT", &closing(&location, "md5:00"), &[], "x").await.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn an_upload_can_be_cancelled() {
    let registry = start().await;
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[], "hello").await.expect(202);
    registry.delete(&location).await.expect(204);
    for method in ["GET", "DELETE", "PATCH"] {
        registry.send(method, &location, &[], "").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    let partial = registry.config.root.join("content/partial");
    assert_eq!(std::fs::read_dir(partial).unwrap().count(), 0);
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let registry = start().await;
    let location = registry.begin("a").await;
    let elsewhere = location.replace("/v2/a/", "/v2/b/");
    registry.get(&elsewhere).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    for id in ["..%2f..%2fmeta", "..", "%00", "x", &"0".repeat(33)] {
        let answer = registry.get(&format!("/v2/a/blobs/uploads/{id}")).await;
        assert!(is_refusal(answer.status), "{id}: {answer:?}");
    }
    registry.get(&location).await.expect(204);
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository() {
    let registry = start().await;
    let digest = registry.push_blob("a", "hello").await;
    let answer =
        registry.send("POST", &format!("/v2/b/c/blobs/uploads/?mount={digest}&from=a"), &[], "").await.expect(201);
    assert_eq!(answer.location(), format!("/v2/b/c/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(registry.get(&answer.location()).await.expect(200).body, "hello");
}

#[tokio::test]
async fn a_mount_that_cannot_be_made_begins_an_upload() {
    let registry = start().await;
    let digest = registry.push_blob("a", "hello").await;
    for query in [
        format!("mount={}&from=a", sha256("other")),
        format!("mount={digest}&from=x"),
        format!("mount={digest}&from=A"),
        format!("mount={digest}"),
    ] {
        let answer = registry.send("POST", &format!("/v2/b/blobs/uploads/?{query}"), &[], "").await.expect(202);
        let location = answer.location();
        registry.send("PUT", &closing(&location, &sha256("x")), &[], "x").await.expect(201);
        registry.head(&format!("/v2/b/blobs/{digest}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_manifest_is_pushed_by_tag_and_by_digest() {
    let registry = start().await;
    let image = registry.image("a", "x").await.to_string();
    let digest = sha256(&image);
    for reference in ["v1", "_other.tag-2", digest.as_str()] {
        let path = format!("/v2/a/manifests/{reference}");
        let answer = registry.send("PUT", &path, &[("Content-Type", OCI)], image.clone()).await.expect(201);
        assert_eq!(answer.location(), format!("/v2/a/manifests/{digest}"));
        assert_eq!(answer.header("docker-content-digest"), digest);
        assert_eq!(answer.header("oci-subject"), "");
        assert_eq!(registry.get(&path).await.expect(200).body, image);
    }
    // A tag moves.
    let other = registry.push_image("a", "v1", "y").await;
    assert_eq!(registry.head("/v2/a/manifests/v1").await.header("docker-content-digest"), other);
}

#[tokio::test]
async fn a_manifest_that_is_not_what_it_says_is_refused() {
    let registry = start().await;
    let image = registry.image("a", "x").await;
    let put = async |reference: &str, media_type: &str, body: String| {
        let path = format!("/v2/a/manifests/{reference}");
        registry.send("PUT", &path, &[("Content-Type", media_type)], body).await
    };
    put(&sha256("x"), OCI, image.to_string()).await.refused(400, "DIGEST_INVALID");
    put("t", DOCKER, image.to_string()).await.refused(400, "MANIFEST_INVALID");
    put("t", INDEX, image.to_string()).await.refused(400, "MANIFEST_INVALID");
    put("t", "text/plain", image.to_string()).await.refused(400, "MANIFEST_INVALID");
    put("t", OCI, "{".into()).await.refused(400, "MANIFEST_INVALID");
    let mut two = image.clone();
    two["manifests"] = json!([]);
    put("t", OCI, two.to_string()).await.refused(400, "MANIFEST_INVALID");
    let twice = image.to_string().replacen('{', "{\"LAYERS\":[],", 1);
    put("t", OCI, twice).await.refused(400, "MANIFEST_INVALID");
    registry.head("/v2/a/manifests/t").await.expect(404);
    put(".t", OCI, image.to_string()).await.refused(400, "TAG_INVALID");
}

#[tokio::test]
async fn a_manifest_of_blobs_that_are_not_here_is_refused() {
    let registry = start().await;
    let image = registry.image("a", "x").await;
    // Those of another repository do not count.
    let answer = registry.send("PUT", "/v2/b/manifests/t", &[("Content-Type", OCI)], image.to_string()).await;
    let answer = answer.refused(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(answer.json()["errors"][0]["detail"][0]["digest"], image["config"]["digest"]);
    let child = json!({"mediaType": OCI, "digest": sha256("none"), "size": 4});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]});
    let answer = registry.send("PUT", "/v2/a/manifests/t", &[("Content-Type", INDEX)], index.to_string()).await;
    answer.refused(400, "MANIFEST_BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_layer_to_be_had_elsewhere_need_not_be_here() {
    let registry = start().await;
    let mut image = registry.image("a", "x").await;
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let layer = json!({"mediaType": foreign, "digest": sha256("f"), "size": 1, "urls": ["https://example.com/f"]});
    image["layers"].as_array_mut().unwrap().push(layer);
    registry.push_manifest("a", "t", OCI, &image).await;
}

#[tokio::test]
async fn a_manifest_says_what_it_refers_to_before_that_is_here() {
    let registry = start().await;
    let mut image = registry.image("a", "x").await;
    let subject = sha256("none yet");
    image["subject"] = json!({"mediaType": OCI, "digest": subject, "size": 8});
    let path = format!("/v2/a/manifests/{}", sha256(image.to_string()));
    let answer = registry.send("PUT", &path, &[("Content-Type", OCI)], image.to_string()).await.expect(201);
    assert_eq!(answer.header("oci-subject"), subject);
}

#[tokio::test]
async fn a_manifest_may_have_four_mebibytes() {
    let registry = start().await;
    let mut image = registry.image("a", "x").await;
    image["annotations"] = json!({"pad": ""});
    let room = (4 << 20) - image.to_string().len();
    for (pad, status) in [(room - 1, 201), (room, 201), (room + 1, 413)] {
        image["annotations"]["pad"] = "x".repeat(pad).into();
        let answer = registry.send("PUT", "/v2/a/manifests/t", &[("Content-Type", OCI)], image.to_string()).await;
        assert_eq!(answer.status, status, "{pad}");
    }
    assert_eq!(registry.get("/v2/a/manifests/t").await.body.len(), 4 << 20);
}

#[tokio::test]
async fn indexes_nest_so_deep() {
    let registry = start().await;
    let mut below = registry.push_image("a", "t", "x").await;
    let mut media_type = OCI;
    for depth in 1..=5 {
        let child = json!({"mediaType": media_type, "digest": below, "size": 1});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]});
        let answer = registry.send("PUT", "/v2/a/manifests/i", &[("Content-Type", INDEX)], index.to_string()).await;
        match depth {
            1..=3 => drop(answer.expect(201)),
            _ => return assert!(is_refusal(answer.status), "{answer:?}"),
        }
        (below, media_type) = (sha256(index.to_string()), INDEX);
    }
    panic!("indexes nest without end");
}
