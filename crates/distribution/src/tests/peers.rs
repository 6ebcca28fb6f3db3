//! Other nodes: asked by digest before the registry, never trusted with more, never waited for.

use super::*;
use crate::{Peer, TagOrDigest};
use std::{path::PathBuf, sync::LazyLock};

const SECRET: &str = "hunter2";

/// A file that holds the password, for the length of the test run.
fn secret() -> PathBuf {
    static FILE: LazyLock<tempfile::NamedTempFile> = LazyLock::new(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
        file
    });
    FILE.path().to_owned()
}

fn peer(url: String) -> Peer {
    Peer { url, username: "node1".into(), password_file: secret() }
}

/// A node that has these bytes, for those who show the password.
async fn node(path: String, bytes: Vec<u8>) -> Fake {
    Fake::start(move |seen| match seen.header("authorization") {
        // base64 of node1:hunter2
        "Basic bm9kZTE6aHVudGVyMg==" if seen.path == path => Reply::new(200).body(bytes.clone()),
        "Basic bm9kZTE6aHVudGVyMg==" => Reply::new(404),
        _ => Reply::new(401).header("www-authenticate", r#"Basic realm="node""#),
    })
    .await
}

#[tokio::test]
async fn a_blob_comes_from_the_node_that_has_it() {
    let bytes = noise(100_000);
    let blob = layer(&bytes);
    let path = format!("/v2/a/b/blobs/{}", blob.digest);
    let (without, with) = (node(String::new(), Vec::new()).await, node(path.clone(), bytes.clone()).await);
    let registry = Fake::start(|_| Reply::new(404)).await;
    let peers = vec![peer(without.url()), peer(with.url())];
    let registries = registries(Config { peers, ..Config::default() });
    let user = Credentials::password("user", "other");
    let repository = open_with(&registries, &registry, user, Access::Pull);
    assert_eq!(drain(repository.fetch(&blob, 0)).await.unwrap().0, bytes);
    let rest = drain(repository.fetch(&blob, 60_000)).await.unwrap().0;
    assert_eq!(rest, bytes[60_000..]);
    assert_eq!(registry.lines(), Vec::<String>::new());
    assert_eq!(without.count(&format!("GET {path}")), 3, "the challenge, and two blobs");
}

#[tokio::test]
async fn a_manifest_comes_from_a_node_by_digest_and_never_by_tag() {
    let (bytes, digest) = manifest();
    let with = node(format!("/v2/a/b/manifests/{digest}"), bytes.clone()).await;
    let registry = Fake::start(|_| Reply::new(404)).await;
    let registries = registries(Config { peers: vec![peer(with.url())], ..Config::default() });
    let repository = open_with(&registries, &registry, Credentials::anonymous(), Access::Pull);
    let found = repository.manifest(&TagOrDigest::Digest(digest), 4096).await.unwrap();
    assert_eq!(found.bytes, bytes);
    let asked = with.lines().len();
    repository.manifest(&TagOrDigest::tag("t").unwrap(), 4096).await.unwrap_err();
    assert_eq!((with.lines().len(), registry.lines().len()), (asked, 1));
}

#[tokio::test]
async fn a_node_that_fails_is_asked_once_and_then_left_alone() {
    let bytes = noise(1000);
    let blob = layer(&bytes);
    let sent = bytes.clone();
    let registry = Fake::start(move |_| Reply::new(200).body(sent.clone())).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = Fake::start(|_| Reply::new(403)).await;
    let peers = vec![peer(format!("http://{closed}")), peer(refusing.url())];
    let registries = registries(Config { peers, ..Config::default() });
    let repository = open_with(&registries, &registry, Credentials::anonymous(), Access::Pull);
    for _ in 0..3 {
        assert_eq!(drain(repository.fetch(&blob, 0)).await.unwrap().0, bytes);
    }
    assert_eq!((refusing.lines().len(), registry.lines().len()), (1, 3));
}

#[tokio::test]
async fn passwords_go_where_they_belong() {
    let node = Fake::start(|_| Reply::new(401).header("www-authenticate", r#"Basic realm="x""#)).await;
    let registry = Fake::start(|_| Reply::new(401).header("www-authenticate", r#"Basic realm="x""#)).await;
    let registries = registries(Config { peers: vec![peer(node.url())], ..Config::default() });
    let repository = open_with(&registries, &registry, Credentials::password("user", "other"), Access::Pull);
    drain(repository.fetch(&layer(b"x"), 0)).await.unwrap_err();
    let sent = |fake: &Fake| fake.seen().iter().map(|seen| seen.header("authorization").to_owned()).collect::<Vec<_>>();
    assert_eq!(sent(&node), ["", "Basic bm9kZTE6aHVudGVyMg=="]);
    // base64 of user:other
    assert_eq!(sent(&registry), ["", "Basic dXNlcjpvdGhlcg=="]);
}

#[tokio::test]
async fn pushes_ask_no_node() {
    let node = Fake::start(|_| Reply::new(200)).await;
    let registry = Fake::start(|_| Reply::new(404)).await;
    let registries = registries(Config { peers: vec![peer(node.url())], ..Config::default() });
    let repository = open_with(&registries, &registry, Credentials::anonymous(), Access::Push);
    assert_eq!(repository.exists(&sha256(b"x")).await.unwrap(), None);
    assert_eq!(node.lines(), Vec::<String>::new());
}

#[test]
fn a_node_needs_a_password_and_a_connection_that_hides_it() {
    let refused = |peer: Peer| {
        let error = Registries::new(Config { peers: vec![peer], ..Config::default() }).unwrap_err().to_string();
        assert!(!error.contains(SECRET), "{error}");
        error
    };
    assert!(refused(peer("http://node2.example:2378".into())).contains("plain text"));
    assert!(refused(peer(format!("https://u:{SECRET}@node2"))).contains("not allowed in its URI"));
    assert!(
        refused(Peer { username: String::new(), ..peer("https://node2".into()) }).contains("a user name is needed")
    );
    for (content, said) in
        [(Some(""), "must hold one line"), (Some("a\nb\n"), "must hold one line"), (None, "read the")]
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        match content {
            Some(content) => std::fs::write(file.path(), content).unwrap(),
            None => std::fs::remove_file(file.path()).unwrap(),
        }
        let error = refused(Peer { password_file: file.path().to_owned(), ..peer("https://node2".into()) });
        assert!(error.contains(said) && error.contains(file.path().to_str().unwrap()), "{error}");
    }
    let many = vec![peer("https://node2".into()); 65];
    assert!(Registries::new(Config { peers: many, ..Config::default() }).is_err());
}
