//! The same registry on an S3-compatible server.

use crate::support::{Running, closing, send, serve, sha256, start_with};
use bytes::Bytes;
use rorqual_registry::{Config, ObjectsConfig};
use rorqual_testkit::ObjectStore;
use std::time::Duration;

/// A registry that keeps everything in `server`.
async fn on(server: &ObjectStore) -> Running {
    let options: Vec<_> = server.settings().map(|(key, value)| (key.to_owned(), value)).into();
    let url = format!("s3://{}/registry", ObjectStore::BUCKET);
    start_with(|config: &mut Config| {
        config.objects = Some(ObjectsConfig { url, options });
        (config.collect.grace, config.collect.grace_at_start) = (Duration::ZERO, Duration::ZERO);
    })
    .await
}

/// The keys of all objects.
async fn keys(server: &ObjectStore) -> Vec<String> {
    let path = format!("/{}?list-type=2", ObjectStore::BUCKET);
    let answer = send(server.address.parse().unwrap(), "GET", &path, &[], Bytes::new()).await.expect(200);
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let keys = text.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
    keys.collect()
}

#[tokio::test]
async fn an_image_comes_back_from_an_object_store() {
    let server = ObjectStore::start();
    let registry = on(&server).await;
    let digest = registry.push_image("a/b", "t", "x").await;
    registry.push_image("a/b", "u", "y").await;
    registry.push_image("c", "t", "x").await;
    let (config, _directory) = registry.stop().await;
    let registry = serve(config).await;
    let answer = registry.get("/v2/a/b/manifests/t").await.expect(200);
    assert_eq!(sha256(&answer.body), digest);
    let blob = format!("/v2/a/b/blobs/{}", sha256("layer of x"));
    assert_eq!(registry.get(&blob).await.expect(200).body, "layer of x");
    assert_eq!(registry.send("GET", &blob, &[("Range", "bytes=3-4")], "").await.expect(206).body, "er");
    assert_eq!(registry.get("/v2/_catalog").await.json()["repositories"], serde_json::json!(["a/b", "c"]));
    assert_eq!(registry.get("/v2/a/b/tags/list").await.json()["tags"], serde_json::json!(["t", "u"]));

    registry.delete(&format!("/v2/a/b/manifests/{digest}")).await.expect(202);
    registry.registry_collects().await;
    registry.get(&blob).await.expect(404);
    registry.get(&format!("/v2/c/blobs/{}", sha256("layer of x"))).await.expect(200);
    for name in ["a/b", "c"] {
        for tag in registry.get(&format!("/v2/{name}/tags/list")).await.json()["tags"].as_array().unwrap() {
            let path = format!("/v2/{name}/manifests/{}", tag.as_str().unwrap());
            let digest = registry.head(&path).await.expect(200).header("docker-content-digest").to_owned();
            registry.delete(&format!("/v2/{name}/manifests/{digest}")).await.expect(202);
        }
    }
    registry.registry_collects().await;
    assert_eq!(keys(&server).await, Vec::<String>::new());
    registry.stop().await;
}

#[tokio::test]
async fn an_upload_into_an_object_store_goes_on_after_a_restart() {
    let server = ObjectStore::start();
    let registry = on(&server).await;
    let location = registry.begin("a").await;
    let all: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let all = Bytes::from(all);
    let (first, second) = (9_000_000, 9_500_000);
    registry.send("PATCH", &location, &[("Content-Range", "0-8999999")], all.slice(..first)).await.expect(202);
    let (config, _directory) = registry.stop().await;
    let registry = serve(config).await;
    assert_eq!(registry.get(&location).await.expect(204).header("range"), "0-8999999");
    registry.send("PATCH", &location, &[], all.slice(first..second)).await.expect(202);
    let digest = sha256(&all);
    registry.send("PUT", &closing(&location, &digest), &[], all.slice(second..)).await.expect(201);
    assert!(registry.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body == all);
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[], all.slice(..first)).await.expect(202);
    registry.delete(&location).await.expect(204);
    let left = keys(&server).await;
    assert!(!left.iter().any(|key| key.contains("/uploads/") || key.contains("/tails/")), "{left:?}");
    registry.stop().await;
}
