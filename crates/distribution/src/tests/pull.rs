//! Manifests, and the texts of what goes wrong with them.

use super::*;
use crate::{HostRule, Mirror, TagOrDigest};
use rorqual_error::Kind;

const MAX: u64 = crate::limits::MANIFEST_BYTES_MAX;

fn tag() -> TagOrDigest {
    TagOrDigest::tag("t").unwrap()
}

fn served(bytes: &[u8], media_type: &str) -> Reply {
    Reply::new(200).header("content-type", media_type).body(bytes)
}

#[tokio::test]
async fn a_manifest_comes_as_its_exact_bytes() {
    let (bytes, digest) = manifest();
    let sent = bytes.clone();
    let fake = Fake::start(move |_| served(&sent, media::MANIFEST).header("docker-content-digest", digest)).await;
    for target in [tag(), TagOrDigest::Digest(digest)] {
        let found = pull(&fake).manifest(&target, MAX).await.unwrap();
        assert_eq!((found.bytes, found.descriptor.digest), (bytes.clone(), digest));
        assert_eq!(found.descriptor.media_type, media::MANIFEST);
    }
    assert_eq!(fake.lines()[..1], ["GET /v2/a/b/manifests/t"]);
    assert!(fake.seen()[0].header("accept").contains(media::INDEX));
}

/// A document as it is served, its type, the digest that is promised with it, and whether it is taken.
async fn check(bytes: Vec<u8>, media_type: &'static str, promised: Option<String>, target: TagOrDigest) -> String {
    let fake = Fake::start(move |_| {
        let reply = served(&bytes, media_type);
        match &promised {
            Some(digest) => reply.header("docker-content-digest", digest),
            None => reply,
        }
    })
    .await;
    match pull(&fake).manifest(&target, MAX).await {
        Ok(_) => "taken".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_manifest_that_is_not_what_it_says_is_refused() {
    let (bytes, digest) = manifest();
    let other = sha256(b"other");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let two_faced = text(&bytes).replace(r#""layers""#, r#""manifests":[],"layers""#).into_bytes();
    let plain = text(&bytes).replace(&format!(r#""mediaType":"{}","#, media::MANIFEST), "").into_bytes();
    let large = [bytes.clone(), vec![b' '; MAX as usize]].concat();
    let schema1 = br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.to_vec();
    for (bytes, media_type, promised, target, expected) in [
        (bytes.clone(), media::MANIFEST, None, TagOrDigest::Digest(other), "manifest verification failed for digest"),
        (bytes.clone(), media::MANIFEST, Some(other.to_string()), tag(), "the registry promises manifest"),
        (bytes.clone(), media::MANIFEST, Some("sha256:zz".into()), tag(), "is no digest"),
        (bytes.clone(), media::INDEX, None, tag(), "a manifest where an index was promised"),
        (bytes.clone(), media::DOCKER_MANIFEST, None, tag(), "it says application/vnd.oci.image.manifest"),
        (bytes.clone(), "text/html", None, tag(), "unsupported media type text/html"),
        (two_faced, media::MANIFEST, None, tag(), "ambiguous document"),
        (large, media::MANIFEST, None, tag(), "is larger than"),
        (schema1, "application/vnd.docker.distribution.manifest.v1+prettyjws", None, tag(), "no longer supported"),
        (b"<html>".to_vec(), media::MANIFEST, None, tag(), "invalid JSON"),
        (bytes.clone(), media::MANIFEST, Some(digest.to_string()), TagOrDigest::Digest(digest), "taken"),
        (plain.clone(), media::MANIFEST, None, tag(), "taken"),
        (plain, "application/json", None, tag(), "taken"),
    ] {
        let found = check(bytes, media_type, promised, target).await;
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[tokio::test]
async fn the_size_of_a_manifest_is_limited() {
    let padded = |size: usize| {
        let (mut bytes, _) = manifest();
        bytes.resize(size, b' ');
        bytes
    };
    for (size, taken) in [(MAX as usize - 1, true), (MAX as usize, true), (MAX as usize + 1, false)] {
        let found = check(padded(size), media::MANIFEST, None, tag()).await;
        assert_eq!(found == "taken", taken, "{size}: {found}");
    }
}

#[tokio::test]
async fn errors_read_as_dockerd_gives_them() {
    for (reply, kind, text) in [
        (
            Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            Kind::NotFound,
            "manifest for NAME:t not found: manifest unknown: manifest unknown",
        ),
        (Reply::new(404), Kind::NotFound, "manifest for NAME:t not found: manifest unknown: manifest unknown"),
        (
            Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
            Kind::NotFound,
            "pull access denied for NAME, repository does not exist or may require 'docker login': name unknown: \
             repository name not known to registry",
        ),
        (
            Reply::error(403, "DENIED", "requested access to the resource is denied"),
            Kind::NotFound,
            "pull access denied for NAME, repository does not exist or may require 'docker login': denied: requested \
             access to the resource is denied",
        ),
        (
            Reply::error(401, "UNAUTHORIZED", "authentication required"),
            Kind::NotFound,
            "pull access denied for NAME, repository does not exist or may require 'docker login': unauthorized: \
             authentication required",
        ),
        (Reply::error(400, "NAME_INVALID", "bad"), Kind::InvalidArgument, "name invalid: bad"),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let error = pull(&fake).manifest(&tag(), MAX).await.unwrap_err();
        let expected = text.replace("NAME", &format!("{}/a/b", fake.address));
        assert_eq!((error.kind(), error.to_string()), (kind, expected));
        assert_eq!(fake.lines().len(), 1, "{text} is final");
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_the_rest_is_not() {
    for (status, after, requests) in [
        (503, "", 5),
        (500, "", 5),
        (429, "", 5),
        (429, "0", 5),
        (429, "61", 1),
        (400, "", 1),
        (404, "", 1),
        (501, "", 1),
    ] {
        let fake = Fake::start(move |_| match after {
            "" => Reply::new(status),
            after => Reply::new(status).header("retry-after", after),
        })
        .await;
        assert!(pull(&fake).manifest(&tag(), MAX).await.is_err());
        assert_eq!(fake.lines().len(), requests, "{status} {after}");
    }
    let (bytes, _) = manifest();
    let tries = std::sync::atomic::AtomicU32::new(0);
    let fake = Fake::start(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::new(429).header("retry-after", "0"),
        1 => served(&bytes, media::MANIFEST).cut_after(10),
        _ => served(&bytes, media::MANIFEST),
    })
    .await;
    assert!(pull(&fake).manifest(&tag(), MAX).await.is_ok());
}

#[tokio::test]
async fn nobody_there_is_said_as_docker_says_it() {
    let fake = Fake::start(|_| Reply::new(200)).await;
    let gone = fake.address;
    drop(fake);
    // The port is free once the listener's task is gone.
    while tokio::net::TcpStream::connect(gone).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let reference = format!("{gone}/a/b:t").parse().unwrap();
    let repository =
        registries(Config::default()).repository(&reference, Credentials::anonymous(), Access::Pull).unwrap();
    let error = repository.manifest(&tag(), MAX).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let port = gone.port();
    let expected = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[tokio::test]
async fn a_name_is_resolved_by_the_head_alone_where_that_is_enough() {
    let (bytes, digest) = manifest();
    for told in [true, false] {
        let sent = bytes.clone();
        let fake = Fake::start(move |seen| {
            let reply = served(&sent, media::MANIFEST);
            let reply = if seen.method == "HEAD" { reply.header("content-length", sent.len()) } else { reply };
            if told { reply.header("docker-content-digest", digest) } else { reply }
        })
        .await;
        let found = pull(&fake).resolve(&tag()).await.unwrap();
        assert_eq!((found.digest, found.size), (digest, bytes.len() as u64));
        assert_eq!(found.media_type, media::MANIFEST);
        assert_eq!(fake.count("GET"), usize::from(!told));
    }
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_then_the_registry() {
    let (bytes, digest) = manifest();
    let empty = Fake::start(|_| Reply::new(404)).await;
    let broken = Fake::start(|_| Reply::new(500)).await;
    let lying = Fake::start(|_| served(b"{}", media::MANIFEST)).await;
    let sent = bytes.clone();
    let registry = Fake::start(move |_| served(&sent, media::MANIFEST)).await;
    let mirror = |fake: &Fake, prefix: Option<&str>| Mirror { url: fake.url(), prefix: prefix.map(str::to_owned) };
    let rule = HostRule {
        registry: registry.address.to_string(),
        prefix: "a/".into(),
        mirrors: vec![mirror(&empty, Some("proxy/x/")), mirror(&broken, None), mirror(&lying, None)],
        mirrors_only: false,
    };
    let registries = registries(Config { rules: vec![rule], ..Config::default() });
    let repository = open_with(&registries, &registry, Credentials::password("user", "hunter2"), Access::Pull);
    let found = repository.manifest(&TagOrDigest::Digest(digest), MAX).await.unwrap();
    assert_eq!(found.bytes, bytes);
    assert_eq!(empty.lines(), [format!("GET /v2/proxy/x/b/manifests/{digest}")]);
    // A mirror is not waited for.
    assert_eq!((broken.lines().len(), lying.lines().len(), registry.lines().len()), (1, 1, 1));
    for seen in [empty.seen(), broken.seen(), lying.seen()].concat() {
        assert_eq!(seen.header("authorization"), "");
    }
}
