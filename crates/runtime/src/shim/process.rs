//! A process the shim holds the streams of: the container's first one, or an exec's.

use crate::limits::STDIN_BUFFER_MAX_BYTES;
use rorqual_linux::process::Ended;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Our ends of a process's streams.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Written to by us.
    pub stdin: Option<OwnedFd>,
    /// Read by us.
    pub stdout: Option<OwnedFd>,
    /// Read by us.
    pub stderr: Option<OwnedFd>,
    /// All three at once.
    pub terminal: Option<OwnedFd>,
}

/// One of a process's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Input: pipe only.
    Stdin,
    /// Output, or everything of a terminal.
    Stdout,
    /// Errors: pipe only.
    Stderr,
}

/// A process and its streams.
#[derive(Debug)]
pub(super) struct Process {
    /// `None` is the container's first process.
    pub exec: Option<String>,
    pub pid: i32,
    pub tty: bool,
    pub started_ns: i64,
    /// How it ended.
    pub ended: Option<Ended>,
    /// Whether a daemon has been told the end.
    pub told: bool,
    stdin: Option<OwnedFd>,
    /// The terminal's master, or the pipe.
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// Input the program has not taken.
    pending: Vec<u8>,
    /// No more input will come.
    input_ended: bool,
}

impl Process {
    pub fn new(exec: Option<String>, pid: i32, tty: bool, ends: Ends, started_ns: i64) -> Self {
        let stdout = ends.terminal.or(ends.stdout);
        for fd in [&ends.stdin, &stdout, &ends.stderr].into_iter().flatten() {
            let _ = rustix::io::ioctl_fionbio(fd, true);
        }
        Self {
            exec,
            pid,
            tty,
            started_ns,
            ended: None,
            told: false,
            stdin: ends.stdin,
            stdout,
            stderr: ends.stderr,
            pending: Vec::new(),
            input_ended: false,
        }
    }

    pub fn fd(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match stream {
            Stream::Stdin => self.stdin.as_ref(),
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
        .map(AsFd::as_fd)
    }

    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.stdout.as_ref().filter(|_| self.tty).map(AsFd::as_fd)
    }

    pub fn close(&mut self, stream: Stream) {
        match stream {
            Stream::Stdin => {
                self.stdin = None;
                self.pending = Vec::new();
            }
            Stream::Stdout => {
                self.stdout = None;
                if self.tty {
                    self.pending = Vec::new();
                }
            }
            Stream::Stderr => self.stderr = None,
        }
    }

    /// Whether more output can come.
    pub fn has_output(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// The stream that takes input.
    pub fn input(&self) -> Stream {
        if self.tty { Stream::Stdout } else { Stream::Stdin }
    }

    /// Whether a client may be read for more input.
    pub fn takes_input(&self) -> bool {
        self.pending.len() < STDIN_BUFFER_MAX_BYTES
    }

    /// Whether input waits for the program.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Queues input and writes what the program takes now. Without an input it is thrown away, as a terminal's after its
    /// end is.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.fd(self.input()).is_none() || self.input_ended {
            return;
        }
        self.pending.extend_from_slice(bytes);
        self.push();
    }

    /// Ends the input once everything queued is written. A terminal has no such end.
    pub fn end_input(&mut self) {
        if !self.tty {
            self.input_ended = true;
            self.push();
        }
    }

    /// Writes queued input.
    pub fn push(&mut self) {
        let input = self.input();
        while let (Some(fd), false) = (self.fd(input), self.pending.is_empty()) {
            match rustix::io::write(fd, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody reads any more.
                Err(_) if !self.tty => return self.close(Stream::Stdin),
                Err(_) => self.pending = Vec::new(),
            }
        }
        if self.pending.is_empty() {
            self.pending = Vec::new();
            if self.input_ended {
                self.close(Stream::Stdin);
            }
        }
    }
}
