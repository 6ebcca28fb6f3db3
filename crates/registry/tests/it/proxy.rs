//! A pull-through cache.

use crate::{
    fake::Fake,
    support::{OCI, Running, open, serve, sha256, start_with},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rorqual_registry::{Config, ObjectsConfig, ProxyConfig, limits};
use rorqual_testkit::ObjectStore;
use serde_json::json;
use std::time::Duration;

/// A cache of `upstream`.
async fn cache(upstream: &Fake) -> Running {
    cache_with(upstream, |_| {}).await
}

async fn cache_with(upstream: &Fake, change: impl FnOnce(&mut Config)) -> Running {
    start_with(|config| {
        config.proxy = Some(ProxyConfig::new(upstream.url()));
        (config.collect.grace, config.collect.grace_at_start) = (Duration::ZERO, Duration::ZERO);
        change(config);
    })
    .await
}

/// An image that upstream has under `a/b:TAG`; returns its digest and that of its layer.
fn image(upstream: &Fake, tag: &str, layer: &str) -> (String, String) {
    let digest = sha256(layer);
    let blob = |digest: &str, size: usize| json!({"mediaType": "m", "digest": digest, "size": size});
    upstream.page(&format!("/v2/a/b/blobs/{digest}"), "", layer.to_owned());
    upstream.page(&format!("/v2/a/b/blobs/{}", sha256("{}")), "", "{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI, "config": blob(&sha256("{}"), 2), "layers": [blob(&digest, layer.len())],
    });
    (upstream.manifest("a/b", tag, OCI, &manifest.to_string()), digest)
}

/// Reads `count` bytes of a body.
async fn read(body: &mut Incoming, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let frame = tokio::time::timeout(Duration::from_secs(30), body.frame()).await.expect("bytes within 30 s");
        all.extend_from_slice(&frame.expect("a frame").expect("no error").into_data().unwrap());
    }
    all
}

fn large() -> Bytes {
    (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn what_was_pulled_once_is_kept() {
    let upstream = Fake::start().await;
    let (digest, layer) = image(&upstream, "t", "layer");
    let registry = cache(&upstream).await;
    let by_tag = "/v2/a/b/manifests/t";
    let paths = [by_tag.to_owned(), format!("/v2/a/b/manifests/{digest}"), format!("/v2/a/b/blobs/{layer}")];
    for _ in 0..2 {
        let manifest = registry.get(by_tag).await.expect(200);
        assert_eq!((sha256(&manifest.body), manifest.header("content-type")), (digest.clone(), OCI));
        assert_eq!(manifest.header("docker-content-digest"), digest);
        assert_eq!(registry.head(by_tag).await.expect(200).header("docker-content-digest"), digest);
        assert_eq!(sha256(&registry.get(&paths[1]).await.expect(200).body), digest);
        assert_eq!(registry.get(&paths[2]).await.expect(200).body, "layer");
        assert_eq!(registry.send("GET", &paths[2], &[("Range", "bytes=1-2")], "").await.expect(206).body, "ay");
        assert_eq!(registry.head(&paths[2]).await.expect(200).header("content-length"), "5");
        let known = [("If-None-Match", digest.as_str())];
        registry.send("GET", by_tag, &known, "").await.expect(304);
        let asked = upstream.lines();
        let gets = asked.iter().filter(|line| line.starts_with("GET")).count();
        let tags = asked.iter().filter(|line| **line == format!("HEAD {by_tag}")).count();
        assert_eq!(tags, 3, "every request for a tag is one for what it is now: {asked:?}");
        // The second time nothing but that.
        assert!(gets == 2 || asked.len() == 3, "{asked:?}");
    }
    let (config, _directory) = registry.stop().await;
    let registry = serve(config).await;
    drop(upstream);
    assert_eq!(registry.get(&paths[2]).await.expect(200).body, "layer");
}

#[tokio::test]
async fn a_tag_is_what_upstream_says_it_is_now() {
    let upstream = Fake::start().await;
    let (first, _) = image(&upstream, "t", "one");
    let registry = cache(&upstream).await;
    registry.get("/v2/a/b/manifests/t").await.expect(200);
    let (second, _) = image(&upstream, "t", "two");
    assert_ne!(first, second);
    let answer = registry.get("/v2/a/b/manifests/t").await.expect(200);
    assert_eq!(sha256(&answer.body), second);
    let old = registry.get(&format!("/v2/a/b/manifests/{first}")).await.expect(200);
    assert_eq!(sha256(&old.body), first);
}

#[tokio::test]
async fn what_is_kept_is_given_while_upstream_is_away() {
    let upstream = Fake::start().await;
    let (digest, layer) = image(&upstream, "t", "layer");
    let registry = cache(&upstream).await;
    registry.get("/v2/a/b/manifests/t").await.expect(200);
    registry.get(&format!("/v2/a/b/blobs/{layer}")).await.expect(200);
    drop(upstream);
    assert_eq!(sha256(&registry.get("/v2/a/b/manifests/t").await.expect(200).body), digest);
    assert_eq!(registry.get("/v2/a/b/tags/list").await.expect(200).json()["tags"], json!(["t"]));
    registry.get("/v2/a/b/manifests/other").await.refused(503, "UNAVAILABLE");
    registry.get(&format!("/v2/a/b/blobs/{}", sha256("other"))).await.refused(503, "UNAVAILABLE");
}

#[tokio::test]
async fn what_upstream_does_not_have_is_unknown() {
    let upstream = Fake::start().await;
    let registry = cache(&upstream).await;
    registry.get("/v2/a/b/manifests/t").await.refused(404, "MANIFEST_UNKNOWN");
    registry.get(&format!("/v2/a/b/manifests/{}", sha256("x"))).await.refused(404, "MANIFEST_UNKNOWN");
    registry.get(&format!("/v2/a/b/blobs/{}", sha256("x"))).await.refused(404, "BLOB_UNKNOWN");
    registry.get("/v2/a/b/tags/list").await.refused(404, "NAME_UNKNOWN");
    // A server that does not say how long a blob is has not told what is needed.
    let digest = sha256("x");
    upstream.page(&format!("/v2/a/b/blobs/{digest}"), "", "");
    registry.get(&format!("/v2/a/b/blobs/{digest}")).await.refused(503, "UNAVAILABLE");
}

#[tokio::test]
async fn a_blob_is_given_while_it_comes_and_fetched_once_for_all() {
    let upstream = Fake::start().await;
    streams(&upstream, &cache(&upstream).await).await;
}

#[tokio::test]
async fn a_blob_is_given_while_it_comes_into_an_object_store() {
    let (upstream, server) = (Fake::start().await, ObjectStore::start());
    let options: Vec<_> = server.settings().map(|(key, value)| (key.to_owned(), value)).into();
    let url = format!("s3://{}", ObjectStore::BUCKET);
    let registry = cache_with(&upstream, |config| config.objects = Some(ObjectsConfig { url, options })).await;
    streams(&upstream, &registry).await;
}

async fn streams(upstream: &Fake, registry: &Running) {
    let all = large();
    let digest = sha256(&all);
    let path = format!("/v2/a/blobs/{digest}");
    upstream.held_blob("a", &digest, all.clone(), 2_000_000);
    upstream.close_gate();
    let mut bodies = Vec::new();
    for range in ["bytes=0-", "bytes=1000000-", "bytes=0-"] {
        let mut body = open(registry.address, &path, &[("Range", range)]).await.into_body();
        let start: usize = range[6..range.len() - 1].parse().unwrap();
        let some = read(&mut body, 500_000).await;
        assert!(some == all[start..start + some.len()]);
        bodies.push((start + some.len(), body));
    }
    // Who leaves does not end it for the others.
    bodies.pop();
    upstream.open_gate();
    for (at, mut body) in bodies {
        assert!(read(&mut body, all.len() - at).await == all[at..]);
    }
    assert!(registry.get(&path).await.expect(200).body == all);
    let gets = upstream.lines().into_iter().filter(|line| line.starts_with("GET")).count();
    assert_eq!(gets, 1);
}

#[tokio::test]
async fn so_many_blobs_may_be_on_their_way() {
    let upstream = Fake::start().await;
    let registry = cache(&upstream).await;
    upstream.close_gate();
    let path = |number: usize| {
        let text = format!("blob {number}");
        let digest = sha256(&text);
        upstream.held_blob("a", &digest, text, 0);
        format!("/v2/a/blobs/{digest}")
    };
    for number in 0..limits::FLIGHTS {
        assert_eq!(open(registry.address, &path(number), &[]).await.status(), 200);
    }
    let over = path(limits::FLIGHTS);
    registry.get(&over).await.refused(429, "TOOMANYREQUESTS");
    upstream.open_gate();
    while registry.get(&over).await.status != 200 {}
    assert_eq!(registry.get(&path(0)).await.expect(200).body, "blob 0");
}

#[tokio::test]
async fn a_fetch_that_a_restart_cut_off_goes_on() {
    let upstream = Fake::start().await;
    let registry = cache(&upstream).await;
    let all = large();
    let digest = sha256(&all);
    let path = format!("/v2/a/blobs/{digest}");
    upstream.held_blob("a", &digest, all.clone(), 2_000_000);
    upstream.close_gate();
    let mut body = open(registry.address, &path, &[]).await.into_body();
    read(&mut body, 1_000_000).await;
    drop(body);
    let (config, _directory) = registry.stop().await;
    upstream.asked();
    upstream.open_gate();
    let registry = serve(config).await;
    assert!(registry.get(&path).await.expect(200).body == all);
    let gets: Vec<_> = upstream.asked().into_iter().filter(|asked| asked.line.starts_with("GET")).collect();
    assert_eq!(gets.len(), 1);
    let range = gets[0].head.to_ascii_lowercase();
    let range = range.split("range: bytes=").nth(1).expect("a range").split('-').next().unwrap().to_owned();
    assert!(range.parse::<usize>().unwrap() >= 1_000_000, "{range}");
}

#[tokio::test]
async fn a_blob_that_is_another_is_neither_given_whole_nor_kept() {
    let upstream = Fake::start().await;
    let registry = cache(&upstream).await;
    let digest = sha256("right");
    let path = format!("/v2/a/blobs/{digest}");
    upstream.page(&path, "", "wrong");
    let body = open(registry.address, &path, &[]).await.into_body();
    assert!(body.collect().await.is_err(), "the end never comes");
    upstream.page(&path, "", "right");
    assert_eq!(registry.get(&path).await.expect(200).body, "right");
    // What a repository may not have upstream it does not have here.
    registry.get(&format!("/v2/other/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    upstream.page(&format!("/v2/other/blobs/{digest}"), "", "right");
    upstream.asked();
    assert_eq!(registry.get(&format!("/v2/other/blobs/{digest}")).await.expect(200).body, "right");
    assert_eq!(upstream.lines(), [format!("HEAD /v2/other/blobs/{digest}")]);
    let (tag, bytes) = (format!("/v2/a/manifests/{digest}"), r#"{"schemaVersion":2}"#);
    upstream.page(&tag, &format!("Content-Type: {OCI}\r\n"), bytes);
    assert!(registry.get(&tag).await.status >= 400);
}

#[tokio::test]
async fn credentials_are_for_upstream_alone() {
    let upstream = Fake::start().await;
    let (_, layer) = image(&upstream, "t", "layer");
    upstream.wants("Basic bWU6c2VjcmV0", "Basic realm=\"upstream\"");
    let with = |username: &'static str| {
        cache_with(&upstream, move |config| {
            let proxy = config.proxy.as_mut().unwrap();
            (proxy.username, proxy.password) = (username.to_owned(), "secret".to_owned());
        })
    };
    let registry = with("me").await;
    for path in ["/v2/a/b/manifests/t".to_owned(), format!("/v2/a/b/blobs/{layer}")] {
        let answer = registry.send("GET", &path, &[("Authorization", "Basic Y2xpZW50Om93bg==")], "").await.expect(200);
        assert!(!format!("{answer:?}").contains("bWU6c2VjcmV0"));
    }
    assert!(upstream.asked().iter().all(|asked| !asked.head.contains("Y2xpZW50Om93bg")), "a client's own goes nowhere");
    let registry = with("").await;
    let refused = registry.get("/v2/a/b/manifests/t").await.refused(404, "MANIFEST_UNKNOWN");
    assert_eq!(refused.header("www-authenticate"), "");
    assert!(!format!("{:?}", registry.config).contains("secret"));
}

#[tokio::test]
async fn a_cache_takes_no_pushes() {
    let upstream = Fake::start().await;
    let (digest, layer) = image(&upstream, "t", "layer");
    let registry = cache(&upstream).await;
    registry.get("/v2/a/b/manifests/t").await.expect(200);
    registry.send("POST", "/v2/a/b/blobs/uploads/", &[], "").await.refused(405, "UNSUPPORTED");
    registry.send("PUT", "/v2/a/b/manifests/t", &[("Content-Type", OCI)], "{}").await.refused(405, "UNSUPPORTED");
    registry.delete(&format!("/v2/a/b/manifests/{digest}")).await.refused(405, "UNSUPPORTED");
    registry.delete(&format!("/v2/a/b/blobs/{layer}")).await.refused(405, "UNSUPPORTED");
}

#[tokio::test]
async fn what_nobody_asks_for_is_kept_for_so_long() {
    let upstream = Fake::start().await;
    let (digest, layer) = image(&upstream, "t", "layer");
    for (ttl, kept) in [(Some(Duration::from_secs(60)), true), (None, true), (Some(Duration::ZERO), false)] {
        let registry = cache_with(&upstream, |config| config.proxy.as_mut().unwrap().ttl = ttl).await;
        registry.get("/v2/a/b/manifests/t").await.expect(200);
        registry.get(&format!("/v2/a/b/blobs/{layer}")).await.expect(200);
        let collected = registry.registry_collects().await;
        assert_eq!((collected.manifests, collected.blobs), if kept { (0, 0) } else { (1, 2) }, "{ttl:?}");
        upstream.asked();
        registry.get(&format!("/v2/a/b/manifests/{digest}")).await.expect(200);
        registry.get(&format!("/v2/a/b/blobs/{layer}")).await.expect(200);
        assert_eq!(upstream.asked().is_empty(), kept, "{ttl:?}");
    }
}

#[tokio::test]
async fn lists_are_upstreams() {
    let upstream = Fake::start().await;
    upstream.page("/v2/a/tags/list", "Content-Type: application/json\r\n", r#"{"name":"a","tags":["c","a","b"]}"#);
    let registry = cache(&upstream).await;
    assert_eq!(registry.get("/v2/a/tags/list").await.expect(200).json()["tags"], json!(["a", "b", "c"]));
    let page = registry.get("/v2/a/tags/list?n=1&last=a").await.expect(200);
    assert_eq!(page.json()["tags"], json!(["b"]));
    assert_eq!(page.header("link"), "</v2/a/tags/list?n=1&last=b>; rel=\"next\"");
    assert_eq!(registry.get("/v2/a/tags/list?n=0").await.expect(200).json()["tags"], json!([]));
    let subject = sha256("x");
    let referrer =
        |kind: &str, text: &str| json!({"mediaType": OCI, "digest": sha256(text), "size": 1, "artifactType": kind});
    let index = json!({
        "schemaVersion": 2, "mediaType": crate::support::INDEX, "manifests": [referrer("k/one", "1"), referrer("k/two", "2")],
    });
    let headers = format!("Content-Type: {}\r\n", crate::support::INDEX);
    upstream.page(&format!("/v2/a/referrers/{subject}"), &headers, index.to_string());
    let list = registry.get(&format!("/v2/a/referrers/{subject}")).await.expect(200).json();
    assert_eq!(list["manifests"].as_array().unwrap().len(), 2);
    let list = registry.get(&format!("/v2/a/referrers/{subject}?artifactType=k%2Ftwo")).await.expect(200).json();
    assert_eq!(list["manifests"], json!([referrer("k/two", "2")]));
}
