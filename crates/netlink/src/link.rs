//! Links: bridges, veth pairs, and their state.

use crate::{
    message::{Attributes, CREATE, ECHO, EXCL, Message},
    socket::{Result, Socket},
};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;

const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const AF_SPEC: u16 = 26;
const GROUP: u16 = 27;
const NET_NS_FD: u16 = 28;
const NUM_TX_QUEUES: u16 = 31;
const NUM_RX_QUEUES: u16 = 32;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
const BRPORT_MODE: u16 = 4;
const BRPORT_ISOLATED: u16 = 33;
const INET6_ADDR_GEN_MODE: u16 = 8;

/// `IFF_UP`.
pub const UP: u32 = 1;
/// Bytes of `struct ifinfomsg`.
const FIXED: usize = 16;

/// A link as the kernel lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `IFF_*`.
    pub flags: u32,
    /// Its Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// Its MTU.
    pub mtu: u32,
    /// The number of the bridge it is a port of.
    pub master: Option<u32>,
    /// What it is: `bridge`, `veth`, and so on.
    pub kind: Option<String>,
    /// The other end of a veth pair, by its number in its own namespace.
    pub peer: Option<u32>,
    /// Its group.
    pub group: u32,
}

fn header(index: u32, flags: u32, mask: u32) -> [u8; FIXED] {
    let mut bytes = [0; FIXED];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&mask.to_ne_bytes());
    bytes
}

/// Makes a bridge, still down; fails with `EEXIST` where the name is taken.
pub fn add_bridge(name: &str, mac: [u8; 6], mtu: u32, group: u32) -> Message {
    Message::new(NEWLINK, CREATE | EXCL)
        .fixed(&header(0, 0, 0))
        .text(IFNAME, name)
        .attr(ADDRESS, &mac)
        .u32(MTU, mtu)
        .u32(GROUP, group)
        .nest(LINKINFO, |m| m.text(INFO_KIND, "bridge"))
}

/// A veth pair to make: one end on a bridge here, the other in another namespace.
#[derive(Clone, Copy, Debug)]
pub struct VethPair<'a> {
    /// The name of the end here.
    pub name: &'a str,
    /// The number of the bridge it becomes a port of.
    pub master: u32,
    /// The MTU of both.
    pub mtu: u32,
    /// The name of the end there.
    pub peer_name: &'a str,
    /// The Ethernet address of the end there.
    pub peer_mac: [u8; 6],
    /// The namespace there.
    pub peer_namespace: BorrowedFd<'a>,
}

/// One queue each way: by default there is one a processor, each with objects of its own, for a device that queues nothing
/// (a third of the time it takes to make a pair, with two processors).
fn one_queue(message: Message) -> Message {
    message.u32(NUM_TX_QUEUES, 1).u32(NUM_RX_QUEUES, 1)
}

/// Makes a veth pair. The end here comes up at once, that in the container is set up there: asking for it here is
/// refused (`ENOTCONN`).
pub fn add_veth(pair: &VethPair<'_>) -> Message {
    let namespace = u32::try_from(pair.peer_namespace.as_raw_fd()).expect("a descriptor is not negative");
    one_queue(Message::new(NEWLINK, CREATE | EXCL | ECHO).fixed(&header(0, UP, UP)))
        .text(IFNAME, pair.name)
        .u32(MTU, pair.mtu)
        .u32(MASTER, pair.master)
        .nest(LINKINFO, |m| {
            m.text(INFO_KIND, "veth").nest(INFO_DATA, |m| {
                m.nest(VETH_PEER, |m| {
                    one_queue(m.fixed(&header(0, 0, 0)))
                        .text(IFNAME, pair.peer_name)
                        .attr(ADDRESS, &pair.peer_mac)
                        .u32(MTU, pair.mtu)
                        .u32(NET_NS_FD, namespace)
                })
            })
        })
}

/// Brings the link of this name up (or by `index` where the name is empty).
pub fn set_up(index: u32, name: &str) -> Message {
    let message = Message::new(NEWLINK, 0).fixed(&header(index, UP, UP));
    if name.is_empty() { message } else { message.text(IFNAME, name) }
}

/// Sets a link's MTU.
pub fn set_mtu(index: u32, mtu: u32) -> Message {
    Message::new(SETLINK, 0).fixed(&header(index, 0, 0)).u32(MTU, mtu)
}

/// Puts a link into a group.
pub fn set_group(index: u32, group: u32) -> Message {
    Message::new(SETLINK, 0).fixed(&header(index, 0, 0)).u32(GROUP, group)
}

/// Makes a link a port of a bridge.
pub fn set_master(index: u32, master: u32) -> Message {
    Message::new(SETLINK, 0).fixed(&header(index, 0, 0)).u32(MASTER, master)
}

/// What a port of a bridge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMode {
    /// Frames may leave through the port they came in by.
    pub hairpin: bool,
    /// No frames to or from other isolated ports.
    pub isolated: bool,
}

/// Sets the mode of a bridge's port.
pub fn set_port_mode(index: u32, mode: PortMode) -> Message {
    Message::new(NEWLINK, 0).fixed(&header(index, 0, 0)).nest(LINKINFO, |m| {
        // 4 is IFLA_INFO_SLAVE_KIND.
        m.text(4, "bridge").nest(INFO_SLAVE_DATA, |m| {
            m.attr(BRPORT_MODE, &[u8::from(mode.hairpin)]).attr(BRPORT_ISOLATED, &[u8::from(mode.isolated)])
        })
    })
}

/// Stops the kernel from giving a link an IPv6 address of its own.
pub fn no_link_local(index: u32) -> Message {
    Message::new(SETLINK, 0)
        .fixed(&header(index, 0, 0))
        .nest(AF_SPEC, |m| m.nest(crate::message::AF_INET6.into(), |m| m.attr(INET6_ADDR_GEN_MODE, &[1])))
}

/// Removes a link, and with one end of a veth pair the other.
pub fn delete(index: u32) -> Message {
    Message::new(DELLINK, 0).fixed(&header(index, 0, 0))
}

/// Removes all links of a group in one go: each removal waits for a grace period (10 ms and more) with the kernel's
/// link lock held, many together wait for the same one.
pub fn delete_group(group: u32) -> Message {
    Message::new(DELLINK, 0).fixed(&header(0, 0, 0)).u32(GROUP, group)
}

/// Makes a veth pair and returns the number of the end in the other namespace.
pub fn create_veth(socket: &mut Socket, pair: &VethPair<'_>) -> Result<u32> {
    let mut echoed = None;
    socket.ask(add_veth(pair), |payload| echoed = echoed.or(parse(payload).peer))?;
    // Kernels before 6.2 do not echo a new link.
    match echoed {
        Some(index) => Ok(index),
        None => by_name(socket, pair.name)?.and_then(|link| link.peer).ok_or(Errno::NODEV.into()),
    }
}

/// The link of this name.
pub fn by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let request = Message::new(GETLINK, 0).fixed(&header(0, 0, 0)).text(IFNAME, name);
    let mut found = None;
    match socket.ask(request, |payload| found = Some(parse(payload))) {
        Err(failure) if failure.errno == Errno::NODEV => Ok(None),
        other => other.map(|()| found),
    }
}

/// All links of this namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    socket.dump(&Message::new(GETLINK, 0).fixed(&header(0, 0, 0)), |payload| links.push(parse(payload)))?;
    Ok(links)
}

fn parse(payload: &[u8]) -> Link {
    let word = |at: usize| {
        let bytes = payload.get(at..at + 4).and_then(|b| b.try_into().ok());
        u32::from_ne_bytes(bytes.unwrap_or_default())
    };
    let attributes = Attributes::after(payload, FIXED);
    let kind = attributes.nested(LINKINFO).text(INFO_KIND).map(str::to_owned);
    Link {
        index: word(4),
        name: attributes.text(IFNAME).unwrap_or_default().to_owned(),
        flags: word(8),
        mac: attributes.get(ADDRESS).and_then(|mac| mac.try_into().ok()),
        mtu: attributes.u32(MTU).unwrap_or_default(),
        master: attributes.u32(MASTER),
        peer: attributes.u32(LINK).filter(|_| kind.as_deref() == Some("veth")),
        kind,
        group: attributes.u32(GROUP).unwrap_or_default(),
    }
}
