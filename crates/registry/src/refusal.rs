//! Errors as the distribution specification words them: a status, a code, a message. The one place where kinds of
//! failure become statuses.

use crate::{body::Body, limits::SHOWN};
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use rorqual_error::{Error, Kind};
use serde_json::{Value, json};

/// The codes of the specification, and those that Docker's registry adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    RangeInvalid,
    TagInvalid,
    PageInvalid,
    Unauthorized,
    Unsupported,
    TooManyRequests,
    Unavailable,
    Unknown,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::PageInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown | Self::BlobUploadUnknown | Self::ManifestUnknown | Self::NameUnknown => {
                StatusCode::NOT_FOUND
            }
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid
            | Self::TagInvalid
            | Self::PageInvalid => StatusCode::BAD_REQUEST,
            Self::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A request that is not carried out.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    status: StatusCode,
    message: String,
    detail: Value,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What an operator must see; clients do not.
    cause: Option<Error>,
}

/// The result of a request.
pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        let message = match message.char_indices().nth(4 * SHOWN) {
            Some((end, _)) => message.get(..end).unwrap_or_default().to_owned(),
            None => message,
        };
        let (status, detail, headers) = (code.status(), Value::Null, Vec::new());
        Self(Box::new(Parts { code, status, message, detail, headers, cause: None }))
    }

    /// With what it is about.
    pub(crate) fn about(mut self, detail: Value) -> Self {
        self.0.detail = detail;
        self
    }

    /// With another status than its code usually has.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// With a header line; a value that cannot be one is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.0.headers.push((name, value));
        }
        self
    }

    /// What the operator must see of it.
    pub(crate) fn cause(&self) -> Option<&Error> {
        self.0.cause.as_ref()
    }

    pub(crate) fn reply(self) -> Response<Body> {
        let parts = *self.0;
        let text = json!({"errors": [{"code": parts.code.text(), "message": parts.message, "detail": parts.detail}]});
        let mut reply = Response::new(Body::full(text.to_string()));
        *reply.status_mut() = parts.status;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in parts.headers {
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

/// A failure below that no code of the specification is for.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Unavailable => Code::Unavailable,
            _ => Code::Unknown,
        };
        // What went wrong inside is the operator's to read.
        let mut refusal = Self::new(code, "the registry could not carry the request out; its log says why");
        refusal.0.cause = Some(error);
        refusal
    }
}

/// The beginning of what a client sent, to be repeated in an error.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
