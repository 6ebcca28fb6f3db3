//! Basic, Bearer, and what a registry may not make us do with our credentials.

use super::*;
use crate::{TagOrDigest, limits};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rorqual_error::Kind;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

const SECRET: &str = "hunter2";

fn user() -> Credentials {
    Credentials::password("user", SECRET)
}

fn basic() -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("user:{SECRET}")))
}

fn blob() -> Descriptor {
    layer(b"blob")
}

async fn fetch(repository: &Repository) -> rorqual_error::Result<(Vec<u8>, u32)> {
    drain(repository.fetch(&blob(), 0)).await
}

/// A registry whose token server is itself: `/token` gives what `token` says, `/v2/` wants what `valid` says.
struct Guarded {
    fake: Fake,
    valid: Arc<Mutex<String>>,
}

async fn guarded(token: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Guarded {
    let valid = Arc::new(Mutex::new("Bearer t1".to_owned()));
    let wanted = valid.clone();
    let fake = Fake::start(move |seen| {
        if seen.path.starts_with("/token") {
            return token(seen);
        }
        if seen.header("authorization") == *wanted.lock().unwrap() {
            return Reply::new(200).body("blob");
        }
        let realm = format!("http://{}/token", seen.header("host"));
        let challenge = format!(r#"Bearer realm="{realm}",service="svc",scope="repository:a/b:pull""#);
        Reply::new(401).header("www-authenticate", challenge)
    })
    .await;
    Guarded { fake, valid }
}

fn token(text: &str) -> Reply {
    Reply::new(200).body(format!(r#"{{"token":"{text}","expires_in":300}}"#))
}

#[tokio::test]
async fn basic_credentials_are_sent_when_they_are_asked_for() {
    let fake = Fake::start(|seen| match seen.header("authorization") {
        given if given == basic() => Reply::new(200).body("blob"),
        _ => Reply::new(401).header("www-authenticate", r#"Basic realm="Registry""#),
    })
    .await;
    let repository = open(&fake, user(), Access::Pull);
    fetch(&repository).await.unwrap();
    fetch(&repository).await.unwrap();
    let sent: Vec<bool> = fake.seen().iter().map(|seen| !seen.header("authorization").is_empty()).collect();
    assert_eq!(sent, [false, true, true], "the challenge is remembered");
    let error = fetch(&pull(&fake)).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Unauthorized, "no basic auth credentials"));
    let before = fake.lines().len();
    let error = fetch(&open(&fake, Credentials::password("user", "wrong"), Access::Pull)).await.unwrap_err();
    assert!(error.to_string().ends_with("unauthorized: authentication required"), "{error}");
    assert!(!error.to_string().contains("wrong"));
    assert_eq!(fake.lines().len(), before + 2, "a refused password is not sent a third time");
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_by_all() {
    let Guarded { fake, .. } = guarded(|_| token("t1")).await;
    let registries = registries(Config::default());
    let repository = open_with(&registries, &fake, user(), Access::Pull);
    let all = (0..8).map(|_| {
        let repository = repository.clone();
        tokio::spawn(async move { fetch(&repository).await.map(|_| ()) })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    let asked: Vec<Seen> = fake.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).collect();
    assert_eq!(asked.len(), 1, "one token serves all that wait for it");
    assert_eq!(asked[0].line(), "GET /token?service=svc&scope=repository%3Aa%2Fb%3Apull&account=user");
    assert_eq!(asked[0].header("authorization"), basic());
    // Another repository object of the same user finds it, another user does not.
    fetch(&open_with(&registries, &fake, user(), Access::Pull)).await.unwrap();
    assert_eq!(fake.count("GET /token"), 1);
    fetch(&open_with(&registries, &fake, Credentials::anonymous(), Access::Pull)).await.unwrap();
    assert_eq!(fake.count("GET /token"), 2);
    assert_eq!(fake.seen().iter().rfind(|seen| seen.path.starts_with("/token")).unwrap().header("authorization"), "");
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_is_replaced() {
    let given = AtomicU32::new(0);
    let Guarded { fake, valid } =
        guarded(move |_| token(&format!("t{}", given.fetch_add(1, Ordering::SeqCst) + 1))).await;
    let repository = open(&fake, user(), Access::Pull);
    fetch(&repository).await.unwrap();
    *valid.lock().unwrap() = "Bearer t2".to_owned();
    fetch(&repository).await.unwrap();
    assert_eq!(fake.count("GET /token"), 2);
    // One that is refused again is not asked for without end.
    *valid.lock().unwrap() = "nothing".to_owned();
    let error = fetch(&repository).await.unwrap_err();
    assert!(error.to_string().starts_with("pull access denied for"), "{error}");
    assert_eq!(fake.count("GET /token"), 3);
}

#[tokio::test]
async fn a_token_near_its_end_is_replaced_before_it_is_refused() {
    let Guarded { fake, .. } = guarded(|_| Reply::new(200).body(r#"{"access_token":"t1","expires_in":4}"#)).await;
    let repository = open(&fake, user(), Access::Pull);
    fetch(&repository).await.unwrap();
    fetch(&repository).await.unwrap();
    assert_eq!((fake.count("GET /token"), fake.count("GET /v2/")), (2, 3), "4 s are less than the margin");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let Guarded { fake, .. } = guarded(|_| Reply::new(200).body(r#"{"access_token":"t1","expires_in":null}"#)).await;
    let credentials = Credentials { identitytoken: "refresh me".into(), ..Credentials::anonymous() };
    fetch(&open(&fake, credentials, Access::Pull)).await.unwrap();
    let asked = fake.seen().into_iter().find(|seen| seen.path.starts_with("/token")).unwrap();
    assert_eq!(asked.line(), "POST /token");
    assert_eq!(
        asked.body,
        "grant_type=refresh_token&service=svc&client_id=docker&scope=repository%3Aa%2Fb%3Apull&refresh_token=refresh+me"
    );
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let Guarded { fake, .. } = guarded(|_| Reply::new(500)).await;
    let with = |token: &str| Credentials { registrytoken: token.into(), ..Credentials::anonymous() };
    fetch(&open(&fake, with("t1"), Access::Pull)).await.unwrap();
    assert!(fetch(&open(&fake, with("t9"), Access::Pull)).await.is_err());
    assert_eq!(fake.count("GET /token"), 0);
}

#[tokio::test]
async fn credentials_of_another_server_stay_here() {
    let fake = Fake::start(|seen| match seen.header("authorization") {
        "" => Reply::new(401).header("www-authenticate", r#"Basic realm="r""#),
        _ => Reply::new(200).body("blob"),
    })
    .await;
    for server in ["https://index.docker.io/v1/", "127.0.0.1", "127.0.0.1:1", "localhost"] {
        for mut credentials in [user(), Credentials { registrytoken: SECRET.into(), ..user() }] {
            credentials.serveraddress = server.into();
            let error = fetch(&open(&fake, credentials, Access::Pull)).await.unwrap_err();
            assert_eq!(error.to_string(), "no basic auth credentials");
        }
    }
    assert!(fake.seen().iter().all(|seen| seen.header("authorization").is_empty()));
}

#[tokio::test]
async fn a_token_server_that_has_moved_is_found_again() {
    let gone = Arc::new(AtomicU32::new(0));
    let is_gone = gone.clone();
    let old =
        Fake::start(move |_| if is_gone.load(Ordering::SeqCst) == 0 { token("t1") } else { Reply::new(404) }).await;
    let new = Fake::start(|_| token("t2")).await;
    let place = Arc::new(Mutex::new((old.url(), "Bearer t1".to_owned())));
    let now = place.clone();
    let fake = Fake::start(move |seen| {
        let (realm, valid) = now.lock().unwrap().clone();
        match seen.header("authorization") == valid {
            true => Reply::new(200).body("blob"),
            false => Reply::new(401).header("www-authenticate", format!(r#"Bearer realm="{realm}",service="s""#)),
        }
    })
    .await;
    let registries = registries(Config::default());
    fetch(&open_with(&registries, &fake, user(), Access::Pull)).await.unwrap();
    *place.lock().unwrap() = (new.url(), "Bearer t2".to_owned());
    gone.store(1, Ordering::SeqCst);
    // Another user has no token yet, and the old server does not serve any more: it fails once.
    let other = open_with(&registries, &fake, Credentials::anonymous(), Access::Pull);
    let first = fetch(&other).await;
    let second = fetch(&other).await;
    assert!(first.is_err() && second.is_ok(), "{first:?} {second:?}");
}

/// `reg.realm`: a token server by address, by a weaker scheme or by redirect gets nothing.
#[tokio::test]
async fn reg_realm() {
    for realm in [
        "https://169.254.169.254/token",
        "http://169.254.169.254/token",
        "http://[fe80::1]/token",
        "http://2852039166/token",
        "http://10.0.0.1/token",
        "https://8.8.8.8/token",
        "http://u:p@auth.example.org/token",
        "file:///etc/passwd",
        "gopher://x",
        "nonsense",
    ] {
        let fake = Fake::start(move |_| {
            Reply::new(401).header("www-authenticate", format!(r#"Bearer realm="{realm}",service="s""#))
        })
        .await;
        let error = fetch(&open(&fake, user(), Access::Pull)).await.unwrap_err();
        assert!(matches!(error.kind(), Kind::Forbidden | Kind::InvalidArgument), "{realm}: {error}");
        assert!(!error.to_string().contains(SECRET) && !error.to_string().contains("u:p"), "{error}");
        assert_eq!(fake.lines().len(), 1, "{realm} is refused at once");
    }
    // A realm that redirects, to a server that would take anything.
    let thief = Fake::start(|_| token("t1")).await;
    let there = thief.url();
    let Guarded { fake, .. } = guarded(move |_| Reply::new(307).header("location", &there)).await;
    let error = fetch(&open(&fake, user(), Access::Pull)).await.unwrap_err();
    assert!(error.to_string().contains("redirects: refused"), "{error}");
    assert!(thief.lines().is_empty());
    // And by a weaker scheme.
    secure::a_tls_registry_cannot_name_a_plain_token_server().await;
}

#[tokio::test]
async fn a_token_server_on_another_port_is_used() {
    let server = Fake::start(|_| token("t1")).await;
    let realm = format!("{}/auth", server.url());
    let fake = Fake::start(move |seen| match seen.header("authorization") {
        "Bearer t1" => Reply::new(200).body("blob"),
        _ => Reply::new(401).header("www-authenticate", format!(r#"Bearer realm="{realm}",service="s""#)),
    })
    .await;
    fetch(&open(&fake, user(), Access::Pull)).await.unwrap();
    assert_eq!(server.lines(), ["GET /auth?service=s&scope=repository%3Aa%2Fb%3Apull&account=user"]);
}

#[tokio::test]
async fn answers_of_a_token_server_are_bounded() {
    let padded = |size: usize| {
        let text = r#"{"token":"t1"}"#;
        text.to_owned() + &" ".repeat(size - text.len())
    };
    let max = limits::TOKEN_BYTES_MAX as usize;
    for (size, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        let Guarded { fake, .. } = guarded(move |_| Reply::new(200).body(padded(size))).await;
        assert_eq!(fetch(&open(&fake, user(), Access::Pull)).await.is_ok(), taken, "{size}");
    }
    for (reply, expected) in [
        (Reply::new(200).body("hunter2"), "gave no token document"),
        (Reply::new(200).body("{}"), "did not include a token"),
        (Reply::new(200).body(r#"{"token":"a\nb"}"#), "characters that HTTP does not allow"),
        (Reply::new(401).body(r#"{"details":"incorrect username or password"}"#), "unauthorized: incorrect username"),
        (Reply::new(503), "503 Service Unavailable"),
    ] {
        let Guarded { fake, .. } = guarded(move |_| reply.clone()).await;
        let error = fetch(&open(&fake, user(), Access::Pull)).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains(SECRET), "{expected}: {error}");
        assert!(!error.contains("pull access denied"), "wrong credentials are told as such: {error}");
    }
}

#[tokio::test]
async fn a_challenge_is_bounded() {
    let fake = Fake::start(|_| {
        let half = "x".repeat(limits::CHALLENGE_BYTES_MAX / 2 + 1);
        Reply::new(401).header("www-authenticate", &half).header("www-authenticate", &half)
    })
    .await;
    let error = fetch(&open(&fake, user(), Access::Pull)).await.unwrap_err();
    assert!(error.to_string().contains("larger than 16 KiB"), "{error}");
}

#[tokio::test]
async fn login_says_whether_credentials_are_good() {
    let given = |seen: &Seen| seen.header("authorization") == basic();
    let Guarded { fake, .. } = guarded(move |seen| match given(seen) {
        true => Reply::new(200).body(r#"{"token":"t1","refresh_token":"keep me"}"#),
        false => Reply::new(401).body(r#"{"details":"incorrect username or password"}"#),
    })
    .await;
    let registries = registries(Config::default());
    let server = fake.address.to_string();
    let login = registries.login(&Credentials { serveraddress: server.clone(), ..user() }).await.unwrap();
    assert_eq!((login.status.as_str(), login.identity_token.as_str()), ("Login Succeeded", "keep me"));
    assert!(!format!("{login:?}").contains("keep me"));
    assert!(fake.lines().iter().any(|line| line.ends_with("account=user&offline_token=true&client_id=docker")));
    let wrong = Credentials { serveraddress: server.clone(), ..Credentials::password("user", "wrong") };
    let error = registries.login(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    let expected = format!("Get \"http://{server}/v2/\": unauthorized: incorrect username or password");
    assert_eq!(error.to_string(), expected);
    registries.ping(&server, &user()).await.unwrap();
}

#[tokio::test]
async fn a_search_asks_the_index_and_keeps_the_limit() {
    let fake = Fake::start(|seen| match seen.header("authorization") {
        "" => Reply::new(200).body(r#"{"results":[{"name":"x","description":null,"star_count":3},{"name":"y"}]}"#),
        given if given == basic() => Reply::new(200).body(r#"{"results":[]}"#),
        _ => Reply::new(400),
    })
    .await;
    let registries = registries(Config::default());
    let term = format!("{}/a b", fake.address);
    let found = registries.search(&term, 1, &Credentials::anonymous()).await.unwrap();
    assert_eq!((found.len(), found[0].name.as_str(), found[0].star_count), (1, "x", 3));
    assert_eq!(fake.lines(), ["GET /v1/search?q=a+b&n=1"]);
    assert!(registries.search(&term, 0, &user()).await.unwrap().is_empty());
    for limit in [101, 1000] {
        let error = registries.search(&term, limit, &user()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("limit {limit} is outside the range of [1, 100]"));
    }
    assert!(registries.search("https://x/y", 1, &user()).await.is_err());
}

#[tokio::test]
async fn nothing_that_is_printed_holds_a_secret() {
    let Guarded { fake, .. } = guarded(|_| Reply::new(401)).await;
    let repository = open(&fake, Credentials { identitytoken: "s3cret".into(), ..user() }, Access::Push);
    let shown = format!("{repository:?} {:?}", repository.fetch(&blob(), 0));
    assert!(!shown.contains(SECRET) && !shown.contains("s3cret"), "{shown}");
    let target = TagOrDigest::tag("t").unwrap();
    let error = repository.push_manifest(&target, "a/b", b"x").await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
}

#[tokio::test]
async fn every_operation_may_run_on_any_thread() {
    fn checked<T: Send>(_: T) {}
    let Guarded { fake, .. } = guarded(|_| token("t1")).await;
    let registries = registries(Config::default());
    let repository = open_with(&registries, &fake, user(), Access::Push);
    let (target, descriptor) = (TagOrDigest::tag("t").unwrap(), blob());
    let progress = crate::Progress::ignored();
    let source = |offset| crate::bytes_chunks(bytes::Bytes::from_static(b"blob"), offset);
    checked(repository.manifest(&target, 1));
    checked(repository.resolve(&target));
    checked(repository.push_manifest(&target, "a/b", b"x"));
    checked(repository.fetch(&descriptor, 0).chunk());
    checked(repository.fetch_whole(&descriptor, 10));
    checked(repository.exists(&descriptor.digest));
    checked(repository.mount(&descriptor.digest, repository.reference()));
    checked(repository.push_blob(&descriptor, &source, crate::Manner::Whole, &progress));
    checked(repository.tags());
    checked(repository.referrers(&descriptor.digest, None));
    checked(registries.login(&user()));
    checked(registries.search("x", 1, &user()));
    checked(registries.ping("x", &user()));
}
