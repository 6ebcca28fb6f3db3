//! Routes.

use crate::{
    message::{AF_INET, AF_INET6, Attributes, CREATE, Message, REPLACE, family_of, ip_bytes},
    socket::{Result, Socket},
};
use std::net::IpAddr;

const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const DESTINATION: u16 = 1;
const OUT_LINK: u16 = 4;
const GATEWAY: u16 = 5;
const TABLE: u16 = 15;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u32 = 255;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_UNIVERSE: u8 = 0;
const TYPE_UNICAST: u8 = 1;
/// Bytes of `struct rtmsg`.
const FIXED: usize = 12;

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub destination: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The number of the link it leaves by.
    pub link: Option<u32>,
}

/// Adds a default route through `gateway` on `link`.
pub fn add_default(gateway: IpAddr, link: u32) -> Message {
    let mut header = [0; FIXED];
    header[0] = family_of(gateway);
    header[4] = TABLE_MAIN;
    header[5] = PROTOCOL_BOOT;
    header[6] = SCOPE_UNIVERSE;
    header[7] = TYPE_UNICAST;
    Message::new(NEWROUTE, CREATE | REPLACE).fixed(&header).attr(GATEWAY, &ip_bytes(gateway)).u32(OUT_LINK, link)
}

/// The routes of this namespace outside the local table.
pub fn list(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    socket.dump(&Message::new(GETROUTE, 0).fixed(&[0; FIXED]), |payload| routes.extend(parse(payload)))?;
    Ok(routes)
}

fn parse(payload: &[u8]) -> Option<Route> {
    let header = payload.first_chunk::<FIXED>()?;
    let attributes = Attributes::after(payload, FIXED);
    let table = attributes.u32(TABLE).unwrap_or(u32::from(header[4]));
    let any: IpAddr = match header[0] {
        AF_INET => [0; 4].into(),
        AF_INET6 => [0; 16].into(),
        _ => return None,
    };
    (header[7] == TYPE_UNICAST && table != TABLE_LOCAL).then(|| Route {
        destination: attributes.ip(DESTINATION).unwrap_or(any),
        prefix: header[1],
        gateway: attributes.ip(GATEWAY),
        link: attributes.u32(OUT_LINK),
    })
}

/// Whether this namespace has a route to `destination`.
pub fn reaches(socket: &mut Socket, destination: IpAddr) -> bool {
    let mut header = [0; FIXED];
    header[0] = family_of(destination);
    header[1] = if destination.is_ipv4() { 32 } else { 128 };
    let request = Message::new(GETROUTE, 0).fixed(&header).attr(DESTINATION, &ip_bytes(destination));
    let mut unicast = false;
    let answer = socket.ask(request, |payload| unicast = payload.get(7) == Some(&TYPE_UNICAST));
    answer.is_ok() && unicast
}
