//! What a node has, for other nodes: the content of its images by digest, whatever repository they are asked for in. It
//! has no tags and lists nothing: who does not know a digest learns none. Nothing can be changed.

use super::{Change, Later, Storage, Upload};
use crate::{
    body::Source,
    limits::MANIFEST,
    records::{self, Manifest},
};
use bytes::Bytes;
use rorqual_content::Content;
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_oci::image::{Document, media};
use rorqual_types::Digest;
use std::{ops::Range, sync::Arc, time::Duration};

/// The content of a running engine.
#[derive(Debug)]
pub(crate) struct Node(pub(crate) Arc<Content>);

/// The record `key`: what is here, every repository has.
fn record(content: &Content, key: &str) -> Result<Option<Vec<u8>>> {
    let mut parts = key.split('/');
    let (Some(kind), Some(_), Some(digest), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Ok(None);
    };
    let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
    let Some(size) = content.size(&digest)? else { return Ok(None) };
    match kind {
        "blobs" => records::value(&size).map(Some),
        "manifests" if size <= MANIFEST as u64 => {
            let Some(bytes) = found(content.read(&digest, MANIFEST as u64))? else { return Ok(None) };
            // Other blobs are no manifests.
            let Ok(media_type) = Document::detect(&bytes) else { return Ok(None) };
            if !media::is_manifest(&media_type) && !media::is_index(&media_type) {
                return Ok(None);
            }
            let manifest = Manifest { media_type, size, subject: None, blobs: Vec::new(), manifests: Vec::new() };
            records::value(&manifest).map(Some)
        }
        _ => Ok(None),
    }
}

fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn fixed<T: Send>() -> Later<'static, T> {
    Box::pin(async { Err(Error::new(Kind::NotImplemented, "what a node has is not changed by other nodes")) })
}

impl Node {
    fn apart<T: Send + 'static>(&self, work: impl FnOnce(&Content) -> Result<T> + Send + 'static) -> Later<'_, T> {
        let content = self.0.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || work(&content)).await.context("a task of the disk failed")?
        })
    }
}

impl Storage for Node {
    fn get<'a>(&'a self, key: &'a str) -> Later<'a, Option<Vec<u8>>> {
        let key = key.to_owned();
        self.apart(move |content| record(content, &key))
    }

    fn page<'a>(&'a self, _: &'a str, _: Option<&'a str>, _: usize) -> Later<'a, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn apply(&self, _: Vec<Change>) -> Later<'_, ()> {
        fixed()
    }

    fn put_blob(&self, _: Bytes) -> Later<'_, Digest> {
        fixed()
    }

    fn read_blob(&self, digest: Digest, limit: u64) -> Later<'_, Option<Bytes>> {
        self.apart(move |content| found(content.read(&digest, limit).map(Bytes::from)))
    }

    fn open_blob(&self, digest: Digest, _: Range<u64>) -> Later<'_, Option<Source>> {
        let opened = found(self.0.open_blob(&digest));
        Box::pin(async { Ok(opened?.map(|file| Source::File(Arc::new(file)))) })
    }

    fn blob_size(&self, digest: Digest) -> Later<'_, Option<u64>> {
        let size = self.0.size(&digest);
        Box::pin(async { size })
    }

    fn blobs(&self) -> Later<'_, Vec<Digest>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn delete_blob(&self, _: Digest) -> Later<'_, ()> {
        fixed()
    }

    fn begin(&self, _: String) -> Later<'_, Box<dyn Upload>> {
        fixed()
    }

    fn resume(&self, _: String) -> Later<'_, Option<Box<dyn Upload>>> {
        fixed()
    }

    fn idle_uploads(&self) -> Later<'_, Vec<(String, Duration)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn delete_upload(&self, _: String) -> Later<'_, ()> {
        fixed()
    }
}
