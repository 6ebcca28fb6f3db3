//! One contract, kept by both storages.

use super::*;
use crate::{config::ObjectsConfig, limits::PART};
use futures_util::TryStreamExt;
use rorqual_error::Kind;
use rorqual_testkit::ObjectStore;
use std::{
    io::{Read, Seek},
    sync::Arc,
};

async fn bytes(source: Source, range: Range<u64>) -> Vec<u8> {
    match source {
        Source::File(file) => {
            let mut file = Arc::into_inner(file).unwrap();
            file.seek(std::io::SeekFrom::Start(range.start)).unwrap();
            let mut bytes = Vec::new();
            file.take(range.end - range.start).read_to_end(&mut bytes).unwrap();
            bytes
        }
        Source::Stream(stream) => stream.try_collect::<Vec<Bytes>>().await.unwrap().concat(),
    }
}

/// Bytes that no part of repeats another.
fn noise(length: usize) -> Bytes {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn records(storage: &dyn Storage) {
    let put = |key: &str, value: &str| Change::Put(key.into(), value.into());
    assert_eq!(storage.get("tags/a:b/x").await.unwrap(), None);
    storage.apply(vec![put("tags/a:b/x", "1"), put("tags/a:b/y", "\"2\""), put("tags/a:b/x", "3")]).await.unwrap();
    storage.apply(vec![put("tags/a/z", "null"), put("tags/a:b:c/z", "{}")]).await.unwrap();
    assert_eq!(storage.get("tags/a:b/x").await.unwrap().unwrap(), b"3");
    let page = async |after: Option<&str>, limit| storage.page("tags/a:b/", after, limit).await.unwrap();
    assert_eq!(page(None, 10).await, ["tags/a:b/x", "tags/a:b/y"]);
    assert_eq!(page(None, 1).await, ["tags/a:b/x"]);
    assert_eq!(page(Some("tags/a:b/x"), 10).await, ["tags/a:b/y"]);
    assert_eq!(page(Some("tags/a:b/xx"), 10).await, ["tags/a:b/y"]);
    assert!(page(Some("tags/a:b/y"), 10).await.is_empty());
    storage.apply(vec![Change::Delete("tags/a:b/x".into()), Change::Delete("tags/none".into())]).await.unwrap();
    assert_eq!(page(None, 10).await, ["tags/a:b/y"]);
}

async fn blobs(storage: &dyn Storage) {
    let digest = storage.put_blob("hello".into()).await.unwrap();
    assert_eq!(digest, rorqual_content::digest(b"hello"));
    assert_eq!(storage.put_blob("hello".into()).await.unwrap(), digest);
    assert_eq!(storage.read_blob(digest, 5).await.unwrap().unwrap(), "hello");
    assert!(storage.read_blob(digest, 4).await.is_err());
    assert_eq!(storage.blob_size(digest).await.unwrap(), Some(5));
    let part = storage.open_blob(digest, 1..3).await.unwrap().unwrap();
    assert_eq!(bytes(part, 1..3).await, b"el");
    assert_eq!(storage.blobs().await.unwrap(), [digest]);
    storage.delete_blob(digest).await.unwrap();
    storage.delete_blob(digest).await.unwrap();
    assert_eq!(storage.blob_size(digest).await.unwrap(), None);
    assert!(storage.read_blob(digest, 5).await.unwrap().is_none());
    assert!(storage.open_blob(digest, 0..5).await.unwrap().is_none());
    assert!(storage.blobs().await.unwrap().is_empty() && storage.idle_uploads().await.unwrap().is_empty());
}

/// Sends `all` in the pieces given by `cuts`; after each cut the upload is taken up again as after a restart.
async fn upload(storage: &dyn Storage, key: &str, all: &Bytes, cuts: &[usize]) -> Digest {
    let mut upload = storage.begin(key.into()).await.unwrap();
    let mut from = 0;
    for to in cuts.iter().copied().chain([all.len()]) {
        for chunk in all[from..to].chunks(1 << 18) {
            upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        upload.settle().await.unwrap();
        assert_eq!(upload.length(), to as u64);
        if to < all.len() {
            drop(upload);
            upload = storage.resume(key.into()).await.unwrap().unwrap();
            assert_eq!(upload.length(), to as u64);
        }
        from = to;
    }
    let digest = upload.digest().await.unwrap();
    upload.publish().await.unwrap();
    digest
}

async fn uploads(storage: &dyn Storage) {
    let all = noise(21 << 20);
    let wanted = rorqual_content::digest(&all);
    for (number, cuts) in [&[][..], &[5], &[8 << 20, 9 << 20], &[0, 3 << 20, 20 << 20]].into_iter().enumerate() {
        let key = format!("key-{number}");
        assert_eq!(upload(storage, &key, &all, cuts).await, wanted, "{cuts:?}");
        let whole = 0..all.len() as u64;
        let source = storage.open_blob(wanted, whole.clone()).await.unwrap().unwrap();
        assert!(bytes(source, whole).await == all, "{cuts:?}");
        assert!(storage.resume(key).await.unwrap().is_none());
    }
    for small in ["", "x"] {
        let bytes = Bytes::from(small);
        assert_eq!(upload(storage, "small", &bytes, &[]).await, rorqual_content::digest(&bytes));
        assert_eq!(storage.blob_size(rorqual_content::digest(&bytes)).await.unwrap(), Some(small.len() as u64));
    }
    assert_eq!(storage.blobs().await.unwrap().len(), 3);
    assert!(storage.idle_uploads().await.unwrap().is_empty());
}

async fn abandoned_uploads(storage: &dyn Storage) {
    assert!(storage.resume("none".into()).await.unwrap().is_none());
    let begun = |key: &'static str, length: usize| async move {
        let mut upload = storage.begin(key.into()).await.unwrap();
        upload.write(noise(length)).await.unwrap();
        upload.settle().await.unwrap();
        upload
    };
    begun("cancelled", 9 << 20).await.discard().await.unwrap();
    let mut wrong = begun("wrong", 9 << 20).await;
    wrong.digest().await.unwrap();
    wrong.discard().await.unwrap();
    drop(begun("idle", 9 << 20).await);
    let idle = storage.idle_uploads().await.unwrap();
    assert_eq!(idle.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["idle"]);
    storage.delete_upload("idle".into()).await.unwrap();
    storage.delete_upload("idle".into()).await.unwrap();
    assert!(storage.idle_uploads().await.unwrap().is_empty());
    assert!(storage.resume("idle".into()).await.unwrap().is_none());
}

async fn check(storage: &dyn Storage) {
    records(storage).await;
    blobs(storage).await;
    abandoned_uploads(storage).await;
    uploads(storage).await;
}

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    check(&Local::open(root.path()).unwrap()).await;
}

#[tokio::test]
async fn an_object_store_keeps_the_contract() {
    for prefix in ["", "some/where"] {
        let store = object_store::memory::InMemory::new();
        check(&Objects::over(store, prefix)).await;
    }
}

#[tokio::test]
async fn an_s3_server_keeps_the_contract() {
    let server = ObjectStore::start();
    let root = tempfile::tempdir().unwrap();
    let options: Vec<_> = server.settings().map(|(key, value)| (key.to_owned(), value)).into();
    for prefix in ["", "/some/where"] {
        let url = format!("s3://{}{prefix}", ObjectStore::BUCKET);
        check(&Objects::open(&ObjectsConfig { url, options: options.clone() }, root.path()).unwrap()).await;
    }
}

#[test]
fn what_names_no_object_store_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let open = |url: &str, option: &str| {
        let config = ObjectsConfig { url: url.to_owned(), options: vec![(option.to_owned(), "x".to_owned())] };
        Objects::open(&config, root.path()).unwrap_err().kind()
    };
    for (url, option) in [("bucket", "region"), ("ftp://x/y", "region"), ("file:///x", "region"), ("s3://b", "what")] {
        assert_eq!(open(url, option), Kind::InvalidArgument, "{url} {option}");
    }
    let config = ObjectsConfig { url: "s3://bucket".into(), options: Vec::new() };
    let _first = Objects::open(&config, root.path()).unwrap();
    assert_eq!(Objects::open(&config, root.path()).unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn an_upload_goes_on_after_the_last_part_that_was_taken() {
    let objects = Objects::over(object_store::memory::InMemory::new(), "");
    let all = noise(2 * PART + 7);
    let mut upload = objects.begin("key".into()).await.unwrap();
    upload.write(all.slice(..5)).await.unwrap();
    upload.settle().await.unwrap();
    upload.write(all.slice(5..PART + 5)).await.unwrap();
    // The process dies here.
    drop(upload);
    let mut upload = objects.resume("key".into()).await.unwrap().unwrap();
    assert_eq!(upload.length(), PART as u64);
    upload.write(all.slice(PART..)).await.unwrap();
    assert_eq!(upload.digest().await.unwrap(), rorqual_content::digest(&all));
    upload.publish().await.unwrap();
    assert_eq!(objects.blob_size(rorqual_content::digest(&all)).await.unwrap(), Some(all.len() as u64));
}

#[tokio::test]
async fn a_remembered_place_is_no_blob() {
    let objects = Objects::over(object_store::memory::InMemory::new(), "");
    let digest = objects.put_blob("hello".into()).await.unwrap();
    objects.delete_blob(digest).await.unwrap();
    // A reader had asked before, and remembers now.
    objects.remember_for_test(digest, "data/gone", 5);
    assert_eq!(objects.blob_size(digest).await.unwrap(), None);
    assert!(objects.open_blob(digest, 0..5).await.unwrap().is_none());
    objects.remember_for_test(digest, "data/gone", 5);
    assert_eq!(upload(&objects, "key", &"hello".into(), &[]).await, digest);
    assert_eq!(objects.read_blob(digest, 5).await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn what_an_object_store_lost_half_way_is_removed_later() {
    let objects = Objects::over(object_store::memory::InMemory::new(), "");
    // Complete, and published, when the process died.
    let mut upload = objects.begin("published".into()).await.unwrap();
    upload.write("hello".into()).await.unwrap();
    let digest = upload.digest().await.unwrap();
    let pointer = r#"{"object":"data/published","size":5}"#;
    objects.write(&format!("blobs/sha256/{}", digest.hex()), pointer.into()).await.unwrap();
    drop(upload);
    // Complete, and not published.
    let mut upload = objects.begin("complete".into()).await.unwrap();
    upload.write("other".into()).await.unwrap();
    upload.digest().await.unwrap();
    drop(upload);
    for (key, _) in objects.idle_uploads().await.unwrap() {
        assert!(objects.resume(key.clone()).await.unwrap().is_none(), "{key}");
        objects.delete_upload(key).await.unwrap();
    }
    assert_eq!(objects.read_blob(digest, 5).await.unwrap().unwrap(), "hello");
    assert!(objects.read("data/complete").await.unwrap().is_none());
    assert!(objects.idle_uploads().await.unwrap().is_empty());
}
