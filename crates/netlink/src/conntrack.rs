//! Tracked connections: listing them, and forgetting those that a changed rule made wrong.

use crate::{
    message::{Attributes, Message},
    socket::{Result, Socket},
};
use rustix::io::Errno;
use std::net::IpAddr;

/// Subsystem 1, `IPCTNL_MSG_CT_GET`.
const GET: u16 = (1 << 8) | 1;
/// Subsystem 1, `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = (1 << 8) | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUM: u16 = 1;
const PROTO_SOURCE_PORT: u16 = 2;
const PROTO_DESTINATION_PORT: u16 = 3;
/// Bytes of `struct nfgenmsg`.
const FIXED: usize = 4;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// The transport protocol.
    pub protocol: u8,
    /// From; 0 where the protocol has no ports.
    pub source_port: u16,
    /// To; 0 where the protocol has no ports.
    pub destination_port: u16,
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// As the first packet was sent.
    pub original: Tuple,
    /// As answers come.
    pub reply: Tuple,
    /// `IPS_*`.
    pub status: u32,
    family: u8,
    tuple: Vec<u8>,
    id: Option<u32>,
    zone: Option<Vec<u8>>,
}

/// Forgets every connection that `wrong` picks, IPv4 and IPv6. Returns how many.
pub fn forget(socket: &mut Socket, mut wrong: impl FnMut(&Connection) -> bool) -> Result<usize> {
    let mut chosen = Vec::new();
    // No family is all of them: the kernel walks its whole table for each list, ten milliseconds of it.
    let request = Message::new(GET, 0).fixed(&[0; FIXED]);
    socket.dump(&request, |payload| chosen.extend(parse(payload).filter(|c| wrong(c))))?;
    let mut forgotten = 0;
    for connection in &chosen {
        match socket.request(delete(connection)) {
            Ok(()) => forgotten += 1,
            Err(failure) if failure.errno == Errno::NOENT => {}
            Err(other) => return Err(other),
        }
    }
    Ok(forgotten)
}

fn delete(connection: &Connection) -> Message {
    let message = Message::new(DELETE, 0)
        .fixed(&[connection.family, 0, 0, 0])
        .nest(TUPLE_ORIGINAL, |m| m.fixed(&connection.tuple));
    let message = match connection.id {
        Some(id) => message.be32(ID, id),
        None => message,
    };
    match &connection.zone {
        Some(zone) => message.attr(ZONE, zone),
        None => message,
    }
}

fn parse(payload: &[u8]) -> Option<Connection> {
    let attributes = Attributes::after(payload, FIXED);
    Some(Connection {
        original: tuple(attributes.nested(TUPLE_ORIGINAL))?,
        reply: tuple(attributes.nested(TUPLE_REPLY))?,
        status: attributes.be32(STATUS).unwrap_or_default(),
        family: *payload.first()?,
        tuple: attributes.get(TUPLE_ORIGINAL)?.to_vec(),
        id: attributes.be32(ID),
        zone: attributes.get(ZONE).map(<[u8]>::to_vec),
    })
}

fn tuple(attributes: Attributes<'_>) -> Option<Tuple> {
    let (ip, proto) = (attributes.nested(TUPLE_IP), attributes.nested(TUPLE_PROTO));
    // CTA_IP_V4_SRC is 1, V4_DST 2, V6_SRC 3, V6_DST 4.
    Some(Tuple {
        source: ip.ip(1).or_else(|| ip.ip(3))?,
        destination: ip.ip(2).or_else(|| ip.ip(4))?,
        protocol: *proto.get(PROTO_NUM)?.first()?,
        source_port: proto.be16(PROTO_SOURCE_PORT).unwrap_or_default(),
        destination_port: proto.be16(PROTO_DESTINATION_PORT).unwrap_or_default(),
    })
}
