//! Addresses of links.

use crate::{
    message::{Attributes, CREATE, Message, REPLACE, family_of, ip_bytes},
    socket::{Result, Socket},
};
use std::net::IpAddr;

const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
/// `IFA_F_NODAD`: usable at once, no probing for duplicates.
const NODAD: u8 = 0x02;
/// Bytes of `struct ifaddrmsg`.
const FIXED: usize = 8;

/// An address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// The address.
    pub ip: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
}

fn header(address: &Address) -> [u8; FIXED] {
    let mut bytes = [0; FIXED];
    bytes[0] = family_of(address.ip);
    bytes[1] = address.prefix;
    bytes[2] = if address.ip.is_ipv6() { NODAD } else { 0 };
    bytes[4..8].copy_from_slice(&address.link.to_ne_bytes());
    bytes
}

/// Adds an address; harmless where the link has it. IPv6 ones are usable at once.
pub fn add(address: &Address) -> Message {
    let bytes = ip_bytes(address.ip);
    let message =
        Message::new(NEWADDR, CREATE | REPLACE).fixed(&header(address)).attr(LOCAL, &bytes).attr(ADDRESS, &bytes);
    match address.ip {
        IpAddr::V4(ip) if address.prefix < 31 => {
            let broadcast = ip.to_bits() | (u32::MAX >> address.prefix);
            message.attr(BROADCAST, &broadcast.to_be_bytes())
        }
        _ => message,
    }
}

/// Takes an address away.
pub fn delete(address: &Address) -> Message {
    Message::new(DELADDR, 0).fixed(&header(address)).attr(LOCAL, &ip_bytes(address.ip))
}

/// All addresses of this namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Address>> {
    let mut addresses = Vec::new();
    socket.dump(&Message::new(GETADDR, 0).fixed(&[0; FIXED]), |payload| {
        let attributes = Attributes::after(payload, FIXED);
        let ip = attributes.ip(LOCAL).or_else(|| attributes.ip(ADDRESS));
        if let (Some(ip), Some(header)) = (ip, payload.first_chunk::<FIXED>()) {
            let link = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
            addresses.push(Address { link, ip, prefix: header[1] });
        }
    })?;
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_says_its_broadcast_and_an_ipv6_one_skips_probing() {
        let v4 = add(&Address { link: 2, ip: "10.1.2.3".parse().unwrap(), prefix: 16 }).finish(1);
        assert_eq!(v4[16], crate::message::AF_INET);
        assert!(v4.windows(4).any(|w| w == [10, 1, 255, 255]));
        let v6 = add(&Address { link: 2, ip: "fd00::1".parse().unwrap(), prefix: 64 }).finish(1);
        assert_eq!(v6[18], NODAD);
    }
}
