//! Bodies of answers: nothing, bytes, or a stream whose drop cancels the work behind it.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rorqual_engine::stream::ByteStream;
use rorqual_error::Error;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// The body of an answer.
pub struct Body {
    content: Content,
    /// Dropped with the body: tells the connection that this request is over.
    finished: Option<Box<dyn Send>>,
}

enum Content {
    Full(Option<Bytes>),
    Stream(Chunks),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Full(bytes) => write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Content::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self { content: Content::Full(None), finished: None }
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { content: Content::Full((!bytes.is_empty()).then_some(bytes)), finished: None }
    }

    /// What comes, each chunk as soon as it is there. An error ends the connection: the status has been sent.
    pub fn stream(chunks: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Self {
        Self { content: Content::Stream(Box::pin(chunks)), finished: None }
    }

    /// What the engine makes.
    pub fn from_engine(bytes: ByteStream) -> Self {
        Self::stream(futures_util::stream::unfold(bytes, |mut bytes| async move {
            let chunk = bytes.next().await?;
            Some((chunk, bytes))
        }))
    }

    /// Drops `guard` when the body has been sent or given up.
    pub(crate) fn finishing(mut self, guard: impl Send + 'static) -> Self {
        self.finished = Some(Box::new(guard));
        self
    }

    /// The body, and the guard it had.
    pub(crate) fn without_guard(mut self) -> (Self, Option<Box<dyn Send>>) {
        let guard = self.finished.take();
        (self, guard)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.content {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Stream(chunks) => chunks.poll_next_unpin(context).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
