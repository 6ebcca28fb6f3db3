//! The client against a registry that can misbehave: each rule of threats.md that is this crate's has a test here.

mod auth;
mod fake;
mod lists;
mod peers;
mod pull;
mod push;
mod redirects;
mod resume;
mod secure;

use crate::{Access, Config, Credentials, Registries, Repository, retry::Pace, sha256};
use fake::{Fake, Reply, Seen};
use rorqual_oci::image::{Descriptor, media};
use std::time::Duration;

/// Waits that a test has time for; deadlines stay long, since a test machine may be slow.
fn pace() -> Pace {
    Pace { first: Duration::from_millis(1), max: Duration::from_millis(4), ..Pace::default() }
}

fn registries(config: Config) -> Registries {
    Registries::with_pace(Config { certs_dirs: Vec::new(), ..config }, pace()).unwrap()
}

/// `a/b:t` at the fake registry.
fn open(fake: &Fake, credentials: Credentials, access: Access) -> Repository {
    open_with(&registries(Config::default()), fake, credentials, access)
}

fn open_with(registries: &Registries, fake: &Fake, credentials: Credentials, access: Access) -> Repository {
    let reference = format!("{}/a/b:t", fake.address).parse().unwrap();
    registries.repository(&reference, credentials, access).unwrap()
}

fn pull(fake: &Fake) -> Repository {
    open(fake, Credentials::anonymous(), Access::Pull)
}

fn push(fake: &Fake) -> Repository {
    open(fake, Credentials::anonymous(), Access::Push)
}

/// The descriptor of these bytes as a layer.
fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::new(media::LAYER_GZIP, sha256(bytes), bytes.len() as u64)
}

/// A manifest that reads as one, and its digest.
fn manifest() -> (Vec<u8>, rorqual_types::Digest) {
    let config = sha256(b"config");
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{config}","size":6}},"layers":[]}}"#,
        media::MANIFEST,
        media::CONFIG
    );
    let digest = sha256(text.as_bytes());
    (text.into_bytes(), digest)
}

/// Bytes that differ from place to place.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

async fn drain(mut download: crate::Download) -> rorqual_error::Result<(Vec<u8>, u32)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, download.requests()))
}
