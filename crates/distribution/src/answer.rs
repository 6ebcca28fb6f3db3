//! What an answer that is no success means: the registry's error document, and our failure of it.

use crate::{
    limits::{ERROR_BYTES_MAX, SHOWN_BYTES_MAX},
    links::retry_after,
    origin::shown,
};
use jiff::Timestamp;
use reqwest::{Method, Response, StatusCode, Url, header::RETRY_AFTER};
use rorqual_error::{Error, Kind};
use serde::Deserialize;
use std::time::Duration;

/// Why a request failed, and what may be done about it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the caller is told.
    pub(crate) error: Error,
    /// The status of the answer, where there was one.
    pub(crate) status: Option<StatusCode>,
    /// The registry's code: `MANIFEST_UNKNOWN`.
    pub(crate) code: String,
    /// Whether the same request may succeed later.
    pub(crate) transient: bool,
    /// How long the server asks to wait.
    pub(crate) after: Option<Duration>,
    /// Whether no server was reached at all.
    pub(crate) unreached: bool,
}

impl Failure {
    /// One that another attempt cannot help.
    pub(crate) fn last(error: Error) -> Self {
        Self { error, status: None, code: String::new(), transient: false, after: None, unreached: false }
    }

    /// One that another attempt may help.
    pub(crate) fn transient(error: Error) -> Self {
        Self { transient: true, ..Self::last(error) }
    }

    pub(crate) fn has_status(&self, status: StatusCode) -> bool {
        self.status == Some(status)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::last(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The error documents that registries and token servers send.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    errors: Vec<Entry>,
    /// Token servers of an older fashion.
    details: serde_json::Value,
    /// OAuth 2.
    error_description: serde_json::Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    code: String,
    message: String,
}

/// At most 256 bytes of foreign text, without control characters.
pub(crate) fn clip(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if out.len() + character.len_utf8() > SHOWN_BYTES_MAX {
            out.push('…');
            break;
        }
        out.push(character);
    }
    out
}

/// Reads what is left of an unsuccessful answer into a failure.
pub(crate) async fn failure(method: &Method, url: &Url, response: Response) -> Failure {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = after.and_then(|text| retry_after(text, Timestamp::now()));
    // An error document that does not come is none.
    let body = crate::transport::read(response, ERROR_BYTES_MAX).await.unwrap_or_default();
    let mut failure = from_parts(method, url, status, &body);
    failure.after = after;
    failure
}

fn from_parts(method: &Method, url: &Url, status: StatusCode, body: &[u8]) -> Failure {
    let document: Document = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).filter(|text| !text.is_empty());
    let (code, message) = match document.errors.first() {
        Some(entry) => (clip(&entry.code), clip(&entry.message)),
        None => {
            let told = text(&document.details).or_else(|| text(&document.error_description));
            (implied_code(status).to_owned(), told.map(|told| clip(&told)).unwrap_or_default())
        }
    };
    let message = match (code.as_str(), message.as_str()) {
        ("", _) => {
            let verb = method.as_str();
            format!("unexpected status from {verb} request to {}: {status}", shown(url))
        }
        (code, "") => format!("{}: {}", spoken(code), default_message(code)),
        (code, message) => format!("{}: {message}", spoken(code)),
    };
    let transient = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || {
        status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
    };
    Failure {
        error: Error::new(kind(status), message),
        status: Some(status),
        code,
        transient,
        after: None,
        unreached: false,
    }
}

fn kind(status: StatusCode) -> Kind {
    match status.as_u16() {
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        408 | 429 | 500 | 502..=599 => Kind::Unavailable,
        501 => Kind::NotImplemented,
        400..=499 => Kind::InvalidArgument,
        _ => Kind::Internal,
    }
}

fn implied_code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        429 => "TOOMANYREQUESTS",
        _ => "",
    }
}

/// `MANIFEST_UNKNOWN` as docker prints it: `manifest unknown`.
fn spoken(code: &str) -> String {
    code.to_ascii_lowercase().replace('_', " ")
}

fn default_message(code: &str) -> &'static str {
    match code {
        "UNAUTHORIZED" => "authentication required",
        "DENIED" => "requested access to the resource is denied",
        "TOOMANYREQUESTS" => "too many requests",
        "MANIFEST_UNKNOWN" => "manifest unknown",
        "NAME_UNKNOWN" => "repository name not known to registry",
        "BLOB_UNKNOWN" => "blob unknown to registry",
        "UNSUPPORTED" => "the operation is unsupported",
        _ => "unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_docker_prints_them() {
        let url: Url = "https://h/v2/a/manifests/x?sig=secret".parse().unwrap();
        for (status, body, text) in [
            (
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"x":1}}]}"#,
                "manifest unknown: manifest unknown",
            ),
            (401, r#"{"details":"incorrect username or password"}"#, "unauthorized: incorrect username or password"),
            (401, "", "unauthorized: authentication required"),
            (403, "<html>", "denied: requested access to the resource is denied"),
            (429, "", "toomanyrequests: too many requests"),
            (500, "", "unexpected status from GET request to https://h/v2/a/manifests/x: 500 Internal Server Error"),
            (404, "{}", "unexpected status from GET request to https://h/v2/a/manifests/x: 404 Not Found"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = from_parts(&Method::GET, &url, status, body.as_bytes());
            assert_eq!(failure.error.to_string(), text);
        }
    }

    #[test]
    fn foreign_text_is_short_and_has_no_control_characters() {
        assert_eq!(clip("a\u{1b}[31mb\n"), "a[31mb");
        assert_eq!(clip(&"x".repeat(SHOWN_BYTES_MAX)).len(), SHOWN_BYTES_MAX);
        assert_eq!(clip(&"x".repeat(SHOWN_BYTES_MAX + 1)).len(), SHOWN_BYTES_MAX + '…'.len_utf8());
        assert!(clip(&"é".repeat(1000)).len() <= SHOWN_BYTES_MAX + 3);
    }
}
