//! Workflow 4, content management: end-9, end-10; and that removal takes nothing else with it.

use crate::support::{INDEX, OCI, serve, sha256, start, start_with};
use serde_json::json;

#[tokio::test]
async fn a_tag_is_deleted_and_its_manifest_stays() {
    let registry = start().await;
    let digest = registry.push_image("a", "v1", "x").await;
    registry.push_image("a", "v2", "x").await;
    registry.delete("/v2/a/manifests/v1").await.expect(202);
    registry.get("/v2/a/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    registry.get("/v2/a/manifests/v2").await.expect(200);
    registry.get(&format!("/v2/a/manifests/{digest}")).await.expect(200);
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], json!(["v2"]));
    registry.delete("/v2/a/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_manifest_is_deleted_with_its_tags() {
    let registry = start().await;
    let digest = registry.push_image("a", "v1", "x").await;
    registry.push_image("a", "v2", "x").await;
    registry.push_image("a", "v3", "y").await;
    registry.delete(&format!("/v2/a/manifests/{digest}")).await.expect(202);
    for reference in ["v1", "v2", digest.as_str()] {
        registry.get(&format!("/v2/a/manifests/{reference}")).await.refused(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], json!(["v3"]));
    registry.delete(&format!("/v2/a/manifests/{digest}")).await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_blob_is_deleted() {
    let registry = start().await;
    let digest = registry.push_blob("a", "hello").await;
    let path = format!("/v2/a/blobs/{digest}");
    registry.delete(&path).await.expect(202);
    registry.get(&path).await.refused(404, "BLOB_UNKNOWN");
    registry.head(&path).await.expect(404);
    registry.delete(&path).await.refused(404, "BLOB_UNKNOWN");
    registry.push_blob("a", "hello").await;
    registry.get(&path).await.expect(200);
}

#[tokio::test]
async fn removal_in_one_repository_changes_no_other() {
    let registry = start().await;
    let digest = registry.push_image("a", "t", "x").await;
    registry.push_image("b", "t", "x").await;
    let layer = sha256("layer of x");
    registry.delete(&format!("/v2/a/blobs/{layer}")).await.expect(202);
    registry.delete(&format!("/v2/a/manifests/{digest}")).await.expect(202);
    registry.registry_collects().await;
    registry.get("/v2/b/manifests/t").await.expect(200);
    assert_eq!(registry.get(&format!("/v2/b/blobs/{layer}")).await.expect(200).body, "layer of x");
    registry.get("/v2/a/manifests/t").await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn deletion_can_be_switched_off() {
    let registry = start_with(|config| config.access.deletion = false).await;
    let digest = registry.push_image("a", "t", "x").await;
    for path in [
        "/v2/a/manifests/t".to_owned(),
        format!("/v2/a/manifests/{digest}"),
        format!("/v2/a/blobs/{}", sha256("layer of x")),
    ] {
        registry.delete(&path).await.refused(405, "UNSUPPORTED");
        registry.get(&path).await.expect(200);
    }
    // An upload is no content yet.
    let location = registry.begin("a").await;
    registry.delete(&location).await.expect(204);
}

#[tokio::test]
async fn a_read_only_registry_changes_nothing() {
    let registry = start().await;
    let digest = registry.push_image("a", "t", "x").await;
    let image = registry.get("/v2/a/manifests/t").await.body;
    let (mut config, _directory) = registry.stop().await;
    config.access.read_only = true;
    let registry = serve(config).await;
    registry.get("/v2/a/manifests/t").await.expect(200);
    registry.send("POST", "/v2/a/blobs/uploads/", &[], "").await.refused(405, "UNSUPPORTED");
    registry.send("PUT", "/v2/a/manifests/u", &[("Content-Type", OCI)], image).await.refused(405, "UNSUPPORTED");
    registry.delete(&format!("/v2/a/manifests/{digest}")).await.refused(405, "UNSUPPORTED");
    registry.delete(&format!("/v2/a/blobs/{}", sha256("layer of x"))).await.refused(405, "UNSUPPORTED");
}

#[tokio::test]
async fn garbage_goes_and_what_is_tagged_stays() {
    let registry = start_with(|config| {
        config.collect.keep_untagged = false;
        config.collect.grace = std::time::Duration::ZERO;
        config.collect.grace_at_start = std::time::Duration::ZERO;
    })
    .await;
    let kept = registry.push_image("a", "t", "x").await;
    let child = json!({"mediaType": OCI, "digest": kept, "size": 1});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]});
    registry.push_manifest("a", "i", INDEX, &index).await;
    registry.delete("/v2/a/manifests/t").await.expect(202);
    let lost = registry.push_image("a", "@", "lost").await;
    registry.push_blob("c", "nobody's").await;
    let mut signature = registry.image("a", "signature").await;
    signature["subject"] = json!({"mediaType": OCI, "digest": kept, "size": 3});
    let signature = registry.push_manifest("a", "@", OCI, &signature).await;

    let collected = registry.registry_collects().await;
    assert_eq!((collected.manifests, collected.links, collected.blobs), (1, 3, 4));
    registry.get("/v2/a/manifests/i").await.expect(200);
    registry.get(&format!("/v2/a/manifests/{kept}")).await.expect(200);
    registry.get(&format!("/v2/a/manifests/{signature}")).await.expect(200);
    registry.get(&format!("/v2/a/blobs/{}", sha256("layer of x"))).await.expect(200);
    registry.get(&format!("/v2/a/manifests/{lost}")).await.refused(404, "MANIFEST_UNKNOWN");
    registry.get(&format!("/v2/a/blobs/{}", sha256("layer of lost"))).await.refused(404, "BLOB_UNKNOWN");
    assert_eq!(registry.get("/v2/_catalog").await.json()["repositories"], json!(["a"]));
    assert_eq!(registry.registry_collects().await, Default::default());
}

#[tokio::test]
async fn untagged_manifests_are_kept_unless_told_otherwise() {
    let registry = start_with(|config| {
        config.collect.grace = std::time::Duration::ZERO;
        config.collect.grace_at_start = std::time::Duration::ZERO;
    })
    .await;
    let digest = registry.push_image("a", "@", "x").await;
    registry.registry_collects().await;
    registry.get(&format!("/v2/a/manifests/{digest}")).await.expect(200);
    registry.get(&format!("/v2/a/blobs/{}", sha256("layer of x"))).await.expect(200);
}

#[tokio::test]
async fn what_a_client_was_told_is_here_stays_for_its_push() {
    let registry = start().await;
    let digest = registry.push_blob("a", "hello").await;
    let path = format!("/v2/a/blobs/{digest}");
    let (mut config, _directory) = registry.stop().await;
    let registry = serve(config).await;
    assert_eq!(registry.registry_collects().await, Default::default(), "the leases of before the start are not known");
    (config, _) = registry.stop().await;
    config.collect.grace_at_start = std::time::Duration::ZERO;
    let registry = serve(config).await;
    registry.head(&path).await.expect(200);
    assert_eq!(registry.registry_collects().await, Default::default());
    (config, _) = registry.stop().await;
    let registry = serve(config).await;
    registry.get(&path).await.expect(200);
    assert_eq!(registry.registry_collects().await.blobs, 1, "a pull protects nothing");
}
