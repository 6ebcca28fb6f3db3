//! What survives a restart, and what a crash leaves.

use crate::support::{closing, serve, sha256, start};

#[tokio::test]
async fn what_was_pushed_is_there_after_a_restart() {
    let registry = start().await;
    let digest = registry.push_image("a/b", "t", "x").await;
    let (config, _directory) = registry.stop().await;
    let registry = serve(config).await;
    let answer = registry.get("/v2/a/b/manifests/t").await.expect(200);
    assert_eq!(sha256(&answer.body), digest);
    registry.get(&format!("/v2/a/b/blobs/{}", sha256("layer of x"))).await.expect(200);
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let registry = start().await;
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[("Content-Range", "0-5")], "hello ").await.expect(202);
    let (config, _directory) = registry.stop().await;
    let registry = serve(config).await;
    assert_eq!(registry.get(&location).await.expect(204).header("range"), "0-5");
    registry.send("PATCH", &location, &[("Content-Range", "6-10")], "world").await.expect(202);
    let digest = sha256("hello world");
    registry.send("PUT", &closing(&location, &digest), &[], "").await.expect(201);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body, "hello world");
}

#[tokio::test]
async fn one_process_serves_a_directory() {
    let registry = start().await;
    let error = rorqual_registry::Server::bind(&registry.config).await.unwrap_err();
    assert_eq!(error.kind(), rorqual_error::Kind::Conflict, "{error}");
}

#[tokio::test]
async fn garbage_is_collected_without_a_server() {
    let registry = start().await;
    let digest = registry.push_blob("a", "hello").await;
    let (config, _directory) = registry.stop().await;
    let collected = rorqual_registry::collect(&config).await.unwrap();
    assert_eq!((collected.links, collected.blobs, collected.bytes), (1, 1, 5));
    let registry = serve(config).await;
    registry.get(&format!("/v2/a/blobs/{digest}")).await.expect(404);
}

#[tokio::test]
async fn an_upload_that_was_idle_for_an_hour_is_dropped() {
    let registry = start().await;
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[], "hello").await.expect(202);
    let (config, _directory) = registry.stop().await;
    let partial = config.root.join("content/partial");
    let file = std::fs::read_dir(&partial).unwrap().next().unwrap().unwrap().path();
    let old = std::time::SystemTime::now() - rorqual_registry::limits::UPLOAD_IDLE;
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
    let registry = serve(config).await;
    registry.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    assert!(!file.exists());
}
