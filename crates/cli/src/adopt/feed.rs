//! From a thread that writes to a request that is sent: a bounded queue of chunks. An end that nobody announced is an error,
//! so that half an archive is never taken for a whole one.

use crate::limits::{FEED_CHUNK_BYTES, FEED_CHUNKS};
use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};

/// The writing end; blocks while the queue is full.
pub struct Writer {
    sender: mpsc::Sender<Option<Vec<u8>>>,
    gathered: Vec<u8>,
}

/// The end that is sent.
pub struct Reader {
    receiver: mpsc::Receiver<Option<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

/// Both ends.
pub fn feed() -> (Writer, Reader) {
    let (sender, receiver) = mpsc::channel(FEED_CHUNKS);
    (Writer { sender, gathered: Vec::new() }, Reader { receiver, chunk: Vec::new(), at: 0, ended: false })
}

impl Writer {
    /// All has been written.
    pub fn end(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(None)
    }

    fn send(&self, chunk: Option<Vec<u8>>) -> io::Result<()> {
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(FEED_CHUNK_BYTES - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..taken]);
        if self.gathered.len() == FEED_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.gathered, Vec::with_capacity(FEED_CHUNK_BYTES));
        self.send(Some(full))
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.at == self.chunk.len() && !self.ended {
            match ready!(self.receiver.poll_recv(cx)) {
                Some(Some(chunk)) => (self.chunk, self.at) = (chunk, 0),
                Some(None) => self.ended = true,
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        let this = &mut *self;
        let rest = &this.chunk[this.at..];
        let taken = rest.len().min(into.remaining());
        into.put_slice(&rest[..taken]);
        this.at += taken;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn passed(work: impl FnOnce(Writer) + Send + 'static) -> io::Result<Vec<u8>> {
        let (writer, mut reader) = feed();
        let thread = std::thread::spawn(move || work(writer));
        let mut all = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(reader.read_to_end(&mut all));
        thread.join().unwrap();
        outcome.map(|_| all)
    }

    #[test]
    fn everything_passes_and_half_is_an_error() {
        let bytes: Vec<u8> = (0..3 * FEED_CHUNK_BYTES + 7).map(|n| n as u8).collect();
        let sent = bytes.clone();
        let all = passed(move |mut writer| {
            writer.write_all(&sent).unwrap();
            writer.end().unwrap();
        });
        assert!(all.unwrap() == bytes);
        let half = passed(|mut writer| {
            writer.write_all(b"half").unwrap();
            writer.flush().unwrap();
        });
        assert_eq!(half.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_writer() {
        let (mut writer, reader) = feed();
        drop(reader);
        assert!(writer.write_all(&[0; FEED_CHUNK_BYTES]).is_err());
    }
}
