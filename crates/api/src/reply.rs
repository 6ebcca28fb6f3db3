//! Answers: JSON, empty, streams; and the one place where kinds of failure become statuses.

use crate::{body::Body, version::ApiVersion};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use rorqual_api_types::progress::Progress;
use rorqual_error::{Error, Kind};
use serde::Serialize;

/// An answer.
pub type Reply = Response<Body>;

/// The content type of every JSON answer.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The status of a kind of failure.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::InvalidArgument => StatusCode::BAD_REQUEST,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The body of every error.
#[derive(Serialize)]
struct Message<'a> {
    message: &'a str,
}

/// `value` with this status.
pub(crate) fn json(code: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            // dockerd's encoder ends each document with a line feed.
            text.push(b'\n');
            typed(code, JSON, Body::full(text))
        }
        Err(cause) => error(&Error::internal("encode the answer").caused_by(cause)),
    }
}

/// `value` with status 200.
pub(crate) fn ok(value: &impl Serialize) -> Reply {
    json(StatusCode::OK, value)
}

/// No body.
pub(crate) fn empty(code: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = code;
    reply
}

/// 204.
pub(crate) fn no_content() -> Reply {
    empty(StatusCode::NO_CONTENT)
}

/// A body of any content type.
pub(crate) fn typed(code: StatusCode, content_type: HeaderValue, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = code;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// A failure as its status and `{"message": …}`.
pub fn error(failure: &Error) -> Reply {
    let code = status(failure.kind());
    if code == StatusCode::NOT_MODIFIED {
        return empty(code);
    }
    message(code, &failure.to_string())
}

/// `{"message": …}` with this status.
pub(crate) fn message(code: StatusCode, text: &str) -> Reply {
    json(code, &Message { message: text })
}

/// A path without a route, or a method its route does not have; dockerd answers both alike.
pub(crate) fn page_not_found() -> Reply {
    message(StatusCode::NOT_FOUND, "page not found")
}

/// The refusal of a version below the oldest: plain text, as clients that old read it.
pub(crate) fn too_old(failure: &Error) -> Reply {
    let text = format!("{failure}\n");
    typed(StatusCode::BAD_REQUEST, HeaderValue::from_static("text/plain; charset=utf-8"), Body::full(text))
}

/// A stream of JSON documents, one a line, each sent as it comes; a failure becomes a last line with `errorDetail`.
pub(crate) fn progress(lines: impl Stream<Item = Result<Progress, Error>> + Send + 'static) -> Reply {
    typed(StatusCode::OK, JSON, Body::stream(lines.map(|line| line_of(&line.unwrap_or_else(|e| failed(&e))))))
}

/// The line of a failure.
pub(crate) fn failed(failure: &Error) -> Progress {
    Progress::failure(failure.to_string())
}

/// One document and the line end that dockerd's progress streams have.
fn line_of(line: &Progress) -> Result<Bytes, Error> {
    let mut text =
        serde_json::to_vec(line).map_err(|cause| Error::internal("encode a line of progress").caused_by(cause))?;
    text.extend_from_slice(b"\r\n");
    Ok(text.into())
}

/// A stream of JSON documents, one a line.
pub(crate) fn documents<T: Serialize>(items: impl Stream<Item = T> + Send + 'static) -> Reply {
    let lines = items.map(|item| {
        let mut text = serde_json::to_vec(&item).map_err(|e| Error::internal("encode an item").caused_by(e))?;
        text.push(b'\n');
        Ok(Bytes::from(text))
    });
    typed(StatusCode::OK, JSON, Body::stream(lines))
}

/// The content type of a container's output: frames where there is no terminal, and the version can tell.
pub(crate) fn stream_type(tty: bool, version: ApiVersion) -> HeaderValue {
    HeaderValue::from_static(if !tty && version.at_least(42) {
        "application/vnd.docker.multiplexed-stream"
    } else {
        "application/vnd.docker.raw-stream"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_dockerds_status() {
        for (kind, code) in [
            (Kind::NotFound, 404),
            (Kind::InvalidArgument, 400),
            (Kind::Conflict, 409),
            (Kind::NotModified, 304),
            (Kind::Forbidden, 403),
            (Kind::Unauthorized, 401),
            (Kind::Unavailable, 503),
            (Kind::NotImplemented, 501),
            (Kind::Internal, 500),
        ] {
            assert_eq!(error(&Error::new(kind, "x")).status().as_u16(), code);
        }
    }

    #[test]
    fn frames_are_announced_where_the_client_knows_them() {
        for (tty, minor, wanted) in
            [(false, 51, "multiplexed"), (false, 42, "multiplexed"), (false, 41, "raw"), (true, 51, "raw")]
        {
            let name = stream_type(tty, ApiVersion::new(1, minor));
            assert_eq!(name.to_str().unwrap(), format!("application/vnd.docker.{wanted}-stream"));
        }
    }
}
