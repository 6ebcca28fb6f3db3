//! Terminals: a pair from a devpts of the container's own, never by a name the container could have changed (R4).

use crate::{
    failure::{At, Outcome},
    protocol::{Failure, Step},
};
use rustix::{
    fs::{Mode, OFlags},
    pty::OpenptFlags,
    termios::Winsize,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `f_type` of devpts.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Opens the `ptmx` of the devpts that `dir` is the root of, after proof that it is one.
pub fn open_ptmx(dir: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let ptmx = rustix::fs::openat(dir, "ptmx", flags, Mode::empty()).at(Step::Terminal, "open ptmx")?;
    verify(&ptmx)?;
    Ok(ptmx)
}

fn verify(ptmx: &OwnedFd) -> Outcome<()> {
    let magic = rustix::fs::fstatfs(ptmx).at(Step::Terminal, "look at ptmx")?.f_type as u64;
    let device = rustix::fs::fstat(ptmx).at(Step::Terminal, "look at ptmx")?.st_rdev;
    if magic != DEVPTS_MAGIC || device != rustix::fs::makedev(5, 2) {
        return Err(Failure::new(Step::Terminal, "/dev/pts/ptmx is not a terminal multiplexer"));
    }
    Ok(())
}

/// Master and slave from an open `ptmx`.
pub fn open(ptmx: OwnedFd, size: Option<(u16, u16)>) -> Outcome<(OwnedFd, OwnedFd)> {
    rustix::pty::unlockpt(&ptmx).at(Step::Terminal, "unlock the terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&ptmx, flags).at(Step::Terminal, "open the terminal's other end")?;
    if let Some((rows, cols)) = size {
        resize(ptmx.as_fd(), rows, cols)?;
    }
    Ok((ptmx, slave))
}

/// Sets a terminal's size.
pub fn resize(terminal: BorrowedFd<'_>, rows: u16, cols: u16) -> Outcome<()> {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).at(Step::Terminal, "resize the terminal")
}
