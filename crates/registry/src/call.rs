//! One request on its way to its handler.

use crate::{
    access::{Action, Identity},
    body::Body,
    limits::{BODY_DEADLINE, MANIFEST},
    name::Repository,
    refusal::{Code, Refusal, Result},
    registry::Registry,
    route::Query,
    wire::Outbox,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH},
};
use rorqual_types::Digest;
use std::sync::Arc;

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An answer.
pub(crate) type Reply = Response<Body>;

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    pub registry: Arc<Registry>,
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Query,
    pub body: Incoming,
    pub identity: Identity,
    /// Where the kernel may send files itself.
    pub outbox: Option<Outbox>,
}

impl Call {
    /// Whether only the head of the answer is asked for.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the client may do this; see [`crate::access::Access::authorize`].
    pub(crate) fn may(&self, action: Action, name: &Repository) -> bool {
        self.registry.access.authorize(&self.identity, action, Some(name)).is_ok()
    }

    /// Whether the client has what has this digest, by its own word.
    pub(crate) fn knows(&self, digest: &Digest) -> bool {
        let Some(tags) = self.header(IF_NONE_MATCH) else { return false };
        let digest = digest.to_string();
        tags.split(',').any(|tag| {
            let tag = tag.trim().trim_start_matches("W/").trim_matches('"');
            tag == "*" || tag == digest
        })
    }

    /// The length of the body, where the client said it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let waited = tokio::time::timeout(BODY_DEADLINE, self.body.frame()).await;
            let slow = || {
                let text = format!("no byte of the body for {} s", BODY_DEADLINE.as_secs());
                Refusal::new(Code::SizeInvalid, text).status(StatusCode::REQUEST_TIMEOUT)
            };
            let Some(frame) = waited.map_err(|_| slow())? else { return Ok(None) };
            let frame = frame.map_err(|_| Refusal::new(Code::SizeInvalid, "the body ended early"))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// The body of a manifest, whole.
    pub(crate) async fn manifest(&mut self) -> Result<Bytes> {
        let too_large = || {
            let text = format!("a manifest may have {MANIFEST} bytes");
            Refusal::new(Code::ManifestInvalid, text).status(StatusCode::PAYLOAD_TOO_LARGE)
        };
        if self.body.size_hint().lower() > MANIFEST as u64 {
            return Err(too_large());
        }
        let mut all = BytesMut::new();
        while let Some(data) = self.next().await? {
            if all.len() + data.len() > MANIFEST {
                return Err(too_large());
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

/// An answer with a JSON body.
pub(crate) fn json(media_type: &'static str, value: &serde_json::Value) -> Reply {
    let mut reply = Response::new(Body::full(value.to_string()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

/// The header lines that name what an answer is about.
pub(crate) fn identify(reply: &mut Reply, digest: &Digest) {
    let headers = reply.headers_mut();
    set(headers, CONTENT_DIGEST, digest.to_string());
    set(headers, ETAG, format!("\"{digest}\""));
}

/// The answer to HEAD: the length of a body that is not sent.
pub(crate) fn announce_length(reply: &mut Reply, length: u64) {
    reply.headers_mut().insert(CONTENT_LENGTH, length.into());
}

/// Sets a header line to text of our own making.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, text: String) {
    if let Ok(text) = text.try_into() {
        headers.insert(name, text);
    }
}
