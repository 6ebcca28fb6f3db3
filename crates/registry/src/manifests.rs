//! Manifests and indexes: kept as the bytes that were pushed, after they were found to be what they say.

use crate::{
    body::Body,
    call::{Call, Reply, announce_length, empty, identify, set},
    limits::{INDEX_NESTING, INDEX_TOTAL, MANIFEST, REFERRER},
    name::Repository,
    records::{self, Manifest},
    refusal::{Code, Refusal, Result},
    registry::Registry,
    route::Target,
    storage::Change,
    upstream,
};
use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, LOCATION},
};
use rorqual_content::digest as digest_of;
use rorqual_error::Error;
use rorqual_metadata::failpoint;
use rorqual_oci::image::{Descriptor, Document};
use rorqual_types::Digest;
use serde_json::{Value, json};
use std::collections::HashSet;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

pub(crate) fn unknown(target: &Target) -> Refusal {
    let detail = match target {
        Target::Tag(tag) => json!({"tag": tag.as_str()}),
        Target::Digest(digest) => json!({"digest": digest}),
    };
    Refusal::new(Code::ManifestUnknown, "manifest unknown").about(detail)
}

/// GET and HEAD.
pub(crate) async fn get(call: &Call, name: &Repository, target: &Target) -> Result<Reply> {
    let registry = &call.registry;
    upstream::manifest(registry, name, target).await?;
    let (digest, record) = if call.is_head() {
        let _push = registry.lock(name).read().await;
        let (digest, record) = find(call, name, target).await?;
        // The client may rely on the answer when it names the manifest in an index.
        registry.leases.touch(name, &[digest]);
        (digest, record)
    } else {
        find(call, name, target).await?
    };
    if call.knows(&digest) {
        let mut reply = empty(StatusCode::NOT_MODIFIED);
        identify(&mut reply, &digest);
        return Ok(reply);
    }
    let mut reply = if call.is_head() {
        let mut reply = empty(StatusCode::OK);
        announce_length(&mut reply, record.size);
        reply
    } else {
        Response::new(Body::full(bytes(call, digest).await?.ok_or_else(|| unknown(target))?))
    };
    identify(&mut reply, &digest);
    set(reply.headers_mut(), CONTENT_TYPE, record.media_type);
    Ok(reply)
}

async fn find(call: &Call, name: &Repository, target: &Target) -> Result<(Digest, Manifest)> {
    let records = call.registry.records();
    let digest = match target {
        Target::Digest(digest) => *digest,
        Target::Tag(tag) => records.tag(name, tag).await?.ok_or_else(|| unknown(target))?,
    };
    let record = records.manifest(name, &digest).await?.ok_or_else(|| unknown(target))?;
    Ok((digest, record))
}

async fn bytes(call: &Call, digest: Digest) -> Result<Option<Bytes>> {
    let registry = &call.registry;
    if let Some(bytes) = registry.manifests.get(&digest) {
        return Ok(Some(bytes));
    }
    let Some(bytes) = registry.storage.read_blob(digest, MANIFEST as u64).await? else { return Ok(None) };
    registry.manifests.put(digest, bytes.clone());
    Ok(Some(bytes))
}

/// A document that was pushed, and what is to be recorded of it.
struct Pushed {
    digest: Digest,
    record: Manifest,
    /// As the list of its subject's referrers shows it.
    referrer: Option<Descriptor>,
}

/// PUT.
pub(crate) async fn put(call: &mut Call, name: &Repository, target: &Target) -> Result<Reply> {
    let bytes = call.manifest().await?;
    let announced = call.header(CONTENT_TYPE).map(str::to_owned);
    let pushed = read(&bytes, announced.as_deref(), target)?;
    let registry = &call.registry;
    let _push = registry.lock(name).read().await;
    let _content = registry.content.read().await;
    let needed = needed(call, name, &pushed).await?;
    registry.leases.touch(name, &needed);
    registry.storage.put_blob(bytes.clone()).await?;
    failpoint!("registry.manifest-kept")?;
    let mut changes = pushed.changes(name)?;
    if let Target::Tag(tag) = target {
        changes.push(records::put_tag(name, tag, &pushed.digest)?);
    }
    registry.storage.apply(changes).await?;
    failpoint!("registry.manifest-recorded")?;
    registry.manifests.put(pushed.digest, bytes);
    let mut reply = empty(StatusCode::CREATED);
    identify(&mut reply, &pushed.digest);
    set(reply.headers_mut(), LOCATION, format!("/v2/{name}/manifests/{}", pushed.digest));
    if let Some(subject) = pushed.record.subject {
        set(reply.headers_mut(), SUBJECT, subject.to_string());
    }
    Ok(reply)
}

impl Pushed {
    /// What makes the repository have it.
    fn changes(&self, name: &Repository) -> rorqual_error::Result<Vec<Change>> {
        let mut changes = vec![records::put_repository(name)];
        if let (Some(subject), Some(referrer)) = (&self.record.subject, &self.referrer) {
            changes.push(records::put_referrer(name, subject, referrer)?);
        }
        changes.push(records::put_manifest(name, &self.digest, &self.record)?);
        Ok(changes)
    }
}

/// Keeps a document from upstream, whose digest was verified; what it leads to need not be here.
pub(crate) async fn keep(
    registry: &Registry,
    name: &Repository,
    media_type: &str,
    bytes: Bytes,
) -> rorqual_error::Result<()> {
    let target = Target::Digest(digest_of(&bytes));
    let pushed =
        read(&bytes, Some(media_type), &target).map_err(|_| Error::invalid("a manifest that is not what it says"))?;
    let _push = registry.lock(name).read().await;
    let _content = registry.content.read().await;
    registry.leases.touch(name, &[pushed.digest]);
    registry.storage.put_blob(bytes.clone()).await?;
    registry.storage.apply(pushed.changes(name)?).await?;
    registry.manifests.put(pushed.digest, bytes);
    Ok(())
}

/// Reads a document, and refuses one that is not what its type and digest say.
fn read(bytes: &Bytes, announced: Option<&str>, target: &Target) -> Result<Pushed> {
    let invalid = |text: String| Refusal::new(Code::ManifestInvalid, text);
    let digest = digest_of(bytes);
    if let Target::Digest(wanted) = target
        && *wanted != digest
    {
        let refusal = Refusal::new(Code::DigestInvalid, "the manifest does not have this digest");
        return Err(refusal.about(json!({"digest": wanted, "actual": digest})));
    }
    let announced =
        announced.map(|text| text.split(';').next().unwrap_or_default().trim()).filter(|text| !text.is_empty());
    let media_type = match announced {
        Some(media_type) => media_type.to_owned(),
        None => Document::detect(bytes).map_err(|error| invalid(error.to_string()))?,
    };
    let document = Document::parse(&media_type, bytes).map_err(|error| invalid(error.to_string()))?;
    let size = bytes.len() as u64;
    let mut shown = Descriptor::new(media_type.clone(), digest, size);
    let mut record = Manifest { media_type, size, subject: None, blobs: Vec::new(), manifests: Vec::new() };
    match document {
        Document::Manifest(manifest) => {
            record.subject = manifest.subject.map(|subject| subject.digest);
            let layers = manifest.layers.iter().filter(|layer| !is_elsewhere(layer));
            record.blobs = std::iter::once(&manifest.config).chain(layers).map(|blob| blob.digest).collect();
            shown.artifact_type = match manifest.artifact_type.is_empty() {
                true => manifest.config.media_type,
                false => manifest.artifact_type,
            };
            shown.annotations = manifest.annotations;
        }
        Document::Index(index) => {
            record.subject = index.subject.map(|subject| subject.digest);
            record.manifests = index.manifests.iter().map(|manifest| manifest.digest).collect();
            shown.artifact_type = index.artifact_type;
            shown.annotations = index.annotations;
        }
    }
    let referrer = record.subject.map(|_| shown);
    if referrer.as_ref().is_some_and(|shown| json!(shown).to_string().len() > REFERRER) {
        return Err(invalid(format!("a manifest with a subject may have {REFERRER} bytes of annotations")));
    }
    Ok(Pushed { digest, record, referrer })
}

/// Whether a layer is to be had from its own URLs, not from registries.
fn is_elsewhere(layer: &Descriptor) -> bool {
    !layer.urls.is_empty()
        && (layer.media_type.contains(".nondistributable.") || layer.media_type.contains(".foreign."))
}

/// Everything the document leads to, which must be in the repository; the collector must leave it alone from now on.
/// The subject need not be there.
async fn needed(call: &Call, name: &Repository, pushed: &Pushed) -> Result<Vec<Digest>> {
    let records = call.registry.records();
    let mut missing: Vec<Value> = Vec::new();
    for blob in &pushed.record.blobs {
        if records.blob(name, blob).await?.is_none() {
            missing.push(json!({"digest": blob}));
        }
    }
    let mut needed: HashSet<Digest> = pushed.record.blobs.iter().copied().chain([pushed.digest]).collect();
    let mut level = pushed.record.manifests.clone();
    for depth in 0.. {
        level.retain(|digest| needed.insert(*digest));
        if level.is_empty() {
            break;
        }
        if depth == INDEX_NESTING || needed.len() > INDEX_TOTAL {
            let text = format!("indexes nest {INDEX_NESTING} deep and lead to {INDEX_TOTAL} blobs at most");
            return Err(Refusal::new(Code::ManifestInvalid, text));
        }
        let mut below = Vec::new();
        for digest in level {
            match records.manifest(name, &digest).await? {
                Some(record) => {
                    needed.extend(record.blobs);
                    below.extend(record.manifests);
                }
                None => missing.push(json!({"digest": digest})),
            }
        }
        level = below;
    }
    match missing.is_empty() {
        true => Ok(needed.into_iter().collect()),
        false => {
            let text = "manifest references a manifest or blob unknown to the repository";
            missing.truncate(10);
            Err(Refusal::new(Code::ManifestBlobUnknown, text).about(Value::Array(missing)))
        }
    }
}

/// DELETE: by digest the manifest and every tag on it, by tag the tag alone.
pub(crate) async fn delete(call: &Call, name: &Repository, target: &Target) -> Result<Reply> {
    let registry = &call.registry;
    let records = registry.records();
    let _removal = registry.lock(name).write().await;
    let changes = match target {
        Target::Tag(tag) => {
            records.tag(name, tag).await?.ok_or_else(|| unknown(target))?;
            vec![records::delete_tag(name, tag)]
        }
        Target::Digest(digest) => {
            let record = records.manifest(name, digest).await?.ok_or_else(|| unknown(target))?;
            let tags = records.all_tags(name).await?;
            let tags = tags.iter().filter(|(_, tagged)| tagged == digest);
            // The tags first: an interrupted removal must not leave one that leads nowhere.
            let tags = tags.map(|(tag, _)| records::delete_tag(name, tag));
            tags.chain(records::delete_manifest(name, digest, &record)).collect()
        }
    };
    registry.storage.apply(changes).await?;
    failpoint!("registry.manifest-deleted")?;
    Ok(empty(StatusCode::ACCEPTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_what_it_says_or_refused() {
        let hex = "0a".repeat(32);
        let config = format!(r#"{{"mediaType":"m","digest":"sha256:{hex}","size":2}}"#);
        let oci = "application/vnd.oci.image.manifest.v1+json";
        let index = "application/vnd.oci.image.index.v1+json";
        let good = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let tag = Target::Tag(crate::name::Tag::parse("t").unwrap());
        let check =
            |text: &str, media_type: Option<&str>| read(&Bytes::from(text.to_owned()), media_type, &tag).is_ok();
        assert!(check(&good, Some(oci)));
        assert!(check(&good, Some(&format!("{oci}; charset=utf-8"))));
        assert!(check(&good, None));
        assert!(!check(&good, Some("text/plain")));
        assert!(!check(&good.replace('2', "1"), Some(oci)));
        assert!(!check(&good.replace("{\"schema", &format!("{{\"mediaType\":\"{index}\",\"schema")), Some(oci)));
        assert!(!check(&good.replace("\"layers\"", "\"manifests\":[],\"layers\""), Some(oci)));
        assert!(!check(&good.replace("sha256:", "sha512:"), Some(oci)));
        assert!(!check("{}", None));
        assert!(!check("", Some(oci)));
    }
}
