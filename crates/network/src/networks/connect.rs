//! A container's link: made here, set up by the container's init, made again where it was removed.

use super::{Networks, lock};
use crate::{Endpoint, sysctl};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::failpoint;
use rorqual_netlink::{Message, Protocol as NetlinkProtocol, Socket, address, link, message::ACK, route};
use rustix::io::Errno;
use std::{
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd},
};

/// The number of loopback in every namespace.
const LOOPBACK: u32 = 1;
/// An address of the public IPv6 internet: a route to it is a default route.
const PUBLIC_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1));

impl Networks {
    /// Makes the link between the bridge and the namespace. Returns the requests the container's init sends, in order and
    /// each acknowledged, to a route netlink socket inside the namespace.
    pub fn connect(&self, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
        failpoint!("net.connect")?;
        let bridge = self.bridge.as_ref().ok_or_else(|| Error::not_found("network bridge not found"))?;
        let pair = link::VethPair {
            name: &endpoint.host_link,
            master: bridge.index,
            mtu: endpoint.mtu,
            peer_name: &endpoint.interface,
            peer_mac: endpoint.mac.octets(),
            peer_namespace: netns,
        };
        let mut route = lock(&self.shared.route);
        let index = match link::create_veth(&mut route, &pair) {
            // A link of this name can only be what an interrupted start of the same endpoint left.
            Err(failure) if failure.errno == Errno::EXIST => {
                if let Some(stale) = link::by_name(&mut route, &endpoint.host_link).ok().flatten() {
                    let _ = route.request(link::delete(stale.index));
                }
                link::create_veth(&mut route, &pair)
            }
            other => other,
        };
        let index = index.with_context(|| format!("make link {} for the container", endpoint.host_link))?;
        let mode = link::PortMode { hairpin: sysctl::bridges_are_filtered(), isolated: !self.config.icc };
        if mode.hairpin || mode.isolated {
            let host = link::by_name(&mut route, &endpoint.host_link).ok().flatten();
            let host = host.ok_or_else(|| Error::internal(format!("link {} vanished", endpoint.host_link)))?;
            route.request(link::set_port_mode(host.index, mode)).context("set the mode of a bridge's port")?;
        }
        let default_v6 = endpoint.gateway_v6.is_some() && route::reaches(&mut route, PUBLIC_V6);
        failpoint!("net.connected")?;
        Ok(init_messages(endpoint, index, default_v6))
    }

    /// Makes the link of a running container again, after it was removed under it.
    pub fn restore(&self, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()> {
        let messages = self.connect(endpoint, netns)?;
        // A thread of its own: it enters the container's namespace and ends there.
        let namespace = netns.try_clone_to_owned().context("keep the namespace")?;
        let work = move || -> Result<()> {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)
                .context("enter the container's network namespace")?;
            let mut socket = Socket::open(NetlinkProtocol::Route).context("open a route netlink socket")?;
            send_raw(&mut socket, &messages)
        };
        let thread = std::thread::Builder::new().name("net-restore".into()).spawn(work).context("start a thread")?;
        thread.join().map_err(|_| Error::internal("restoring a link panicked"))?
    }
}

/// The requests that bring up loopback, all that `--network none` needs.
pub fn loopback_messages() -> Vec<Vec<u8>> {
    numbered(vec![link::set_up(LOOPBACK, "")])
}

/// The requests that set up the container's end of the link.
fn init_messages(endpoint: &Endpoint, index: u32, default_v6: bool) -> Vec<Vec<u8>> {
    let mut requests = vec![link::set_up(LOOPBACK, ""), link::set_up(index, "")];
    let v4 = endpoint.ipv4.map(|net| (IpAddr::V4(net.addr()), net.prefix_len()));
    let v6 = endpoint.ipv6.map(|net| (IpAddr::V6(net.addr()), net.prefix_len()));
    for (ip, prefix) in v4.into_iter().chain(v6) {
        requests.push(address::add(&address::Address { link: index, ip, prefix }));
    }
    if let Some(gateway) = endpoint.gateway_v4 {
        requests.push(route::add_default(gateway.into(), index));
    }
    if let (Some(gateway), true) = (endpoint.gateway_v6, default_v6) {
        requests.push(route::add_default(gateway.into(), index));
    }
    numbered(requests)
}

/// Requests ready to be sent by somebody else: numbered from 1, each asking for an acknowledgement.
fn numbered(requests: Vec<Message>) -> Vec<Vec<u8>> {
    (1..).zip(requests).map(|(sequence, request)| request.with_flags(ACK).finish(sequence)).collect()
}

/// Sends ready requests.
fn send_raw(socket: &mut Socket, messages: &[Vec<u8>]) -> Result<()> {
    messages.iter().try_for_each(|message| socket.raw(message).context("set up the container's link"))
}
