//! What a daemon and a shim say to each other.
//!
//! A connection is a unix stream socket. Both sides send frames: a `u32` length, little-endian, then that many bytes of
//! postcard. Variants and fields are only ever added at the end; the daemon names its version in [`Request::Control`] and
//! the shim answers with its own, so that a newer daemon knows what an older shim cannot do.
//!
//! The first request decides what a connection is: [`Request::Control`] (one at a time; a new one takes over),
//! [`Request::Attach`] or [`Request::Exec`] (a byte stream after the answer), any other request (answered, then closed by
//! the client).
//!
//! A byte stream carries, from the shim, docker's stdcopy frames (8-byte header) or, with a terminal, raw bytes, and ends
//! with the streams; to the shim, chunks of input: `u32` length, little-endian, then the bytes; length 0 is the end of
//! input. A hang-up is not: the daemon may have died.

use crate::{limits::FRAME_MAX_BYTES, plan::ProcessPlan};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_linux::fdpass;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Version of the protocol and of [`crate::plan::Plan`].
pub const VERSION: u32 = 1;

/// Daemon to shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// This connection steers the container. Answered by [`Event::State`]; from then on the shim's events come here.
    Control {
        /// [`VERSION`] of the daemon.
        version: u32,
    },
    /// The network is connected: start the program. Answered by [`Event::Started`] or [`Event::Failed`].
    Go {
        /// rtnetlink requests that the container's first process sends in its network namespace, in this order, each
        /// acknowledged by the kernel before the program starts.
        network: Vec<Vec<u8>>,
    },
    /// Signals the first process, or with `all` every process of its cgroup. Answered by [`Event::Ok`] or [`Event::Error`].
    Signal {
        /// Number.
        signal: i32,
        /// Every process.
        all: bool,
    },
    /// Gives a terminal its size.
    Resize {
        /// An exec's terminal, or the container's.
        exec: Option<String>,
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Ends the input.
    CloseStdin {
        /// An exec's, or the container's.
        exec: Option<String>,
    },
    /// Signals an exec's process.
    SignalExec {
        /// The exec.
        id: String,
        /// Number.
        signal: i32,
    },
    /// Asks for the processes of the container's cgroup. Answered by [`Event::Pids`].
    Pids,
    /// The daemon has recorded the exit: the shim removes what is its own in the directory and ends.
    Forget,
    /// Becomes a byte stream of a process. One sent (on a connection of its own) before [`Request::Go`] misses nothing of the
    /// output, and is answered after the start. Answered by [`Event::Ok`] or [`Event::Error`].
    Attach {
        /// An exec, or the container's first process.
        exec: Option<String>,
        /// Takes input.
        stdin: bool,
        /// Gives output.
        stdout: bool,
        /// Gives errors (without a terminal).
        stderr: bool,
    },
    /// Runs a process in the container. Answered by [`Event::ExecStarted`] or [`Event::Error`], then a byte stream unless
    /// `detach`. The end is [`Event::ExecExited`] on the control connection.
    Exec {
        /// The exec's id.
        id: String,
        /// What runs.
        process: Box<ProcessPlan>,
        /// Takes input from this connection.
        stdin: bool,
        /// Gives output to it.
        stdout: bool,
        /// Gives errors to it.
        stderr: bool,
        /// One terminal instead of three pipes.
        tty: bool,
        /// First size of the terminal: rows, columns.
        console_size: Option<(u16, u16)>,
        /// The connection ends after the answer.
        detach: bool,
    },
    /// Asks for the state. Answered by [`Event::State`].
    State,
}

/// Shim to daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// How things are.
    State(State),
    /// The namespaces exist. The network namespace comes beside the frame as a descriptor when the container has one of its
    /// own. The shim goes on with mounts meanwhile.
    Created {
        /// The first process.
        pid: i32,
    },
    /// The program runs.
    Started,
    /// It never ran; the shim ends by itself, nothing is left.
    Failed(Failure),
    /// The program has ended. `exit` in the directory says the same.
    Exited(ExitStatus),
    /// An exec's process runs.
    ExecStarted {
        /// Its process id.
        pid: i32,
    },
    /// An exec's process has ended.
    ExecExited {
        /// The exec.
        id: String,
        /// 0 to 255; 128 + N for signal N.
        code: i32,
    },
    /// Process ids, in the host's namespace.
    Pids(Vec<i32>),
    /// Done.
    Ok,
    /// Not done.
    Error(Failure),
}

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`] of the shim.
    pub version: u32,
    /// The container.
    pub id: String,
    /// Process id of the first process; 0 before it exists. It stays after the exit.
    pub pid: i32,
    /// Where it is in its life.
    pub phase: Phase,
    /// Execs that run, and those that ended since a daemon was last told.
    pub execs: Vec<ExecState>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Namespaces are being made.
    Creating,
    /// Waits for [`Request::Go`].
    Created,
    /// The program runs.
    Running {
        /// Since, unix ns.
        started_ns: i64,
    },
    /// The program has ended.
    Exited {
        /// Since, unix ns.
        started_ns: i64,
        /// How.
        status: ExitStatus,
    },
}

/// How an exec is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// The exec.
    pub id: String,
    /// Its process id.
    pub pid: i32,
    /// Its code, once it has ended.
    pub code: Option<i32>,
}

/// How a program ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// 0 to 255; 128 + N for signal N.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When, unix ns.
    pub at_ns: i64,
    /// Whether the kernel killed for lack of memory in its cgroup.
    pub oom_killed: bool,
    /// What went wrong on our side, if anything.
    pub error: Option<String>,
}

/// Why a program never ran, or a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where in the start path.
    pub step: Step,
    /// The kernel's error, or 0.
    pub errno: i32,
    /// The code docker gives: 127 not found, 126 not executable, 125 (containers) or 126 (execs) otherwise.
    pub code: i32,
    /// For the user, in dockerd's words where it has some.
    pub message: String,
}

impl Failure {
    /// As an error of this workspace: a wrong program, user or directory is the caller's mistake.
    pub fn to_error(&self) -> Error {
        let kind = match self.step {
            Step::Exec | Step::User | Step::Cwd | Step::Mount | Step::Hostname => Kind::InvalidArgument,
            Step::Unknown => Kind::NotFound,
            Step::State => Kind::Conflict,
            _ => Kind::Internal,
        };
        Error::new(kind, self.message.clone())
    }
}

/// The steps of the start path that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The shim's own preparation.
    Setup,
    /// Namespaces and the first process.
    Clone,
    /// Maps of the user namespace.
    IdMap,
    /// Attaching to the cgroup.
    Cgroup,
    /// The root file system.
    Rootfs,
    /// A mount.
    Mount,
    /// `/dev`.
    Device,
    /// The terminal.
    Terminal,
    /// Kernel parameters.
    Sysctl,
    /// Host name.
    Hostname,
    /// Interfaces, addresses, routes.
    Network,
    /// User and groups.
    User,
    /// Working directory.
    Cwd,
    /// Resource limits.
    Rlimit,
    /// Capabilities.
    Capabilities,
    /// System call filter.
    Seccomp,
    /// Security label.
    Label,
    /// A hook.
    Hook,
    /// The program itself.
    Exec,
    /// The external runtime.
    Runtime,
    /// The named exec does not exist.
    Unknown,
    /// The container's state forbids the request.
    State,
}

/// The bytes of one frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    let frame = postcard::to_extend(message, vec![0; 4]).context("encode a frame")?;
    let len = frame.len() - 4;
    if len > FRAME_MAX_BYTES {
        return Err(Error::invalid(format!("a message to the shim of {len} bytes is longer than {FRAME_MAX_BYTES}")));
    }
    let mut frame = frame;
    frame[..4].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(frame)
}

/// Takes one complete frame off the front of `buffer`; `None` when more bytes are needed.
pub fn decode<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> Result<Option<T>> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*head) as usize;
    if len > FRAME_MAX_BYTES {
        return Err(Error::invalid(format!("a frame of {len} bytes is longer than {FRAME_MAX_BYTES}")));
    }
    let Some(body) = buffer.get(4..4 + len) else { return Ok(None) };
    let message = postcard::from_bytes(body).context("decode a frame")?;
    buffer.drain(..4 + len);
    Ok(Some(message))
}

/// One end of a connection, with what has been read of the next frame.
///
/// It blocks as its socket does: on a non-blocking one, [`Connection::receive`] gives `WouldBlock` and loses nothing.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
    buffer: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Connection {
    /// Wraps a connected socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, buffer: Vec::new(), fds: Vec::new() }
    }

    /// Switches the socket between blocking and not.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, nonblocking)?)
    }

    /// Sends one message and the descriptors beside it. A short write is completed, so a non-blocking socket whose buffer
    /// is full gives `WouldBlock` only before the first byte.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let frame = encode(message)?;
        fdpass::send_all(self.fd.as_fd(), &frame, fds).context("send to the shim's socket")
    }

    /// The next message and the descriptors that came beside it; `None` at the end of the connection.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        loop {
            if let Some(message) = decode(&mut self.buffer).map_err(io::Error::other)? {
                return Ok(Some((message, std::mem::take(&mut self.fds))));
            }
            if fdpass::receive(self.fd.as_fd(), &mut self.buffer, 64 << 10, &mut self.fds)? == 0 {
                return Ok(None);
            }
        }
    }

    /// The socket, for a connection that becomes a byte stream, and the bytes of it already read.
    pub fn into_stream(mut self) -> (OwnedFd, Vec<u8>) {
        self.buffer.shrink_to_fit();
        (self.fd, self.buffer)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl std::os::fd::AsRawFd for Connection {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let one = encode(&Request::Signal { signal: 9, all: false }).unwrap();
        let two = encode(&Request::Pids).unwrap();
        let all: Vec<u8> = [one, two].concat();
        for cut in 0..all.len() {
            let mut buffer = all[..cut].to_vec();
            let mut seen = Vec::new();
            while let Some(request) = decode::<Request>(&mut buffer).unwrap() {
                seen.push(request);
            }
            buffer.extend_from_slice(&all[cut..]);
            while let Some(request) = decode::<Request>(&mut buffer).unwrap() {
                seen.push(request);
            }
            assert_eq!(seen, [Request::Signal { signal: 9, all: false }, Request::Pids]);
        }
    }

    #[test]
    fn an_absurd_length_is_refused() {
        let mut buffer = u32::MAX.to_le_bytes().to_vec();
        assert!(decode::<Request>(&mut buffer).is_err());
        let mut buffer = [&3u32.to_le_bytes()[..], &[0xff, 0xff, 0xff]].concat();
        assert!(decode::<Request>(&mut buffer).is_err());
    }
}
