//! Byte streams between a caller and a container: attach and exec sessions, and output that a blocking reader makes.

use bytes::Bytes;
use rorqual_error::Result;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};

/// Output in chunks; dropping the receiver stops whoever makes it.
#[derive(Debug)]
pub struct ByteStream {
    pub(crate) chunks: mpsc::Receiver<Result<Bytes>>,
}

impl ByteStream {
    /// The next chunk; `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        self.chunks.recv().await
    }
}

/// Logs: raw bytes of a terminal, or frames of an 8-byte header and its payload.
#[derive(Debug)]
pub struct LogStream {
    /// Whether the container has a terminal, and the bytes are therefore raw.
    pub tty: bool,
    /// The bytes, ready to send.
    pub bytes: ByteStream,
}

/// A session with a container's or an exec's streams.
#[derive(Debug)]
pub struct AttachStream {
    /// Whether there is a terminal: `reader` is raw then, else frames of an 8-byte header and its payload.
    pub tty: bool,
    /// The container's output; its end is the end of the session.
    pub reader: AttachReader,
    /// The container's input; shutting it down is end of input. `None` where input was not asked for.
    pub writer: Option<AttachWriter>,
    /// The keys that end the session and leave the container running; empty where there are none.
    pub detach_keys: Vec<u8>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The container's streams ended.
    Finished,
    /// The caller typed the detach keys.
    Detached,
    /// The caller hung up.
    Gone,
}

/// Reads a container's output.
#[derive(Debug)]
pub struct AttachReader {}

/// Writes a container's input.
#[derive(Debug)]
pub struct AttachWriter {}

impl AsyncRead for AttachReader {
    fn poll_read(self: Pin<&mut Self>, _context: &mut Context<'_>, _buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        todo!()
    }
}

impl AsyncWrite for AttachWriter {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, _bytes: &[u8]) -> Poll<io::Result<usize>> {
        todo!()
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        todo!()
    }
}

impl AttachStream {
    /// Carries the session between the caller's ends and the container until either ends. Closes neither of the caller's
    /// ends. End of the caller's input closes the container's; output goes on. Detach keys are looked for in the input.
    pub async fn run(self, _input: impl AsyncRead + Unpin, _output: impl AsyncWrite + Unpin) -> Result<SessionEnd> {
        todo!()
    }
}
