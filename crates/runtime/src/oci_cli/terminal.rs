//! The caller's streams, terminals handed to somebody else, and waiting for a program in the foreground.

use rorqual_error::{Context, Error, Result};
use rorqual_linux::{fdpass, process};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::DumpableBehavior,
    stdio,
    termios::{self, OptionalActions, Termios},
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// How often an end without any output is looked for, ns.
const POLL_NS: i64 = 50_000_000;

/// As the shim does before it clones: nobody may look inside, and no signal ends it half way.
pub(super) fn prepare_self() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("become undumpable")?;
    process::block_signals().context("block signals")
}

/// Copies of the caller's three streams.
pub(super) fn own_streams() -> Result<[OwnedFd; 3]> {
    let copy = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3).context("copy a stream");
    Ok([copy(stdio::stdin())?, copy(stdio::stdout())?, copy(stdio::stderr())?])
}

/// The size of the caller's terminal.
pub(super) fn own_size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(stdio::stdin()).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// Sends a terminal's master end to the socket, as runc does.
pub(super) fn hand_over(socket: &Path, master: BorrowedFd<'_>) -> Result<()> {
    let what = || format!("send the terminal to {}", socket.display());
    let address = SocketAddrUnix::new(socket).with_context(what)?;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .with_context(what)?;
    rustix::net::connect(&fd, &address).with_context(what)?;
    fdpass::send_all(fd.as_fd(), b"/dev/ptmx", &[master]).with_context(what)
}

/// Waits for a child to end, moving a terminal's bytes meanwhile; its exit code.
pub(super) fn wait(pid: i32, master: Option<OwnedFd>) -> Result<i32> {
    let own = rustix::process::Pid::from_raw(pid).ok_or_else(|| Error::internal("no process to wait for"))?;
    match master {
        Some(master) => {
            let raw = Raw::enter();
            let code = relay(own, &master);
            drop(raw);
            code
        }
        None => loop {
            match process::wait_signal() {
                17 => {
                    if let Some(ended) = process::reap(Some(own), false).context("wait")? {
                        return Ok(ended.code);
                    }
                }
                signal => drop(process::kill(pid, signal)),
            }
        },
    }
}

fn relay(pid: rustix::process::Pid, master: &OwnedFd) -> Result<i32> {
    let mut buffer = vec![0; 16 << 10];
    let mut input_open = true;
    let mut ended = None;
    loop {
        let mut polled = vec![PollFd::new(master, PollFlags::IN)];
        let stdin = stdio::stdin();
        if input_open {
            polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: POLL_NS };
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for the terminal"),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            match rustix::io::read(master, buffer.as_mut_slice()) {
                Ok(count) if count > 0 => write_all(stdio::stdout(), &buffer[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                _ if ended.is_some() => return Ok(ended.unwrap_or_default()),
                _ => {}
            }
        } else if let Some(code) = ended {
            return Ok(code);
        }
        if ready.get(1) == Some(&true) {
            match rustix::io::read(stdin, buffer.as_mut_slice()) {
                Ok(count) if count > 0 => write_all(master.as_fd(), &buffer[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                _ => input_open = false,
            }
        }
        if ended.is_none() {
            ended = process::reap(Some(pid), false).context("wait")?.map(|ended| ended.code);
        }
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// The caller's terminal in raw mode, until dropped.
struct Raw {
    before: Option<Termios>,
}

impl Raw {
    fn enter() -> Self {
        let before = termios::tcgetattr(stdio::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = termios::tcsetattr(stdio::stdin(), OptionalActions::Now, &raw);
        }
        Self { before }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
