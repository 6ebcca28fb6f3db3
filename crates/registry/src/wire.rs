//! A connection whose blobs the kernel sends from the file itself.
//!
//! hyper asks bodies for bytes. On a plain TCP connection the body of a blob gives it, instead, slices of one region
//! of memory that stand for bytes of a file, and notes in the connection's [`Outbox`] which. When hyper writes such a
//! slice, the connection sends the file's bytes with `sendfile`, and reports them as written. What is not one of these
//! slices, by its address, is written as it is; so a slice that was copied on the way would be noticed here, as bytes
//! of the file that nobody asked for, and ends the connection.
//!
//! Every write, plain or not, must make progress within a deadline.

use crate::limits::{READ, SEND_DEADLINE};
use bytes::Bytes;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::{
    collections::VecDeque,
    fs::File,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// Stands for bytes of files; its own bytes are never read, so no memory is behind it.
static REGION: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; READ]));

/// The pieces of files that a connection has been told to send, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Arc<Mutex<VecDeque<Piece>>>);

#[derive(Debug)]
struct Piece {
    file: Arc<File>,
    at: u64,
    left: usize,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Piece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `length` bytes of `file` come next, [`READ`] at most; returns what stands for them.
    pub(crate) fn announce(&self, file: Arc<File>, at: u64, length: usize) -> Bytes {
        let stand_in = REGION.slice(..length.min(READ));
        self.lock().push_back(Piece { file, at, left: stand_in.len() });
        stand_in
    }
}

/// Whether a slice stands for bytes of a file.
fn stands_in(slice: &[u8]) -> bool {
    REGION.as_ptr_range().contains(&slice.as_ptr()) && !slice.is_empty()
}

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    outbox: Outbox,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, outbox: Outbox) -> Self {
        Self { stream, outbox }
    }

    /// Sends up to `length` bytes of the piece that is next.
    fn send_file(&self, length: usize) -> io::Result<usize> {
        let mut pieces = self.outbox.lock();
        let Some(piece) = pieces.front_mut() else { return Err(io::ErrorKind::InvalidData.into()) };
        let count = loop {
            match rustix::fs::sendfile(&self.stream, &piece.file, Some(&mut piece.at), length.min(piece.left)) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece.left -= count;
        if piece.left == 0 {
            pieces.pop_front();
        }
        Ok(count)
    }

    /// Writes plain slices, the first of them not empty; `more` where a file's bytes follow at once.
    fn send(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        Ok(sendmsg(&self.stream, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let skipped = slices.iter().take_while(|slice| slice.is_empty()).count();
        let slices = slices.get(skipped..).unwrap_or_default();
        let Some(first) = slices.first() else { return Ok(0) };
        if stands_in(first) {
            return self.send_file(first.len());
        }
        let plain = slices.iter().take_while(|slice| !stands_in(slice)).count();
        self.send(slices.get(..plain).unwrap_or_default(), plain < slices.len())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_io(Interest::WRITABLE, || self.try_write(slices)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection whose writes must make progress.
#[derive(Debug)]
pub(crate) struct Moving<S> {
    inner: S,
    /// Set while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Moving<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, deadline: None }
    }

    fn watched<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.deadline = None;
            return progress;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + SEND_DEADLINE)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.watched(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watched(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    #[tokio::test]
    async fn slices_that_stand_for_a_file_become_its_bytes() {
        let (server, mut client) = pair().await;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let outbox = Outbox::default();
        let mut wire = Wire::new(server, outbox.clone());
        let stand_in = outbox.announce(Arc::new(file), 2, 5);
        let mut slices = [&b"head"[..], b"", &stand_in, b"tail"].map(IoSlice::new);
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let count = wire.write_vectored(left).await.unwrap();
            IoSlice::advance_slices(&mut left, count);
        }
        drop(wire);
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "head23456tail");
    }

    #[tokio::test]
    async fn a_slice_that_nobody_announced_ends_the_connection() {
        let (server, _client) = pair().await;
        let mut wire = Wire::new(server, Outbox::default());
        let error = wire.write(&REGION[..1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_left() {
        let (near, _far) = tokio::io::duplex(16);
        let mut moving = Moving::new(near);
        moving.write_all(&[0; 16]).await.unwrap();
        assert_eq!(moving.write(&[0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
