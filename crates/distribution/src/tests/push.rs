//! Blobs and manifests on their way to a registry.

use super::*;
use crate::{Manner, Progress, TagOrDigest, bytes_chunks, limits};
use bytes::Bytes;
use rorqual_error::{Kind, Result};
use std::sync::{Arc, Mutex};

/// A registry that keeps one upload, as Docker's does: the `Range` of `0-0` is nothing.
#[derive(Clone, Default)]
struct Uploads {
    stored: Arc<Mutex<Vec<u8>>>,
    finished: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Uploads {
    fn range(&self) -> String {
        format!("0-{}", self.stored.lock().unwrap().len().saturating_sub(1))
    }

    fn here(&self, status: u16) -> Reply {
        Reply::new(status).header("location", "/v2/a/b/blobs/uploads/u1?state=x").header("range", self.range())
    }

    /// Takes what was sent, even of a request that broke off.
    fn answer(&self, seen: &Seen) -> Reply {
        let known = seen.path.starts_with("/v2/a/b/blobs/uploads/u1?state=x");
        match seen.method.as_str() {
            "POST" => {
                self.stored.lock().unwrap().clear();
                self.here(202)
            }
            "GET" if known => self.here(204),
            "PATCH" | "PUT" if known => {
                let offset = seen.header("content-range").split('-').next().and_then(|text| text.parse().ok());
                let mut stored = self.stored.lock().unwrap();
                if offset.unwrap_or(stored.len()) != stored.len() {
                    return Reply::new(416);
                }
                stored.extend_from_slice(&seen.body);
                if seen.method == "PATCH" {
                    drop(stored);
                    return self.here(202);
                }
                let digest = sha256(&stored);
                let asked = seen.path.rsplit_once("digest=").unwrap().1.replace("%3A", ":");
                if asked != digest.to_string() {
                    return Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
                }
                *self.finished.lock().unwrap() = Some(stored.clone());
                Reply::new(201).header("docker-content-digest", digest)
            }
            _ => Reply::new(404),
        }
    }

    fn finished(&self) -> Option<Vec<u8>> {
        self.finished.lock().unwrap().clone()
    }
}

/// Sends `bytes` in pieces of 10,000, and says what progress was told.
async fn send(repository: &Repository, bytes: &[u8], manner: Manner) -> Result<Vec<u64>> {
    send_as(repository, &layer(bytes), bytes, manner).await
}

async fn send_as(repository: &Repository, descriptor: &Descriptor, bytes: &[u8], manner: Manner) -> Result<Vec<u64>> {
    let bytes = Bytes::copy_from_slice(bytes);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let progress = Progress::new(move |sent| log.lock().unwrap().push(sent));
    let source = move |offset: u64| -> crate::Chunks {
        let rest = bytes.slice(usize::try_from(offset).unwrap()..);
        let pieces: Vec<_> = rest.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Box::pin(futures_util::stream::iter(pieces))
    };
    repository.push_blob(descriptor, &source, manner, &progress).await?;
    Ok(told.lock().unwrap().clone())
}

#[tokio::test]
async fn a_blob_is_sent_in_one_streamed_request() {
    let uploads = Uploads::default();
    let server = uploads.clone();
    let fake = Fake::start(move |seen| server.answer(seen)).await;
    let bytes = noise(25_000);
    let told = send(&push(&fake), &bytes, Manner::Whole).await.unwrap();
    assert_eq!(uploads.finished(), Some(bytes.clone()));
    assert_eq!(told, [0, 10_000, 20_000, 25_000]);
    let digest = sha256(&bytes).to_string().replace(':', "%3A");
    assert_eq!(
        fake.lines(),
        ["POST /v2/a/b/blobs/uploads/".to_owned(), format!("PUT /v2/a/b/blobs/uploads/u1?state=x&digest={digest}")]
    );
    assert_eq!(fake.seen()[1].header("content-length"), "25000");
    send(&push(&fake), b"", Manner::Whole).await.unwrap();
    assert_eq!(uploads.finished(), Some(Vec::new()));
}

#[tokio::test]
async fn an_upload_that_breaks_off_goes_on_where_the_registry_is() {
    let uploads = Uploads::default();
    let server = uploads.clone();
    let cuts = Mutex::new(vec![20_000, 50_000]);
    let appetite = move |seen: &Seen| match seen.method.as_str() {
        "PUT" | "PATCH" => cuts.lock().unwrap().pop(),
        _ => None,
    };
    let fake = Fake::with_appetite(move |seen| server.answer(seen), appetite).await;
    let bytes = noise(100_000);
    send(&push(&fake), &bytes, Manner::Whole).await.unwrap();
    assert_eq!(uploads.finished(), Some(bytes));
    let ranges: Vec<String> = fake.seen().iter().map(|seen| seen.header("content-range").to_owned()).collect();
    assert_eq!(ranges, ["", "", "", "50000-99999", "", "70000-99999", ""]);
    assert_eq!((fake.count("POST"), fake.count("GET"), fake.count("PATCH"), fake.count("PUT")), (1, 2, 2, 2));
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_starts_over() {
    let uploads = Uploads::default();
    let server = uploads.clone();
    let first = Mutex::new(Some(5000));
    let appetite = move |seen: &Seen| if seen.method == "PUT" { first.lock().unwrap().take() } else { None };
    let answer = move |seen: &Seen| if seen.method == "GET" { Reply::new(404) } else { server.answer(seen) };
    let fake = Fake::with_appetite(answer, appetite).await;
    let bytes = noise(30_000);
    let told = send(&push(&fake), &bytes, Manner::Whole).await.unwrap();
    assert_eq!(uploads.finished(), Some(bytes));
    assert_eq!(told.last(), Some(&30_000));
    assert_eq!(fake.count("POST"), 2);
}

#[tokio::test]
async fn chunks_follow_each_other() {
    let uploads = Uploads::default();
    let server = uploads.clone();
    let fake = Fake::start(move |seen| server.answer(seen)).await;
    let bytes = noise(limits::UPLOAD_CHUNK_BYTES as usize + 1000);
    send(&push(&fake), &bytes, Manner::Chunked).await.unwrap();
    assert!(uploads.finished() == Some(bytes));
    let ranges: Vec<String> = fake.seen().iter().map(|seen| seen.header("content-range").to_owned()).collect();
    let (chunk, end) = (limits::UPLOAD_CHUNK_BYTES, limits::UPLOAD_CHUNK_BYTES + 1000);
    assert_eq!(ranges, [String::new(), format!("0-{}", chunk - 1), format!("{chunk}-{}", end - 1), String::new()]);
}

#[tokio::test]
async fn an_upload_without_progress_ends() {
    let appetite = |seen: &Seen| (seen.method == "PUT" || seen.method == "PATCH").then_some(0);
    let uploads = Uploads::default();
    let fake = Fake::with_appetite(move |seen| uploads.answer(seen), appetite).await;
    let error = send(&push(&fake), &noise(1000), Manner::Whole).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(fake.count("PUT") + fake.count("PATCH"), limits::ATTEMPTS_MAX as usize);
}

#[tokio::test]
async fn what_the_registry_stored_is_compared() {
    let uploads = Uploads::default();
    let server = uploads.clone();
    let fake = Fake::start(move |seen| server.answer(seen)).await;
    let wrong = Descriptor { digest: sha256(b"other"), ..layer(b"bytes") };
    let error = send_as(&push(&fake), &wrong, b"bytes", Manner::Whole).await.unwrap_err();
    assert!(error.to_string().starts_with("digest invalid: provided digest did not match"), "{error}");
    assert_eq!(fake.count("PUT"), 1, "and is not sent again");
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(202).header("location", "/u"),
        _ => Reply::new(201).header("docker-content-digest", sha256(b"other")),
    })
    .await;
    let error = send(&push(&fake), b"bytes", Manner::Whole).await.unwrap_err();
    assert!(error.to_string().contains("stored blob sha256:"), "{error}");
    let target = TagOrDigest::tag("t").unwrap();
    let error = push(&fake).push_manifest(&target, "a/b", b"{}").await.unwrap_err();
    assert!(error.to_string().contains("stored manifest sha256:"), "{error}");
    let other = TagOrDigest::Digest(sha256(b"other"));
    assert!(push(&fake).push_manifest(&other, "a/b", b"{}").await.is_err());
}

#[tokio::test]
async fn a_source_that_is_shorter_than_it_says_is_an_error() {
    let uploads = Uploads::default();
    let server = uploads.clone();
    let fake = Fake::start(move |seen| server.answer(seen)).await;
    let descriptor = Descriptor { size: 100, ..layer(b"short") };
    let source = |offset: u64| bytes_chunks(Bytes::from_static(b"short"), offset);
    let sent = push(&fake).push_blob(&descriptor, &source, Manner::Whole, &Progress::ignored()).await;
    assert!(sent.is_err());
    assert_eq!(uploads.finished(), None);
}

#[tokio::test]
async fn a_location_on_another_host_gets_no_credentials() {
    let store = Fake::start(|_| Reply::new(201)).await;
    let location = format!("{}/bucket?signature=s3cret", store.url());
    let registry = Fake::start(move |seen| match (seen.method.as_str(), seen.header("authorization")) {
        (_, "") => Reply::new(401).header("www-authenticate", r#"Basic realm="r""#),
        _ => Reply::new(202).header("location", &location),
    })
    .await;
    let repository = open(&registry, Credentials::password("user", "hunter2"), Access::Push);
    send(&repository, b"bytes", Manner::Whole).await.unwrap();
    assert!(store.lines()[0].starts_with("PUT /bucket?signature=s3cret&digest=sha256"));
    assert!(store.seen().iter().all(|seen| seen.header("authorization").is_empty()));
    for location in ["http://169.254.169.254/", "http://10.0.0.1/x", "file:///x"] {
        let registry = Fake::start(move |_| Reply::new(202).header("location", location)).await;
        assert!(send(&push(&registry), b"bytes", Manner::Whole).await.is_err(), "{location}");
        assert_eq!(registry.count("PUT"), 0);
    }
}

/// Repository `other/repo` of the same registry.
fn other(fake: &Fake) -> rorqual_types::Reference {
    format!("{}/other/repo", fake.address).parse().unwrap()
}

#[tokio::test]
async fn a_blob_is_mounted_or_the_upload_is_cancelled() {
    let digest = sha256(b"x");
    let fake = Fake::start(|_| Reply::new(201)).await;
    assert!(push(&fake).mount(&digest, &other(&fake)).await.unwrap());
    assert_eq!(fake.lines(), [format!("POST /v2/a/b/blobs/uploads/?mount={digest}&from=other/repo")]);
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(202).header("location", "/v2/a/b/blobs/uploads/u9"),
        _ => Reply::new(204),
    })
    .await;
    assert!(!push(&fake).mount(&digest, &other(&fake)).await.unwrap());
    assert_eq!(fake.lines()[1], "DELETE /v2/a/b/blobs/uploads/u9");
    assert!(!push(&fake).mount(&digest, &"elsewhere.test/other/repo".parse().unwrap()).await.unwrap());
    assert_eq!(fake.lines().len(), 2, "another registry's blob is not asked for");
    let fake = Fake::start(|_| Reply::new(403)).await;
    assert!(!push(&fake).mount(&digest, &other(&fake)).await.unwrap());
}

#[tokio::test]
async fn a_mount_asks_for_the_right_to_read_the_other_repository() {
    let fake = Fake::start(|seen| match (seen.path.as_str(), seen.header("authorization")) {
        (path, _) if path.starts_with("/token") => Reply::new(200).body(r#"{"token":"t"}"#),
        (_, "") => {
            let realm = format!("http://{}/token", seen.header("host"));
            Reply::new(401)
                .header("www-authenticate", format!(r#"Bearer realm="{realm}",scope="repository:a/b:pull,push""#))
        }
        _ => Reply::new(201),
    })
    .await;
    assert!(push(&fake).mount(&sha256(b"x"), &other(&fake)).await.unwrap());
    let scopes = "scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Aother%2Frepo%3Apull";
    assert_eq!(fake.lines()[1], format!("GET /token?{scopes}"));
}

#[tokio::test]
async fn existence_is_a_question_of_its_own() {
    let fake = Fake::start(|_| Reply::new(200).header("content-length", 7)).await;
    assert_eq!(push(&fake).exists(&sha256(b"x")).await.unwrap(), Some(7));
    let fake = Fake::start(|_| Reply::new(404)).await;
    assert_eq!(push(&fake).exists(&sha256(b"x")).await.unwrap(), None);
    let fake = Fake::start(|_| Reply::new(403)).await;
    let error = push(&fake).exists(&sha256(b"x")).await.unwrap_err();
    assert_eq!(error.to_string(), "denied: requested access to the resource is denied");
}

#[tokio::test]
async fn a_manifest_is_stored_under_tag_or_digest() {
    let (bytes, digest) = manifest();
    let fake = Fake::start(move |_| Reply::new(201).header("docker-content-digest", digest)).await;
    for target in [TagOrDigest::tag("t").unwrap(), TagOrDigest::Digest(digest)] {
        assert_eq!(push(&fake).push_manifest(&target, media::MANIFEST, &bytes).await.unwrap(), digest);
    }
    assert_eq!(fake.lines(), ["PUT /v2/a/b/manifests/t".to_owned(), format!("PUT /v2/a/b/manifests/{digest}")]);
    assert_eq!((fake.seen()[0].header("content-type"), &fake.seen()[0].body[..]), (media::MANIFEST, &bytes[..]));
}

#[tokio::test]
async fn a_file_is_read_from_any_offset() {
    use futures_util::TryStreamExt as _;
    let bytes = noise(600_000);
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    let file = Arc::new(file);
    for offset in [0usize, 1, 599_999, 600_000] {
        let read: Vec<Bytes> = crate::file_chunks(file.clone(), offset as u64, 600_000).try_collect().await.unwrap();
        assert!(read.concat() == bytes[offset..], "{offset}");
    }
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_push_is_replaced() {
    let uploads = Uploads::default();
    let (server, given) = (uploads.clone(), std::sync::atomic::AtomicU32::new(0));
    let fake = Fake::start(move |seen| {
        if seen.path.starts_with("/token") {
            let number = given.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return Reply::new(200).body(format!(r#"{{"token":"t{number}","expires_in":300}}"#));
        }
        // The first token is good for the beginning of the upload only.
        let wanted = if seen.method == "POST" { "Bearer t0" } else { "Bearer t1" };
        if seen.header("authorization") == wanted {
            return server.answer(seen);
        }
        let realm = format!("http://{}/token", seen.header("host"));
        Reply::new(401).header("www-authenticate", format!(r#"Bearer realm="{realm}",service="s""#))
    })
    .await;
    let bytes = noise(30_000);
    send(&push(&fake), &bytes, Manner::Whole).await.unwrap();
    assert_eq!(uploads.finished(), Some(bytes));
    assert_eq!((fake.count("GET /token"), fake.count("PUT")), (2, 2));
}
