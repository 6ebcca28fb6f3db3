//! Byte streams between a caller and a container: attach and exec sessions, and output that a blocking reader makes.

use crate::{
    containers::Exec,
    detach::DetachScanner,
    events::{Events, Scope},
    framing::Framing,
    limits::{COPY_BUFFER, EXIT_CODE_WAIT},
};
use bytes::Bytes;
use rorqual_error::Result;
use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
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
    /// What becomes of the output where the caller expects the other of the two.
    pub(crate) framing: Framing,
    /// What the log held, to be sent first; of an attach that asked for it.
    pub history: Option<ByteStream>,
    /// The container's output; its end is the end of the session.
    pub reader: AttachReader,
    /// The container's input; shutting it down is end of input. `None` where input was not asked for.
    pub writer: Option<AttachWriter>,
    /// The keys that end the session and leave the container running; empty where there are none.
    pub detach_keys: Vec<u8>,
    /// Whether the end of the caller's input is the end of the container's; otherwise it ends the session.
    pub close_stdin: bool,
    /// What is published when the session is detached.
    pub(crate) on_detach: Option<DetachEvent>,
    /// The exec whose streams these are: a caller asks for its exit code as soon as the session ends.
    pub(crate) exec: Option<Arc<Exec>>,
}

/// The event of a detached session.
#[derive(Debug)]
pub(crate) struct DetachEvent {
    pub events: Events,
    pub action: &'static str,
    pub id: String,
    pub attributes: BTreeMap<String, String>,
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

/// One half of a connection to the shim, or the promise of one: a session with a container that has not started yet.
#[derive(Debug)]
enum Half<T> {
    Promised(oneshot::Receiver<T>),
    Open(T),
    /// The start failed, or the container is gone.
    Never,
}

impl<T: Unpin> Half<T> {
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Option<&mut T>> {
        if let Self::Promised(promise) = self {
            match Pin::new(promise).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(half)) => *self = Self::Open(half),
                Poll::Ready(Err(_)) => *self = Self::Never,
            }
        }
        match self {
            Self::Open(half) => Poll::Ready(Some(half)),
            Self::Promised(_) | Self::Never => Poll::Ready(None),
        }
    }
}

/// Reads a container's output.
#[derive(Debug)]
pub struct AttachReader {
    half: Half<(OwnedReadHalf, Vec<u8>)>,
}

/// Writes a container's input.
#[derive(Debug)]
pub struct AttachWriter {
    half: Half<OwnedWriteHalf>,
    /// A chunk with its head on its way to the shim.
    pending: Vec<u8>,
    sent: usize,
    ended: bool,
}

/// The promises that a start keeps: the two halves of one connection.
#[derive(Debug)]
pub(crate) struct Promise {
    reader: oneshot::Sender<(OwnedReadHalf, Vec<u8>)>,
    writer: Option<oneshot::Sender<OwnedWriteHalf>>,
}

impl Promise {
    /// A reader, a writer where `stdin`, and the promise of both.
    pub fn new(stdin: bool) -> (AttachReader, Option<AttachWriter>, Self) {
        let (reader, read_half) = oneshot::channel();
        let (writer, write_half) = oneshot::channel();
        let attach_writer = stdin.then(|| AttachWriter {
            half: Half::Promised(write_half),
            pending: Vec::new(),
            sent: 0,
            ended: false,
        });
        let promise = Self { reader, writer: stdin.then_some(writer) };
        (AttachReader { half: Half::Promised(read_half) }, attach_writer, promise)
    }

    /// Whether nobody waits for it any more.
    pub fn is_stale(&self) -> bool {
        self.reader.is_closed()
    }

    /// Keeps the promise with a connection that has become a byte stream.
    pub fn keep(self, (stream, early): (UnixStream, Vec<u8>)) {
        let (read, write) = stream.into_split();
        let _ = self.reader.send((read, early));
        match self.writer {
            Some(writer) => {
                let _ = writer.send(write);
            }
            // A hang-up of this half is not end of input; the shim hears nothing of it.
            None => write.forget(),
        }
    }
}

impl AsyncRead for AttachReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some((half, early)) = ready!(self.half.poll_open(context)) else { return Poll::Ready(Ok(())) };
        if early.is_empty() {
            return Pin::new(half).poll_read(context, buffer);
        }
        let count = early.len().min(buffer.remaining());
        buffer.put_slice(&early[..count]);
        early.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AttachWriter {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            let Some(half) = ready!(self.half.poll_open(context)) else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            let count = ready!(Pin::new(half).poll_write(context, &self.pending[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.pending.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, chunk: &[u8]) {
        self.pending.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
        self.pending.extend_from_slice(chunk);
    }
}

impl AsyncWrite for AttachWriter {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // What was taken before must have gone; what is taken now may still be on its way when this returns.
        ready!(self.poll_drain(context))?;
        let chunk = &bytes[..bytes.len().min(COPY_BUFFER)];
        if chunk.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.put(chunk);
        match self.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(chunk.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        if !self.ended {
            self.ended = true;
            self.put(&[]);
        }
        self.poll_drain(context)
    }
}

impl Drop for AttachWriter {
    fn drop(&mut self) {
        // Dropping the half would shut the socket's direction down, which is nothing to the container: only a chunk of
        // length 0 is end of input. It still must not look like a hang-up of the whole session.
        if let Half::Open(half) = std::mem::replace(&mut self.half, Half::Never) {
            half.forget();
        }
    }
}

impl AttachStream {
    /// Carries the session between the caller's ends and the container until either ends. Closes neither of the caller's
    /// ends. Detach keys are looked for in the input.
    pub async fn run(
        mut self,
        mut input: impl AsyncRead + Unpin,
        mut output: impl AsyncWrite + Unpin,
    ) -> Result<SessionEnd> {
        if let Some(mut history) = self.history.take() {
            while let Some(chunk) = history.next().await {
                if output.write_all(&chunk?).await.is_err() {
                    return Ok(SessionEnd::Gone);
                }
            }
        }
        let end = {
            let exec = self.exec.take();
            let to_caller = async {
                let end = copy_out(&mut self.reader, &mut output, &mut self.framing).await;
                if let (SessionEnd::Finished, Some(exec)) = (end, &exec) {
                    // A program that closed its streams and runs on is not waited for.
                    let _ = tokio::time::timeout(EXIT_CODE_WAIT, exec.ended()).await;
                }
                end
            };
            let keys = DetachScanner::new(if self.tty { std::mem::take(&mut self.detach_keys) } else { Vec::new() });
            let to_container = copy_in(&mut input, &mut self.writer, keys, self.close_stdin && !self.tty);
            tokio::select! {
                biased;
                end = to_caller => end,
                end = to_container => end,
            }
        };
        if end == SessionEnd::Detached
            && let Some(event) = self.on_detach.take()
        {
            event.events.publish(Scope::Container, event.action, event.id, event.attributes);
        }
        Ok(end)
    }
}

async fn copy_out(
    reader: &mut AttachReader,
    output: &mut (impl AsyncWrite + Unpin),
    framing: &mut Framing,
) -> SessionEnd {
    let (mut buffer, mut space) = (vec![0; COPY_BUFFER], Vec::new());
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return SessionEnd::Finished,
            Ok(count) => {
                let chunk = framing.pass(&buffer[..count], &mut space);
                if output.write_all(chunk).await.is_err() || output.flush().await.is_err() {
                    return SessionEnd::Gone;
                }
            }
        }
    }
}

/// Ends only when the session does: when the caller's input ends and that is not end of the container's, at the detach
/// keys, or when the caller is gone.
async fn copy_in(
    input: &mut (impl AsyncRead + Unpin),
    writer: &mut Option<AttachWriter>,
    mut keys: DetachScanner,
    close_stdin: bool,
) -> SessionEnd {
    let mut buffer = vec![0; COPY_BUFFER];
    let mut pass = Vec::new();
    loop {
        let count = match input.read(&mut buffer).await {
            Ok(count) => count,
            Err(_) => return SessionEnd::Gone,
        };
        let Some(open) = writer else {
            // Nothing is passed on. A caller may well close its half at once and go on reading.
            if count == 0 {
                return std::future::pending().await;
            }
            continue;
        };
        if count == 0 {
            if !close_stdin {
                return SessionEnd::Gone;
            }
            // The program may have ended its input itself; its output decides when the session ends.
            let _ = open.shutdown().await;
            return std::future::pending().await;
        }
        pass.clear();
        let detached = keys.scan(&buffer[..count], &mut pass);
        if open.write_all(&pass).await.is_err() || open.flush().await.is_err() {
            *writer = None;
        }
        if detached {
            return SessionEnd::Detached;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(tty: bool, close_stdin: bool) -> (AttachStream, Promise) {
        let (reader, writer, promise) = Promise::new(true);
        let detach_keys = crate::DEFAULT_DETACH_KEYS.to_vec();
        let (history, on_detach, exec) = (None, None, None);
        let framing = Framing::Kept;
        let stream = AttachStream { tty, framing, history, reader, writer, detach_keys, close_stdin, on_detach, exec };
        (stream, promise)
    }

    #[tokio::test]
    async fn input_is_framed_and_its_end_is_said() {
        let (stream, promise) = session(false, true);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let run = tokio::spawn(stream.run(&b"hello"[..], tokio::io::sink()));
        promise.keep((ours, Vec::new()));
        let mut bytes = [0; 13];
        theirs.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"\x05\0\0\0hello\0\0\0\0");
        drop(theirs);
        assert_eq!(run.await.unwrap().unwrap(), SessionEnd::Finished);
    }

    #[tokio::test]
    async fn detach_keys_end_a_terminals_session() {
        let (stream, promise) = session(true, false);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        promise.keep((ours, Vec::new()));
        let end = stream.run(&b"ls\x10\x11"[..], tokio::io::sink()).await.unwrap();
        assert_eq!(end, SessionEnd::Detached);
    }

    #[tokio::test]
    async fn a_session_of_a_container_that_never_starts_ends() {
        let (stream, promise) = session(false, true);
        drop(promise);
        assert_eq!(stream.run(tokio::io::empty(), tokio::io::sink()).await.unwrap(), SessionEnd::Finished);
    }
}
