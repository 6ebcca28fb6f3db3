//! The control connection to a shim, asynchronous: one question at a time, with the events that come in between kept.

use crate::limits::SHIM_ANSWER;
use rorqual_error::{Context, Error, Result};
use rorqual_linux::fdpass;
use rorqual_runtime::protocol::{Connection, Event, Request, decode, encode};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};
use tokio::{io::Interest, net::UnixStream};

/// Bytes asked of the socket at once: events are small.
const READ: usize = 16 << 10;

/// One connection to a shim.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    /// The beginning of the next frame.
    buffer: Vec<u8>,
    /// Descriptors that came with it.
    fds: Vec<OwnedFd>,
    /// Events that came while an answer was awaited.
    early: VecDeque<Event>,
}

impl Control {
    /// Takes over a blocking connection.
    pub fn new(connection: Connection) -> Result<Self> {
        let (fd, buffer) = connection.into_stream();
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_nonblocking(true).context("make the shim's connection non-blocking")?;
        let stream = UnixStream::from_std(stream).context("watch the shim's connection")?;
        Ok(Self { stream, buffer, fds: Vec::new(), early: VecDeque::new() })
    }

    /// The next event; `None` when the shim is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.early.pop_front() {
            return Some(event);
        }
        match self.receive().await {
            Ok(Some((event, _))) => Some(event),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "the connection to a shim failed");
                None
            }
        }
    }

    /// The next message with its descriptors. Cancel safe: what was read of a frame is kept.
    pub async fn receive(&mut self) -> io::Result<Option<(Event, Vec<OwnedFd>)>> {
        loop {
            if let Some(event) = decode(&mut self.buffer).map_err(io::Error::other)? {
                return Ok(Some((event, std::mem::take(&mut self.fds))));
            }
            self.stream.readable().await?;
            let Self { stream, buffer, fds, .. } = self;
            let read = || fdpass::receive(stream.as_fd(), buffer, READ, fds);
            match stream.try_io(Interest::READABLE, read) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a request that has no answer, or whose answer is awaited later.
    pub fn tell(&self, request: &Request) -> Result<()> {
        fdpass::send_all(self.stream.as_fd(), &encode(request)?, &[]).context("send to the container's supervisor")
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Event> {
        self.tell(request)?;
        self.answer(SHIM_ANSWER).await
    }

    /// Waits for an answer; events of the container's life that come first are kept for [`Control::next`].
    pub async fn answer(&mut self, deadline: Duration) -> Result<Event> {
        let answer = async {
            loop {
                match self.receive().await.context("read the shim's answer")? {
                    Some((event @ (Event::Exited(_) | Event::ExecExited { .. }), _)) => self.early.push_back(event),
                    Some((event, _)) => return Ok(event),
                    None => return Err(Error::unavailable("the container's supervisor ended")),
                }
            }
        };
        match tokio::time::timeout(deadline, answer).await {
            Ok(result) => result,
            Err(_) => Err(Error::unavailable("the container's supervisor does not answer")),
        }
    }

    /// As [`Control::ask`], for requests that are done or fail.
    pub async fn order(&mut self, request: &Request) -> Result<()> {
        match self.ask(request).await? {
            Event::Ok => Ok(()),
            Event::Error(failure) => Err(failure.to_error()),
            other => Err(unexpected(&other)),
        }
    }

    /// The connection alone with what was read of it, for one that becomes a byte stream.
    pub fn into_stream(self) -> (UnixStream, Vec<u8>) {
        (self.stream, self.buffer)
    }
}

/// An answer that makes no sense.
pub fn unexpected(event: &Event) -> Error {
    Error::internal(format!("the container's supervisor answered out of turn: {event:?}"))
}
