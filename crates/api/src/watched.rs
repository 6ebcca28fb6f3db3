//! A connection under watch: the head of a request must come within its deadline, and a connection without a request is
//! closed in the end.

use crate::limits::{HEAD_DEADLINE, IDLE_DEADLINE};
use futures_util::task::AtomicWaker;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Waiting for the first byte of a request.
const IDLE: u8 = 0;
/// Between the first byte of a head and its end.
const HEAD: u8 = 1;
/// A request is being served.
const BUSY: u8 = 2;

/// Where a connection stands; shared by its bytes and its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    /// Whoever reads the connection: the end of a request sets it a deadline.
    reader: AtomicWaker,
}

/// Held while a request is served.
#[derive(Debug)]
pub(crate) struct Busy(Phase);

impl Phase {
    /// A request's head is complete.
    pub(crate) fn begin(&self) -> Busy {
        self.0.phase.store(BUSY, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Busy {
    /// The connection has become a stream: it is no longer watched.
    pub(crate) fn for_ever(self) {
        std::mem::forget(self);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.phase.store(IDLE, Ordering::Relaxed);
        shared.reader.wake();
    }
}

/// A connection and its deadline.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    inner: S,
    phase: Phase,
    /// The phase the deadline was set for.
    timed: u8,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Watched<S> {
    /// Watches `inner`. A new connection has as long for its first request as any request's head.
    pub(crate) fn new(inner: S, phase: Phase) -> Self {
        phase.0.phase.store(HEAD, Ordering::Relaxed);
        Self { inner, phase, timed: HEAD, deadline: Box::pin(sleep_until(Instant::now() + HEAD_DEADLINE)) }
    }

    /// Sets the deadline of a phase that has just begun; whether it has passed.
    fn overdue(&mut self, context: &mut Context<'_>) -> bool {
        self.phase.0.reader.register(context.waker());
        let phase = self.phase.0.phase.load(Ordering::Relaxed);
        if phase != self.timed {
            self.timed = phase;
            let wait = if phase == HEAD { HEAD_DEADLINE } else { IDLE_DEADLINE };
            self.deadline.as_mut().reset(Instant::now() + wait);
        }
        phase != BUSY && self.deadline.as_mut().poll(context).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    let phase = &self.phase.0.phase;
                    let _ = phase.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed);
                }
                Poll::Ready(read)
            }
            Poll::Pending if self.overdue(context) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
