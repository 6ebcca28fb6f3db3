//! A netlink socket: requests with acknowledgement, dumps, and atomic nf_tables batches.

use crate::limits::{DUMP_ATTEMPTS, RECEIVE_BUFFER, SOCKET_BUFFER};
use crate::message::{ACK, DUMP, FLAG_DUMP_INTERRUPTED, Message, Received, TYPE_DONE, TYPE_ERROR, messages};
use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, netlink::SocketAddrNetlink, sockopt},
};
use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `NETLINK_ROUTE`.
    Route,
    /// `NETLINK_NETFILTER`.
    Netfilter,
}

/// A request the kernel refused, or could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub errno: Errno,
    /// Which message of a batch, counted from 0.
    pub index: usize,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from(self.errno))?;
        if self.index > 0 {
            write!(f, " (message {})", self.index)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, index: 0 }
    }
}

/// The result of a request.
pub type Result<T> = std::result::Result<T, Failure>;

/// A netlink socket of the network namespace its thread was in when it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Self> {
        Self::open_group(protocol, 0)
    }

    /// As [`Socket::open`], to receive what is sent to multicast groups, given as bits.
    pub fn open_group(protocol: Protocol, groups: u32) -> Result<Self> {
        let protocol = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        // Without CAP_NET_ADMIN in the first user namespace these are refused; the defaults do for small rule sets.
        let _ = sockopt::set_socket_send_buffer_size_force(&fd, SOCKET_BUFFER);
        let _ = sockopt::set_socket_recv_buffer_size_force(&fd, SOCKET_BUFFER);
        Ok(Self { fd, sequence: 1, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Sends one request and waits for its acknowledgement.
    pub fn request(&mut self, message: Message) -> Result<()> {
        self.all(vec![message])
    }

    /// Sends several requests in one datagram. The kernel carries them out one by one; the first refusal is returned,
    /// those after it are carried out all the same.
    pub fn all(&mut self, requests: Vec<Message>) -> Result<()> {
        let first = self.sequence;
        let mut datagram = Vec::new();
        for mut message in requests {
            message.add_flags(ACK);
            datagram.extend(message.finish(self.sequence));
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.send(&datagram)?;
        self.collect(first, |_| ())
    }

    /// Sends one request and hands everything the kernel echoes to `each`, with the fixed part still in front.
    pub fn ask(&mut self, mut message: Message, mut each: impl FnMut(&[u8])) -> Result<()> {
        message.add_flags(ACK);
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.send(&message.finish(first))?;
        self.collect(first, |received| each(received.payload))
    }

    /// Sends `requests` as one nf_tables transaction: all of them take effect, or none.
    pub fn transaction(&mut self, requests: Vec<Message>) -> Result<()> {
        let first = self.sequence;
        let mut datagram = crate::nft::batch_begin().finish(first);
        let last = requests.len();
        for (index, mut message) in requests.into_iter().enumerate() {
            // One acknowledgement is enough: a refusal is reported whether asked for or not.
            if index + 1 == last {
                message.add_flags(ACK);
            }
            self.sequence = self.sequence.wrapping_add(1);
            datagram.extend(message.finish(self.sequence));
        }
        self.sequence = self.sequence.wrapping_add(1);
        datagram.extend(crate::nft::batch_end().finish(self.sequence));
        self.sequence = self.sequence.wrapping_add(1);
        self.send(&datagram)?;
        // The batch's opening carries the first number, so its first message is number 0.
        self.collect(first.wrapping_add(1), |_| ())
    }

    /// Sends one finished request, which asks for an acknowledgement, and waits for that.
    pub fn raw(&mut self, request: &[u8]) -> Result<()> {
        self.send(request)?;
        self.collect(0, |_| ())
    }

    /// Takes what a group's members were sent; whether another process than this made a change of rule sets.
    pub fn changed_by_another(&mut self) -> Result<bool> {
        let own = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
        let mut changed = false;
        loop {
            let length = match self.receive(RecvFlags::DONTWAIT) {
                Ok(length) => length,
                Err(Failure { errno: Errno::AGAIN, .. }) => return Ok(changed),
                // So much happened that something was lost.
                Err(Failure { errno: Errno::NOBUFS | Errno::MSGSIZE, .. }) => {
                    changed = true;
                    continue;
                }
                Err(other) => return Err(other),
            };
            changed |=
                messages(&self.buffer[..length]).any(|r| crate::nft::changed_by(&r).is_some_and(|pid| pid != own));
        }
    }

    /// Lists objects: `each` sees every one, with the fixed part still in front.
    pub fn dump(&mut self, request: &Message, mut each: impl FnMut(&[u8])) -> Result<()> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            if self.dump_once(request.clone(), &mut found)? {
                found.iter().for_each(|payload| each(payload));
                return Ok(());
            }
        }
        Err(Errno::INTR.into())
    }

    /// One dump; false where the kernel says that it changed meanwhile.
    fn dump_once(&mut self, mut request: Message, found: &mut Vec<Vec<u8>>) -> Result<bool> {
        request.add_flags(DUMP);
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.send(&request.finish(sequence))?;
        let mut consistent = true;
        loop {
            let length = self.receive(RecvFlags::empty())?;
            for received in messages(&self.buffer[..length]).filter(|r| r.sequence == sequence) {
                consistent &= received.flags & FLAG_DUMP_INTERRUPTED == 0;
                match received.kind {
                    TYPE_DONE | TYPE_ERROR => return error_of(&received).map_or(Ok(consistent), |e| Err(e.into())),
                    _ => found.push(received.payload.to_vec()),
                }
            }
        }
    }

    fn send(&self, datagram: &[u8]) -> Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::io::retry_on_intr(|| rustix::net::sendto(&self.fd, datagram, SendFlags::empty(), &kernel))?;
        Ok(())
    }

    /// The kernel has answered before `send` returned: takes all there is.
    fn collect(&mut self, first: u32, mut each: impl FnMut(&Received<'_>)) -> Result<()> {
        let mut failure = None;
        loop {
            let length = match self.receive(RecvFlags::DONTWAIT) {
                Ok(length) => length,
                Err(Failure { errno: Errno::AGAIN, .. }) => break,
                Err(other) => return Err(other),
            };
            for received in messages(&self.buffer[..length]) {
                match received.kind {
                    TYPE_ERROR => {
                        let index = received.sequence.wrapping_sub(first) as usize;
                        // A refused batch reports its opening too in some kernels: its number is one below the first.
                        let index = if index > usize::from(u16::MAX) * 16 { 0 } else { index };
                        failure = failure.or(error_of(&received).map(|errno| Failure { errno, index }));
                    }
                    TYPE_DONE => {}
                    _ => each(&received),
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn receive(&mut self, flags: RecvFlags) -> Result<usize> {
        let (length, real) = loop {
            match rustix::net::recv(&self.fd, self.buffer.as_mut_slice(), flags | RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        if real > length { Err(Errno::MSGSIZE.into()) } else { Ok(length) }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What an acknowledgement says.
fn error_of(received: &Received<'_>) -> Option<Errno> {
    let code = received.payload.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    (code != 0).then(|| Errno::from_raw_os_error(code.wrapping_neg()))
}
