//! Descriptors that a service manager hands over (`sd_listen_fds(3)`).

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::{
    io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// The first descriptor handed over.
const FIRST: i32 = 3;
/// The most descriptors taken.
const MOST: u32 = 256;

/// Takes the `count` descriptors handed over, and keeps them from our children. Works once in a process.
pub fn sockets(count: u32) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if count > MOST || TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let numbers = FIRST..FIRST + count.cast_signed();
    for number in numbers.clone() {
        // SAFETY: the borrow ends with this call; a number that is not open fails with EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(|error: Errno| io::Error::from(error))?;
    }
    // SAFETY: each number is open, was handed over to this process, and is taken once: nothing else owns it.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}
