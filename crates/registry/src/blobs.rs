//! Blobs of a repository: read, whole or in part, and deleted.

use crate::{
    body::Body,
    call::{Call, Reply, announce_length, empty, identify, set},
    name::Repository,
    range::{Wanted, wanted},
    records,
    refusal::{Code, Refusal, Result},
    upstream::{self, Found},
};
use hyper::{
    Response, StatusCode,
    header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE},
};
use rorqual_types::Digest;
use serde_json::json;

/// A blob is what its digest says for ever.
const FOR_EVER: HeaderValue = HeaderValue::from_static("max-age=31536000");

fn unknown(digest: &Digest) -> Refusal {
    Refusal::new(Code::BlobUnknown, "blob unknown to registry").about(json!({"digest": digest}))
}

/// The length of a blob that the repository has.
async fn kept(call: &Call, name: &Repository, digest: &Digest) -> Result<Option<u64>> {
    let registry = &call.registry;
    if !call.is_head() {
        return Ok(registry.records().blob(name, digest).await?);
    }
    // The client may rely on the answer when it names the blob in a manifest.
    let _push = registry.lock(name).read().await;
    let size = registry.records().blob(name, digest).await?;
    if size.is_some() {
        registry.leases.touch(name, &[*digest]);
    }
    Ok(size)
}

/// GET and HEAD.
pub(crate) async fn get(call: &Call, name: &Repository, digest: Digest) -> Result<Reply> {
    let registry = &call.registry;
    let found = match kept(call, name, &digest).await? {
        Some(size) => Found::Kept(size),
        None => upstream::blob(registry, name, digest, call.is_head()).await?.ok_or_else(|| unknown(&digest))?,
    };
    let size = match &found {
        Found::Kept(size) | Found::Upstream(size) => *size,
        Found::Coming(flight) => flight.size(),
    };
    if call.knows(&digest) {
        let mut reply = empty(StatusCode::NOT_MODIFIED);
        identify(&mut reply, &digest);
        return Ok(reply);
    }
    let (status, start, end) = match wanted(call.header(RANGE), size) {
        Wanted::All => (StatusCode::OK, 0, size),
        Wanted::Part(start, end) => (StatusCode::PARTIAL_CONTENT, start, end),
        Wanted::Nothing => {
            let refusal = Refusal::new(Code::RangeInvalid, format!("the blob has {size} bytes"));
            return Err(refusal.header(CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    let mut reply = if call.is_head() {
        let mut reply = empty(status);
        announce_length(&mut reply, end - start);
        reply
    } else if start == end {
        empty(status)
    } else {
        let source = match found {
            Found::Coming(flight) => flight.source(start, end),
            _ => registry.storage.open_blob(digest, start..end).await?.ok_or_else(|| unknown(&digest))?,
        };
        Response::new(Body::of(source, start, end - start, call.outbox.clone()))
    };
    *reply.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        set(reply.headers_mut(), CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
    }
    identify(&mut reply, &digest);
    let headers = reply.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, FOR_EVER);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(reply)
}

/// DELETE: the repository has it no longer; other repositories that have it do.
pub(crate) async fn delete(call: &Call, name: &Repository, digest: Digest) -> Result<Reply> {
    let registry = &call.registry;
    let _removal = registry.lock(name).write().await;
    registry.records().blob(name, &digest).await?.ok_or_else(|| unknown(&digest))?;
    registry.storage.apply(vec![records::delete_blob(name, &digest)]).await?;
    let mut reply = empty(StatusCode::ACCEPTED);
    identify(&mut reply, &digest);
    Ok(reply)
}
