//! Where an answer may send us, and with what (threats.md, R12).

use super::*;
use crate::TagOrDigest;
use rorqual_error::Kind;

const SECRET: &str = "hunter2";

/// Asks for Basic before it answers anything.
fn guarded(seen: &Seen, reply: impl FnOnce() -> Reply) -> Reply {
    match seen.header("authorization") {
        "" => Reply::new(401).header("www-authenticate", r#"Basic realm="r""#),
        _ => reply(),
    }
}

fn user() -> Credentials {
    Credentials::password("user", SECRET)
}

#[tokio::test]
async fn another_host_gets_the_request_and_no_credentials() {
    let bytes = noise(5000);
    let sent = bytes.clone();
    let cdn = Fake::start(move |seen| match seen.range_start() {
        None => Reply::new(200).body(sent.clone()).cut_after(2000),
        Some(start) => Reply::new(206).header("content-range", format!("bytes {start}-4999/5000")).body(&sent[start..]),
    })
    .await;
    let location = format!("{}/signed?signature=s3cret", cdn.url());
    let registry = Fake::start(move |seen| guarded(seen, || Reply::new(307).header("location", &location))).await;
    let (found, _) = drain(open(&registry, user(), Access::Pull).fetch(&layer(&bytes), 0)).await.unwrap();
    assert!(found == bytes);
    assert_eq!(registry.lines().len(), 3, "the first is challenged, the resumed one asks for a new address");
    assert_eq!(cdn.lines(), ["GET /signed?signature=s3cret", "GET /signed?signature=s3cret"]);
    assert!(cdn.seen().iter().all(|seen| seen.header("authorization").is_empty()));
    assert_eq!(cdn.seen()[1].range_start(), Some(2000));
}

#[tokio::test]
async fn credentials_do_not_come_back_after_leaving() {
    let home = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let back = home.clone();
    let other = Fake::start(move |_| Reply::new(302).header("location", back.lock().unwrap().clone())).await;
    let away = format!("{}/x", other.url());
    let registry = Fake::start(move |seen| match seen.path.as_str() {
        "/delete-everything" => Reply::new(200).body("x"),
        _ => guarded(seen, || Reply::new(302).header("location", &away)),
    })
    .await;
    *home.lock().unwrap() = format!("{}/delete-everything", registry.url());
    drain(open(&registry, user(), Access::Pull).fetch(&layer(b"x"), 0)).await.unwrap();
    let last = registry.seen().pop().unwrap();
    assert_eq!((last.path.as_str(), last.header("authorization")), ("/delete-everything", ""));
}

#[tokio::test]
async fn the_same_server_is_followed_with_credentials() {
    let registry = Fake::start(|seen| {
        guarded(seen, || match seen.path.as_str() {
            "/elsewhere" => Reply::new(200).body("x"),
            _ => Reply::new(301).header("location", "/elsewhere"),
        })
    })
    .await;
    assert!(drain(open(&registry, user(), Access::Pull).fetch(&layer(b"x"), 0)).await.is_ok());
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_sixth() {
    for (hops, followed) in [(4, true), (5, true), (6, false)] {
        let registry =
            Fake::start(move |seen| match seen.path.strip_prefix("/hop/").map(|n| n.parse::<u32>().unwrap()) {
                Some(hop) if hop == hops => Reply::new(200).body("x"),
                hop => Reply::new(307).header("location", format!("/hop/{}", hop.unwrap_or(0) + 1)),
            })
            .await;
        let found = drain(pull(&registry).fetch(&layer(b"x"), 0)).await;
        assert_eq!(found.is_ok(), followed, "{hops}: {found:?}");
        assert_eq!(registry.lines().len(), 6.min(hops as usize + 1));
    }
}

/// `reg.downgrade`: no answer leads from TLS to plain HTTP, nor to where a registry has no business.
#[tokio::test]
async fn reg_downgrade() {
    for location in [
        "https://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://10.0.0.1/",
        "https://192.168.0.1/",
        "http://0.0.0.0/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "http://user:password@example.org/",
        "//169.254.169.254/",
    ] {
        let registry = Fake::start(move |_| Reply::new(307).header("location", location)).await;
        let repository = pull(&registry);
        let blob = drain(repository.fetch(&layer(b"x"), 0)).await.unwrap_err();
        let tag = TagOrDigest::tag("t").unwrap();
        let manifest = repository.manifest(&tag, 1000).await.unwrap_err();
        let head = repository.exists(&sha256(b"x")).await.unwrap_err();
        for error in [blob, manifest, head] {
            assert!(matches!(error.kind(), Kind::Forbidden | Kind::InvalidArgument), "{location}: {error}");
        }
        assert_eq!(registry.lines().len(), 3, "{location} is refused at once");
    }
    // From TLS to plain HTTP: the cases are with the rule itself, origin.rs; here with a real server.
    secure::a_tls_registry_cannot_redirect_to_plain_http().await;
}

#[tokio::test]
async fn an_address_in_an_error_has_no_query() {
    let cdn = Fake::start(|_| Reply::new(403)).await;
    let location = format!("{}/signed?signature=s3cret", cdn.url());
    let registry = Fake::start(move |_| Reply::new(307).header("location", &location)).await;
    let error = drain(pull(&registry).fetch(&layer(b"x"), 0)).await.unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let cdn = Fake::start(|_| Reply::new(500)).await;
    let location = format!("{}/signed?signature=s3cret", cdn.url());
    let registry = Fake::start(move |_| Reply::new(307).header("location", &location)).await;
    let error = drain(pull(&registry).fetch(&layer(b"x"), 0)).await.unwrap_err();
    assert!(!error.to_string().contains("s3cret") && error.to_string().contains("/signed"), "{error}");
}
