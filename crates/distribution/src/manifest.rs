//! Manifests and indexes: the exact bytes, and nothing that is not what it says it is (threats.md, R9).

use crate::{
    Repository, TagOrDigest,
    answer::{Failure, clip},
    limits::MANIFEST_BYTES_MAX,
    sha256,
    transport::{Answered, Call, Payload, Route},
};
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_oci::image::{Descriptor, Document, media};
use rorqual_types::Digest;

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";
/// With it a registry says that it will list the manifest among the referrers of its subject.
const SUBJECT_HEADER: &str = "oci-subject";

/// A manifest or an index as a registry gave it.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its media type, the digest of its bytes, their number.
    pub descriptor: Descriptor,
    /// The bytes that have the digest.
    pub bytes: Vec<u8>,
    /// The same, read under that one media type.
    pub document: Document,
}

impl Repository {
    /// The manifest or index under a tag or a digest, of at most `max` bytes (and never more than 4 MiB).
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` where digest, media type and document do not agree; `NotImplemented` for schema 1.
    pub async fn manifest(&self, target: &TagOrDigest, max: u64) -> Result<Manifest> {
        let mut walk = self.walk_to(target);
        loop {
            let found = manifest(walk.route(), target, max.min(MANIFEST_BYTES_MAX)).await;
            if let Some(found) = walk.last_word(found) {
                return found.map_err(|failure| self.explain_manifest(target, failure));
            }
        }
    }

    /// The descriptor of what a tag or a digest names, without its bytes where the registry tells enough. What it
    /// tells is not verified: fetch the manifest by the digest before it is used.
    pub async fn resolve(&self, target: &TagOrDigest) -> Result<Descriptor> {
        let mut walk = self.walk_to(target);
        let told = loop {
            let told = head(walk.route(), target).await;
            if let Some(told) = walk.last_word(told) {
                break told.map_err(|failure| self.explain_manifest(target, failure))?;
            }
        };
        match told {
            Some(descriptor) => Ok(descriptor),
            None => Ok(self.manifest(target, MANIFEST_BYTES_MAX).await?.descriptor),
        }
    }

    /// Stores a manifest or an index; all that it refers to must be there. Returns the digest of the bytes.
    ///
    /// # Errors
    /// `Internal` where the registry says that it stored something else.
    pub async fn push_manifest(&self, target: &TagOrDigest, media_type: &str, bytes: &[u8]) -> Result<Digest> {
        self.put_manifest(target, media_type, bytes).await.map(|(digest, _)| digest)
    }

    /// As [`Repository::push_manifest`]; also whether the registry says that it found the manifest's subject.
    pub(crate) async fn put_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(Digest, bool)> {
        let digest = sha256(bytes);
        check_digest(target, digest)?;
        let route = self.registry();
        let mut call = Call::path(Method::PUT, format!("{}/manifests/{target}", route.name()));
        let value = HeaderValue::from_str(media_type).map_err(|_| Error::invalid("a media type that is none"))?;
        call.headers.insert(CONTENT_TYPE, value);
        call.payload = Payload::Bytes(bytes);
        call.repeatable = true;
        let answer = route.send(&call).await.map_err(|failure| self.explain(failure))?;
        match answer.header(DIGEST_HEADER).map(str::parse::<Digest>) {
            Some(Ok(stored)) if stored != digest => {
                Err(Error::internal(format!("{} stored manifest {stored} where {digest} was sent", route.origin())))
            }
            Some(Err(_)) => Err(Error::internal(format!("{} answers with a digest that is none", route.origin()))),
            _ => Ok((digest, answer.header(SUBJECT_HEADER).is_some())),
        }
    }

    fn explain_manifest(&self, target: &TagOrDigest, failure: Failure) -> Error {
        if failure.has_status(StatusCode::NOT_FOUND) && failure.code != "NAME_UNKNOWN" {
            let name = self.reference.familiar_name();
            let separator = if target.digest().is_some() { '@' } else { ':' };
            let why = match failure.code.as_str() {
                "" => "manifest unknown: manifest unknown".to_owned(),
                _ => failure.error.to_string(),
            };
            return Error::not_found(format!("manifest for {name}{separator}{target} not found: {why}"));
        }
        self.explain(failure)
    }
}

fn call<'a>(method: Method, route: &Route, target: &TagOrDigest) -> Call<'a> {
    let mut call = Call::path(method, format!("{}/manifests/{target}", route.name()));
    call.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    call
}

async fn manifest(route: &Route, target: &TagOrDigest, max: u64) -> Result<Manifest, Failure> {
    let (bytes, answered) = route.document(&call(Method::GET, route, target), max).await?;
    Ok(verified(target, bytes, &answered)?)
}

/// What the head of an answer tells; `None` where that is not enough.
async fn head(route: &Route, target: &TagOrDigest) -> Result<Option<Descriptor>, Failure> {
    let answer = route.send(&call(Method::HEAD, route, target)).await?;
    let answered = Answered { headers: answer.response.headers().clone(), url: answer.url };
    let size = answered.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    let media_type = media_type(&answered)?;
    let known = media::is_index(&media_type) || media::is_manifest(&media_type);
    match (told_digest(&answered)?.or(target.digest().copied()), size) {
        (Some(digest), Some(size)) if known && size <= MANIFEST_BYTES_MAX => {
            check_digest(target, digest)?;
            Ok(Some(Descriptor::new(media_type, digest, size)))
        }
        _ => Ok(None),
    }
}

/// The media type of an answer; an absent one is left to the document.
fn media_type(answered: &Answered) -> Result<String> {
    let text = answered.header(CONTENT_TYPE).unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    check_supported(media_type)?;
    Ok(media_type.to_owned())
}

fn check_supported(media_type: &str) -> Result<()> {
    let schema1 =
        media_type.starts_with("application/vnd.docker.distribution.manifest.v1+") || media_type == "text/plain";
    if schema1 {
        return Err(Error::new(
            Kind::NotImplemented,
            format!(
                "media type {:?} is no longer supported (image manifest version 2, schema 1): rebuild the image as \
                 {:?} or {:?}",
                clip(media_type),
                media::DOCKER_MANIFEST,
                media::MANIFEST
            ),
        ));
    }
    Ok(())
}

fn told_digest(answered: &Answered) -> Result<Option<Digest>> {
    match answered.header(DIGEST_HEADER) {
        None | Some("") => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Error::invalid(format!("{} is no digest (Docker-Content-Digest)", clip(text)))),
    }
}

fn check_digest(target: &TagOrDigest, digest: Digest) -> Result<()> {
    match target.digest() {
        Some(wanted) if *wanted != digest => {
            Err(Error::invalid(format!("manifest verification failed for digest {wanted}: it is {digest}")))
        }
        _ => Ok(()),
    }
}

/// Size first, then the digest, then one reading under one media type.
fn verified(target: &TagOrDigest, bytes: Vec<u8>, answered: &Answered) -> Result<Manifest> {
    let digest = sha256(&bytes);
    check_digest(target, digest)?;
    if let Some(told) = told_digest(answered)?
        && told != digest
    {
        return Err(Error::invalid(format!("the registry promises manifest {told} and sends {digest}")));
    }
    let mut media_type = media_type(answered)?;
    let own = Document::detect(&bytes).with_context(|| format!("manifest {digest}"))?;
    check_supported(&own)?;
    if media_type.is_empty() || media_type == "application/json" {
        // Plain file servers say no more than that.
        media_type = own;
    }
    let document = Document::parse(&media_type, &bytes).with_context(|| format!("manifest {digest}"))?;
    Ok(Manifest { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), bytes, document })
}
