//! What a request carries: nothing, bytes, or a stream.

use crate::limits;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use std::io;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Everything `reader` gives, sent as it comes.
pub(crate) fn stream(reader: impl AsyncRead + Send + 'static) -> Body {
    let chunks = ReaderStream::with_capacity(reader, limits::UPLOAD_CHUNK_BYTES);
    StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync()
}
