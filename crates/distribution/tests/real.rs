//! The client against a real registry at `RORQUAL_TEST_REGISTRY` (`127.0.0.1:5000`), for instance Debian's
//! `docker-registry`. Not part of CI, which has none running: `cargo test -p rorqual-distribution -- --ignored`.

use bytes::Bytes;
use rorqual_distribution::{
    Access, Config, Credentials, Manner, Progress, Registries, Repository, TagOrDigest, bytes_chunks,
};
use rorqual_oci::image::{Descriptor, media};
use rorqual_types::Digest;
use std::time::Instant;

fn digest(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    Digest::from_bytes(out)
}

fn credentials() -> Credentials {
    match (std::env::var("RORQUAL_TEST_USER"), std::env::var("RORQUAL_TEST_PASSWORD")) {
        (Ok(user), Ok(password)) => Credentials::password(user, password),
        _ => Credentials::anonymous(),
    }
}

fn open(registries: &Registries, path: &str, access: Access) -> Repository {
    let registry = std::env::var("RORQUAL_TEST_REGISTRY").expect("RORQUAL_TEST_REGISTRY names a registry");
    let reference = format!("{registry}/{path}").parse().unwrap();
    registries.repository(&reference, credentials(), access).unwrap()
}

async fn send(repository: &Repository, bytes: &Bytes, manner: Manner) -> Descriptor {
    let descriptor = Descriptor::new(media::LAYER, digest(bytes), bytes.len() as u64);
    let source = |offset| bytes_chunks(bytes.clone(), offset);
    repository.push_blob(&descriptor, &source, manner, &Progress::ignored()).await.unwrap();
    assert_eq!(repository.exists(&descriptor.digest).await.unwrap(), Some(descriptor.size));
    descriptor
}

#[tokio::test]
#[ignore = "needs a registry"]
async fn what_is_pushed_comes_back() {
    let registries = Registries::new(Config::default()).unwrap();
    let repository = open(&registries, "real/one", Access::Push);
    let large: Vec<u8> = (0..100usize << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let large = Bytes::from(large);
    let (config, layer) = (Bytes::from_static(b"{}"), large.slice(..40 << 20));
    let config = send(&repository, &config, Manner::Whole).await;
    let start = Instant::now();
    let whole = send(&repository, &large, Manner::Whole).await;
    println!("push: {:.0} MB/s", large.len() as f64 / 1e6 / start.elapsed().as_secs_f64());
    let chunked = send(&repository, &layer, Manner::Chunked).await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST,
        "config": { "mediaType": media::CONFIG, "digest": config.digest, "size": config.size },
        "layers": [whole, chunked],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let tag = TagOrDigest::tag("v1").unwrap();
    let name = repository.push_manifest(&tag, media::MANIFEST, &manifest).await.unwrap();

    let pulled = open(&registries, "real/one:v1", Access::Pull);
    for target in [tag, TagOrDigest::Digest(name)] {
        assert_eq!(pulled.manifest(&target, 1 << 20).await.unwrap().bytes, manifest);
        assert_eq!(pulled.resolve(&target).await.unwrap().digest, name);
    }
    assert_eq!(pulled.tags().await.unwrap(), ["v1"]);
    assert!(pulled.referrers(&name, None).await.unwrap().is_empty());
    let start = Instant::now();
    let mut download = pulled.fetch(&whole, 0);
    let mut length = 0;
    while let Some(chunk) = download.chunk().await.unwrap() {
        length += chunk.len();
    }
    println!("pull, digest checked: {:.0} MB/s", length as f64 / 1e6 / start.elapsed().as_secs_f64());
    let mut rest = pulled.fetch(&whole, 12_345_678);
    let mut at = 12_345_678;
    while let Some(chunk) = rest.chunk().await.unwrap() {
        assert!(chunk == large.slice(at..at + chunk.len()));
        at += chunk.len();
    }
    assert_eq!(at as u64, whole.size);

    let second = open(&registries, "real/two", Access::Push);
    assert_eq!(second.exists(&whole.digest).await.unwrap(), None);
    assert!(second.mount(&whole.digest, repository.reference()).await.unwrap());
    assert!(!second.mount(&digest(b"nowhere"), repository.reference()).await.unwrap());
    assert_eq!(second.exists(&whole.digest).await.unwrap(), Some(whole.size));

    let missing = open(&registries, "real/one:v9", Access::Pull);
    let error = missing.manifest(&TagOrDigest::tag("v9").unwrap(), 1 << 20).await.unwrap_err();
    println!("missing tag: {error}");
    assert!(error.to_string().ends_with("/real/one:v9 not found: manifest unknown: manifest unknown"), "{error}");
}
