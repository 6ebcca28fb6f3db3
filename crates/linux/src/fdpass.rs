//! Unix stream sockets that carry descriptors.

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, sockopt,
    },
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

/// Descriptors one message may carry; the kernel's own limit is 253.
pub const FDS_MAX: usize = 250;

/// Two connected stream sockets, close-on-exec.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Lets `bytes` be sent at once without the other side reading, as far as the system's limit goes.
pub fn make_room(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    // The kernel doubles the figure for its own overhead; 4 times holds for any split into segments.
    let wanted = bytes.saturating_mul(4);
    if sockopt::socket_send_buffer_size(socket)? < wanted {
        sockopt::set_socket_send_buffer_size(socket, wanted)?;
    }
    Ok(())
}

/// Sends all of `bytes`, with `fds` beside the first of them. A peer that has gone is `BrokenPipe`, never a signal.
pub fn send_all(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut sent = 0;
    while sent < bytes.len() {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if sent == 0 && !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        match rustix::net::sendmsg(socket, &[IoSlice::new(&bytes[sent..])], &mut control, SendFlags::NOSIGNAL) {
            Ok(count) => sent += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if sent > 0 => wait_writable(socket)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait_writable(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(socket, rustix::event::PollFlags::OUT)];
    match rustix::event::poll(&mut polled, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads at most `limit` bytes onto the end of `buffer` and puts descriptors that came with them into `fds`,
/// close-on-exec. 0 is the end of the connection.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    limit: usize,
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let start = buffer.len();
    buffer.resize(start + limit, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let result = loop {
        let into = &mut [IoSliceMut::new(&mut buffer[start..])];
        match rustix::net::recvmsg(socket, into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            result => break result,
        }
    };
    let count = result.as_ref().map_or(0, |message| message.bytes);
    buffer.truncate(start + count);
    result?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_come_beside_the_bytes() {
        let (left, right) = stream_pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send_all(left.as_fd(), b"here", &[writer.as_fd()]).unwrap();
        drop(writer);
        let (mut bytes, mut fds) = (Vec::new(), Vec::new());
        assert_eq!(receive(right.as_fd(), &mut bytes, 100, &mut fds).unwrap(), 4);
        assert_eq!((bytes.as_slice(), fds.len()), (&b"here"[..], 1));
        rustix::io::write(&fds[0], b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0u8; 8]).unwrap(), 1);
        drop(left);
        assert_eq!(receive(right.as_fd(), &mut bytes, 100, &mut fds).unwrap(), 0);
    }
}
