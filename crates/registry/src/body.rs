//! Bodies of answers: bytes, a part of a file, a stream; counted on their way out.

use crate::{limits::READ, wire::Outbox};
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use hyper::body::{Frame, SizeHint};
use rustix::io::{ReadWriteFlags, preadv2};
use std::{
    fmt,
    fs::File,
    future::Future,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::task::JoinHandle;

/// Where the bytes of a blob come from.
pub(crate) enum Source {
    /// A file, whose bytes never change.
    File(Arc<File>),
    /// A stream of the range that was asked for.
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "Source({file:?})"),
            Self::Stream(_) => f.write_str("Source(stream)"),
        }
    }
}

/// The body of an answer. Calls `done` with the bytes it gave when it is dropped.
pub(crate) struct Body {
    kind: Kind,
    left: u64,
    sent: u64,
    done: Option<Box<dyn FnOnce(u64) + Send>>,
}

enum Kind {
    Full(Bytes),
    File(FileBody),
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

struct FileBody {
    file: Arc<File>,
    at: u64,
    /// Where the kernel sends the file itself.
    outbox: Option<Outbox>,
    /// A read under way on a thread that may wait for the disk.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Body {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { left: bytes.len() as u64, kind: Kind::Full(bytes), sent: 0, done: None }
    }

    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// `length` bytes of `source` from `start` on (of a stream: from its beginning).
    pub(crate) fn of(source: Source, start: u64, length: u64, outbox: Option<Outbox>) -> Self {
        let kind = match source {
            Source::File(file) => Kind::File(FileBody { file, at: start, outbox, reading: None }),
            Source::Stream(stream) => Kind::Stream(stream),
        };
        Self { kind, left: length, sent: 0, done: None }
    }

    /// Calls `done` with the number of bytes that were given when the body is dropped.
    pub(crate) fn on_end(mut self, done: impl FnOnce(u64) + Send + 'static) -> Self {
        self.done = Some(Box::new(done));
        self
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(self.sent);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes left)", self.left)
    }
}

impl FileBody {
    /// The next piece, `length` bytes at most.
    fn poll(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<Bytes>> {
        if self.reading.is_none() {
            if let Some(outbox) = self.outbox.as_ref().filter(|_| self.at_hand(length)) {
                return Poll::Ready(Ok(self.announce(outbox, length)));
            }
            let (file, at, discard) = (self.file.clone(), self.at, self.outbox.is_some());
            self.reading = Some(tokio::task::spawn_blocking(move || read(&file, at, length, discard)));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(Bytes::new())) };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let bytes = read.map_err(io::Error::other)??;
        Poll::Ready(Ok(match &self.outbox {
            Some(outbox) => self.announce(outbox, length),
            None => bytes,
        }))
    }

    /// Whether the kernel has the end of the piece in memory, so that sending it waits for no disk.
    fn at_hand(&self, length: usize) -> bool {
        let mut byte = [0];
        let end = self.at + length as u64 - 1;
        preadv2(&self.file, &mut [IoSliceMut::new(&mut byte)], end, ReadWriteFlags::NOWAIT)
            .is_ok_and(|count| count == 1)
    }

    fn announce(&self, outbox: &Outbox, length: usize) -> Bytes {
        outbox.announce(self.file.clone(), self.at, length)
    }
}

/// Reads a piece whole; where the kernel sends it, only into the kernel's memory.
fn read(file: &File, mut at: u64, length: usize, discard: bool) -> io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(length);
    let mut rest: &mut [u8] = &mut buffer;
    while !rest.is_empty() {
        match file.read_at(rest, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                rest = rest.get_mut(count..).unwrap_or_default();
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(if discard { Bytes::new() } else { buffer.freeze() })
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = self.get_mut();
        if body.left == 0 {
            return Poll::Ready(None);
        }
        let piece = usize::try_from(body.left).unwrap_or(READ).min(READ);
        let bytes = match &mut body.kind {
            Kind::Full(bytes) => Ok(std::mem::take(bytes)),
            Kind::File(file) => {
                let read = ready!(file.poll(context, piece));
                read.inspect(|bytes| file.at += bytes.len() as u64)
            }
            Kind::Stream(stream) => match ready!(stream.as_mut().poll_next(context)) {
                Some(read) => read,
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        };
        Poll::Ready(Some(bytes.and_then(|bytes| {
            let count = bytes.len() as u64;
            body.left = body.left.checked_sub(count).ok_or(io::ErrorKind::InvalidData)?;
            body.sent += count;
            Ok(Frame::data(bytes))
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::io::Write;

    #[tokio::test]
    async fn a_part_of_a_file_is_given_whole_and_counted() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..READ * 2 + 5).map(|n| (n % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let length = (READ * 2) as u64;
        let body = Body::of(Source::File(Arc::new(file)), 3, length, None);
        let body = body.on_end(move |count| sender.send(count).unwrap());
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes[3..READ * 2 + 3]);
        assert_eq!(receiver.recv().unwrap(), length);
    }

    #[tokio::test]
    async fn a_file_that_ends_early_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let body = Body::of(Source::File(Arc::new(file)), 0, 1, None);
        assert_eq!(body.collect().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
