//! One connection to the shim.

use crate::{
    limits::{ATTACH_BUFFER_MAX_BYTES, CLIENT_PATIENCE},
    protocol::{self, Event},
};
use rorqual_linux::fdpass;
use rustix::{io::Errno, net::SendFlags};
use std::os::fd::{AsFd, OwnedFd};

/// What a connection is.
#[derive(Debug)]
pub(super) enum Role {
    /// Sends requests, gets answers. The control connection gets events as well.
    Asking {
        /// Whether it steers the container.
        control: bool,
    },
    /// A byte stream of a process.
    Attached(Attached),
}

/// A byte stream.
#[derive(Debug)]
pub(super) struct Attached {
    /// The process: `None` is the first.
    pub exec: Option<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Bytes of an input chunk that are still to come.
    pub chunk_left: usize,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub id: u64,
    pub socket: OwnedFd,
    pub role: Role,
    /// Read and not yet understood.
    pub input: Vec<u8>,
    /// To be written.
    output: Vec<u8>,
    /// Ends once `output` is written.
    pub closing: bool,
    /// Everything is written and its end said; only the other side's end is waited for. Closed before, a socket with
    /// input nobody has read would give the other side an error instead of the end.
    pub lingering: bool,
    /// The other side sends no more.
    pub input_closed: bool,
    /// The connection is broken.
    pub dead: bool,
    /// What epoll was last told.
    pub interest: rustix::event::epoll::EventFlags,
}

impl Client {
    pub fn new(id: u64, socket: OwnedFd, control: bool) -> Self {
        let _ = rustix::io::ioctl_fionbio(&socket, true);
        Self {
            id,
            socket,
            role: Role::Asking { control },
            input: Vec::new(),
            output: Vec::new(),
            closing: false,
            lingering: false,
            input_closed: false,
            dead: false,
            interest: rustix::event::epoll::EventFlags::empty(),
        }
    }

    /// Queues a frame.
    pub fn tell(&mut self, event: &Event) {
        match protocol::encode(event) {
            Ok(frame) => self.queue(&[&frame]),
            Err(_) => self.dead = true,
        }
    }

    /// Queues pieces and writes what goes at once; in the usual case nothing is copied.
    pub fn queue(&mut self, pieces: &[&[u8]]) {
        let mut written = 0;
        if self.output.is_empty() && !self.dead {
            let slices: Vec<std::io::IoSlice<'_>> = pieces.iter().map(|piece| std::io::IoSlice::new(piece)).collect();
            let mut nothing = rustix::net::SendAncillaryBuffer::default();
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(&self.socket, &slices, &mut nothing, flags) {
                Ok(count) => written = count,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.dead = true,
            }
        }
        if self.dead {
            return;
        }
        for piece in pieces {
            let skipped = written.min(piece.len());
            written -= skipped;
            self.output.extend_from_slice(&piece[skipped..]);
        }
    }

    /// Writes what is queued.
    pub fn push(&mut self) {
        while !self.output.is_empty() && !self.dead {
            match rustix::net::send(&self.socket, &self.output, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.dead = true,
            }
        }
        // Large once does not mean large for ever.
        self.output = Vec::new();
    }

    /// Sends all that is queued before the shim ends. A client that takes nothing for [`CLIENT_PATIENCE`] loses the rest.
    pub fn finish(&mut self) {
        use rustix::event::{PollFd, PollFlags, poll};
        while self.has_output() && !self.dead {
            self.push();
            let mut polled = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::OUT)];
            match poll(&mut polled, Some(&CLIENT_PATIENCE)) {
                Ok(count) if count > 0 => {}
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => {
                    self.dead = true;
                    self.output = Vec::new();
                }
            }
        }
    }

    /// Says the end once everything is written.
    pub fn linger(&mut self) {
        if !self.lingering {
            self.lingering = true;
            self.dead |= rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).is_err();
        }
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self) -> bool {
        self.dead || self.lingering && self.input_closed
    }

    /// Reads once. `false` when nothing came.
    pub fn pull(&mut self, limit: usize) -> bool {
        let mut fds = Vec::new();
        match fdpass::receive(self.socket.as_fd(), &mut self.input, limit, &mut fds) {
            Ok(0) => self.input_closed = true,
            Ok(_) => return true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.dead = true,
        }
        false
    }

    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether so much is queued that the container's output must wait.
    pub fn is_full(&self) -> bool {
        !self.dead && self.output.len() >= ATTACH_BUFFER_MAX_BYTES
    }
}
