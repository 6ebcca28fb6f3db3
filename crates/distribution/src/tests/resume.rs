//! Blobs: resumed where they break off, and never more or other bytes than were promised.

use super::*;
use crate::limits;
use rorqual_error::Kind;

/// Serves `bytes` as a registry should, ranges included.
fn serve(seen: &Seen, bytes: &[u8]) -> Reply {
    match seen.range_start() {
        Some(start) => Reply::new(206)
            .header("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(&bytes[start..]),
        None => Reply::new(200).body(bytes),
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_is_resumed_at_the_byte_it_reached() {
    let bytes = noise(1 << 20);
    let (sent, piece) = (bytes.clone(), bytes.len() / 20);
    let fake = Fake::start(move |seen| serve(seen, &sent).cut_after(piece + 1)).await;
    let (found, requests) = drain(pull(&fake).fetch(&layer(&bytes), 0)).await.unwrap();
    assert!(found == bytes);
    assert_eq!(requests, 20);
    let asked: Vec<usize> = fake.seen().iter().map(|seen| seen.range_start().unwrap_or(0)).collect();
    assert_eq!(asked, (0..20).map(|at| at * (piece + 1)).collect::<Vec<_>>(), "no byte is fetched twice");
    assert!(fake.seen().iter().all(|seen| seen.header("accept-encoding") == "identity"));
}

#[tokio::test]
async fn a_download_begins_where_it_is_told_to() {
    let bytes = noise(1000);
    let sent = bytes.clone();
    let fake = Fake::start(move |seen| serve(seen, &sent)).await;
    let descriptor = layer(&bytes);
    for offset in [0usize, 1, 999] {
        let (found, _) = drain(pull(&fake).fetch(&descriptor, offset as u64)).await.unwrap();
        assert_eq!(found, bytes[offset..]);
    }
    let before = fake.lines().len();
    assert!(drain(pull(&fake).fetch(&descriptor, 1000)).await.unwrap().0.is_empty());
    assert_eq!(fake.lines().len(), before, "nothing is left to ask for");
    assert!(drain(pull(&fake).fetch(&descriptor, 1001)).await.is_err());
}

#[tokio::test]
async fn an_empty_blob_is_nothing_and_verified() {
    let fake = Fake::start(|_| Reply::new(200)).await;
    assert!(drain(pull(&fake).fetch(&layer(b""), 0)).await.unwrap().0.is_empty());
    let wrong = Descriptor { digest: sha256(b"x"), ..layer(b"") };
    assert!(drain(pull(&fake).fetch(&wrong, 0)).await.is_err());
}

#[tokio::test]
async fn a_server_without_ranges_is_skipped_through() {
    let bytes = noise(100_000);
    let sent = bytes.clone();
    let fake = Fake::start(move |seen| {
        let reply = Reply::new(200).body(sent.clone());
        if seen.range_start().is_none() { reply.cut_after(70_000) } else { reply }
    })
    .await;
    let (found, requests) = drain(pull(&fake).fetch(&layer(&bytes), 0)).await.unwrap();
    assert!(found == bytes);
    assert_eq!(requests, 2);
}

/// What a server may say to a request for a blob of 1000 bytes, from 0 and from 400 on, and what comes of it.
#[tokio::test]
async fn a_server_that_lies_about_a_blob_is_refused() {
    let bytes = noise(1000);
    let short = |n: usize| noise(1000)[..n].to_vec();
    let range = |text: &str, from: usize| Reply::new(206).header("content-range", text).body(&noise(1000)[from..]);
    let endless = || {
        Reply::new(200)
            .header("transfer-encoding", "chunked")
            .body([b"7d0\r\n".to_vec(), noise(2000), b"\r\n0\r\n\r\n".to_vec()].concat())
    };
    let changed = || {
        let mut bytes = noise(1000);
        bytes[500] ^= 1;
        bytes
    };
    for (offset, reply, expected) in [
        (0, Reply::new(200).body(changed()), "sends bytes whose digest is"),
        (0, Reply::new(200).body(noise(1001)), "announces another length"),
        (0, Reply::new(200).body(short(999)), "announces another length"),
        (0, endless(), "sends more bytes than the descriptor says"),
        (0, range("bytes 0-999/1000", 1), "announces another length"),
        (0, Reply::new(200).body(noise(1000)).header("docker-content-digest", sha256(b"x")), "answers with sha256:"),
        (0, Reply::new(200).body(noise(1000)).header("content-encoding", "gzip"), "encoding that was not asked for"),
        (0, Reply::new(202).body(noise(1000)), "status 202"),
        (400, range("bytes 399-999/1000", 399), "another range"),
        (400, range("bytes 401-999/1000", 401), "another range"),
        (400, range("bytes 400-1000/1001", 400), "another range"),
        (400, range("bytes 400-999/1001", 400), "another range"),
        (400, range("bytes 400-999", 400), "another range"),
        (400, Reply::new(206).body(short(600)), "another range"),
        (400, range("bytes 400-999/1000", 500), "announces another length"),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let mut download = pull(&fake).fetch(&layer(&bytes), offset);
        let error = loop {
            match download.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{expected}: taken"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert_eq!(fake.lines().len(), 1, "{expected}: a lie is final");
        assert!(download.chunk().await.is_err(), "{expected}: and stays an error");
    }
}

#[tokio::test]
async fn a_receiver_may_check_the_digest_itself() {
    let fake = Fake::start(|_| Reply::new(200).body("yyy")).await;
    let download = pull(&fake).fetch(&layer(b"xxx"), 0).digest_checked_by_receiver();
    assert_eq!(drain(download).await.unwrap().0, b"yyy");
}

#[tokio::test]
async fn attempts_without_progress_are_counted() {
    let fake = Fake::start(|_| Reply::new(200).body(noise(1000)).cut_after(0)).await;
    let error = drain(pull(&fake).fetch(&layer(&noise(1000)), 0)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(fake.lines().len(), limits::ATTEMPTS_MAX as usize);
    // A byte of a megabyte at a time is no progress.
    let bytes = noise(1 << 20);
    let sent = bytes.clone();
    let fake = Fake::start(move |seen| serve(seen, &sent).cut_after(1)).await;
    assert!(drain(pull(&fake).fetch(&layer(&bytes), 0)).await.is_err());
    assert_eq!(fake.lines().len(), limits::ATTEMPTS_MAX as usize);
}

#[tokio::test]
async fn a_stream_that_stands_still_is_cut_and_resumed() {
    let bytes = noise(100_000);
    let sent = bytes.clone();
    let fake = Fake::start(move |seen| {
        let reply = serve(seen, &sent);
        if seen.range_start().is_none() { reply.hang_after(40_000) } else { reply }
    })
    .await;
    let pace = Pace { stall: Duration::from_millis(50), ..pace() };
    let registries = Registries::with_pace(Config::default(), pace).unwrap();
    let repository = open_with(&registries, &fake, Credentials::anonymous(), Access::Pull);
    let (found, requests) = drain(repository.fetch(&layer(&bytes), 0)).await.unwrap();
    assert!(found == bytes && requests >= 2);
    assert_eq!(fake.seen()[1].range_start(), Some(40_000));
}

#[tokio::test]
async fn the_next_server_goes_on_where_a_mirror_broke_off() {
    let bytes = noise(100_000);
    let sent = bytes.clone();
    let mirror = Fake::start(move |seen| match seen.range_start() {
        None => Reply::new(200).body(sent.clone()).cut_after(60_000),
        Some(_) => Reply::new(500),
    })
    .await;
    let sent = bytes.clone();
    let registry = Fake::start(move |seen| serve(seen, &sent)).await;
    let rule = crate::HostRule {
        registry: registry.address.to_string(),
        mirrors: vec![crate::Mirror { url: mirror.url(), prefix: None }],
        ..crate::HostRule::default()
    };
    let registries = registries(Config { rules: vec![rule], ..Config::default() });
    let repository = open_with(&registries, &registry, Credentials::anonymous(), Access::Pull);
    let (found, _) = drain(repository.fetch(&layer(&bytes), 0)).await.unwrap();
    assert!(found == bytes);
    assert_eq!(registry.seen()[0].range_start(), Some(60_000));
}

#[tokio::test]
async fn a_small_blob_comes_whole_or_not_at_all() {
    let fake = Fake::start(|_| Reply::new(200).body("config")).await;
    assert_eq!(pull(&fake).fetch_whole(&layer(b"config"), 6).await.unwrap(), b"config");
    assert!(pull(&fake).fetch_whole(&layer(b"config"), 5).await.is_err());
    assert_eq!(fake.lines().len(), 1, "what is too large is not asked for");
}

#[tokio::test]
async fn a_blob_that_is_not_there_is_not_found() {
    let fake = Fake::start(|_| Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry")).await;
    let error = drain(pull(&fake).fetch(&layer(b"x"), 0)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("blob unknown: blob unknown to registry"), "{error}");
}
