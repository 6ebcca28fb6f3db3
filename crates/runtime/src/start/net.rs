//! rtnetlink requests that the container's first process sends in its own network namespace.

use crate::{
    failure::{At, Outcome},
    protocol::Step,
};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink},
};

/// Bytes of an answer that are looked at: an acknowledgement repeats the request's header only.
const ANSWER_BYTES: usize = 8 << 10;
const NLMSG_ERROR: u16 = 2;
/// Bytes of a message's header; an error's number follows it.
const HEADER_BYTES: usize = 16;

/// Sends each request and waits until the kernel has acknowledged it.
pub fn configure(requests: &[Vec<u8>]) -> Outcome<()> {
    if requests.is_empty() {
        return Ok(());
    }
    let socket = open().at(Step::Network, "open a netlink socket")?;
    requests.iter().try_for_each(|request| request_one(&socket, request))
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    // Protocol 0 of the family is rtnetlink.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// A buffer may hold several messages; the last one's acknowledgement ends it, and any error does.
fn request_one(socket: &OwnedFd, request: &[u8]) -> Outcome<()> {
    let expected = acknowledgements(request);
    rustix::net::send(socket, request, SendFlags::empty()).at(Step::Network, "send to the kernel")?;
    let mut answer = vec![0; ANSWER_BYTES];
    let mut seen = 0;
    while seen < expected {
        let (len, _) = rustix::net::recv(socket, answer.as_mut_slice(), rustix::net::RecvFlags::empty())
            .at(Step::Network, "read the kernel's answer")?;
        for (kind, body) in messages(&answer[..len.min(ANSWER_BYTES)]) {
            if kind != NLMSG_ERROR {
                continue;
            }
            let code = body.first_chunk().map_or(-libc_eproto(), |bytes| i32::from_ne_bytes(*bytes));
            if code != 0 {
                let error = Errno::from_raw_os_error(-code);
                return Err(error).at(Step::Network, "configure the container's network");
            }
            seen += 1;
        }
    }
    Ok(())
}

fn libc_eproto() -> i32 {
    Errno::PROTO.raw_os_error()
}

/// Messages in a request that ask for an acknowledgement.
fn acknowledgements(request: &[u8]) -> usize {
    const NLM_F_ACK: u16 = 4;
    let mut count = 0;
    let mut rest = request;
    while let Some((len, flags)) = header(rest) {
        count += usize::from(flags & NLM_F_ACK != 0);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    count
}

fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let flags = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?);
    (len >= HEADER_BYTES && len <= bytes.len()).then_some((len, flags))
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (len, _) = header(bytes)?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = &bytes[HEADER_BYTES..len];
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Brings the loopback interface of a new network namespace up; what a container without any other network gets.
pub fn loopback_up() -> Vec<u8> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LOOPBACK_INDEX: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32u32.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    // struct ifinfomsg: family, padding, type, index, flags, change mask.
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_their_acknowledgements() {
        let one = loopback_up();
        assert_eq!(acknowledgements(&one), 1);
        assert_eq!(acknowledgements(&[one.clone(), one.clone()].concat()), 2);
        assert_eq!(acknowledgements(&one[..20]), 0);
        assert_eq!(messages(&one).count(), 1);
    }
}
