//! The host ports in use: which container has them, and a socket that keeps other programs from them.
//!
//! The socket is bound and never listens. It tells us at once when a program of the host has the port, tells that program
//! when we have it, and moves no traffic: that is what the firewall's maps do, with or without a daemon.

use crate::{PortRequest, Protocol, PublishedPort, limits};
use rorqual_error::{Error, Result};
use rorqual_types::ContainerId;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    os::fd::OwnedFd,
};

#[derive(Debug)]
struct Held {
    ip: IpAddr,
    owner: ContainerId,
    /// Absent where the port could not be held; the rules work all the same.
    _socket: Option<OwnedFd>,
}

/// The host ports in use.
#[derive(Debug)]
pub(crate) struct PortTable {
    held: BTreeMap<(Protocol, u16), Vec<Held>>,
    next: HashMap<Protocol, u16>,
    ephemeral: RangeInclusive<u16>,
}

/// Whose ports are to be chosen, and where they lead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) container: &'a ContainerId,
    pub(crate) ipv4: Option<Ipv4Addr>,
    pub(crate) ipv6: Option<Ipv6Addr>,
    /// What a request without an address means.
    pub(crate) default_ips: &'a [IpAddr],
}

impl Target<'_> {
    fn ip_for(&self, host_ip: IpAddr) -> Option<IpAddr> {
        if host_ip.is_ipv4() { self.ipv4.map(IpAddr::V4) } else { self.ipv6.map(IpAddr::V6) }
    }
}

impl PortTable {
    pub(crate) fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            next: HashMap::new(),
            ephemeral: read_ephemeral().unwrap_or(limits::DEFAULT_EPHEMERAL),
        }
    }

    /// Chooses and holds host ports for all of `requests`, or none of them.
    pub(crate) fn take(&mut self, target: &Target<'_>, requests: &[PortRequest]) -> Result<Vec<PublishedPort>> {
        let mut chosen = Vec::new();
        // Fixed ports first: a range or a random choice must not take a port that is asked for by number.
        let mut order: Vec<&PortRequest> = requests.iter().collect();
        order.sort_by_key(|request| request.host_ports.as_ref().map_or(usize::MAX, ExactSizeIterator::len));
        for request in order {
            match self.take_one(target, request) {
                Ok(ports) => chosen.extend(ports),
                Err(error) => {
                    self.release_ports(target.container, &chosen);
                    return Err(error);
                }
            }
        }
        chosen.sort_by_key(|port| (port.container_port, port.protocol, port.host_ip.is_ipv6(), port.host_port));
        Ok(chosen)
    }

    fn take_one(&mut self, target: &Target<'_>, request: &PortRequest) -> Result<Vec<PublishedPort>> {
        if request.host_ip == Some(Ipv6Addr::LOCALHOST.into()) {
            let text = "not supported yet: publishing a port on ::1 (its packets cannot be forwarded); use 127.0.0.1";
            return Err(Error::not_implemented(text));
        }
        let named = request.host_ip.map(|ip| vec![ip]);
        let wanted = named.unwrap_or_else(|| target.default_ips.to_vec());
        // A container without an address of the family cannot be reached by it.
        let ips: Vec<IpAddr> = wanted.into_iter().filter(|ip| target.ip_for(*ip).is_some()).collect();
        match &request.host_ports {
            Some(range) if range.len() == 1 => self.take_port(target, request, &ips, *range.start()),
            Some(range) => self.take_first(target, request, &ips, range.clone()),
            None => {
                let (first, last) = (*self.ephemeral.start(), *self.ephemeral.end());
                let next = *self.next.get(&request.protocol).filter(|n| self.ephemeral.contains(n)).unwrap_or(&first);
                let ports = self.take_first(target, request, &ips, (next..=last).chain(first..next))?;
                let used = ports.first().map_or(next, |port| port.host_port);
                self.next.insert(request.protocol, if used < last { used + 1 } else { first });
                Ok(ports)
            }
        }
    }

    /// The first port of `candidates` that is free on all addresses.
    fn take_first(
        &mut self,
        target: &Target<'_>,
        request: &PortRequest,
        ips: &[IpAddr],
        candidates: impl Iterator<Item = u16>,
    ) -> Result<Vec<PublishedPort>> {
        for port in candidates {
            match self.take_port(target, request, ips, port) {
                Err(error) if error.kind() == rorqual_error::Kind::Conflict => {}
                other => return other,
            }
        }
        Err(Error::internal("all ports are allocated"))
    }

    /// This port on all of `ips`. A port in use is a `Conflict`.
    fn take_port(
        &mut self,
        target: &Target<'_>,
        request: &PortRequest,
        ips: &[IpAddr],
        port: u16,
    ) -> Result<Vec<PublishedPort>> {
        let key = (request.protocol, port);
        for ip in ips {
            if let Some(other) = self.held.get(&key).and_then(|held| held.iter().find(|h| clash(h.ip, *ip))) {
                // As dockerd writes it: an IPv6 address without brackets.
                let text = format!("Bind for {}:{port} failed: port is already allocated", other.ip);
                return Err(Error::conflict(text));
            }
        }
        let mut sockets = Vec::new();
        for ip in ips {
            match hold(request.protocol, *ip, port) {
                Ok(socket) => sockets.push((*ip, Some(socket))),
                // This host has no such protocol or family: nothing can be in the way either. An address family the
                // request did not name is left out.
                Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => sockets.push((*ip, None)),
                Err(Errno::ADDRNOTAVAIL) if request.host_ip.is_none() && ip.is_ipv6() => {}
                Err(errno) => return Err(bind_error(target, request, SocketAddr::new(*ip, port), errno)),
            }
        }
        let published = |ip| PublishedPort {
            container_port: request.container_port,
            protocol: request.protocol,
            host_ip: ip,
            host_port: port,
        };
        let ports = sockets.iter().map(|(ip, _)| published(*ip)).collect();
        let owner = target.container;
        let held = sockets.into_iter().map(|(ip, _socket)| Held { ip, owner: owner.clone(), _socket });
        self.held.entry(key).or_default().extend(held);
        Ok(ports)
    }

    /// Holds the ports of a container that was found running.
    pub(crate) fn adopt(&mut self, owner: &ContainerId, ports: &[PublishedPort]) {
        for port in ports {
            let socket = hold(port.protocol, port.host_ip, port.host_port);
            if let Err(errno) = &socket {
                tracing::warn!(container = %owner, port = port.host_port, protocol = %port.protocol, %errno,
                    "another program has a published port of a running container");
            }
            let held = Held { ip: port.host_ip, owner: owner.clone(), _socket: socket.ok() };
            self.held.entry((port.protocol, port.host_port)).or_default().push(held);
        }
    }

    /// Gives a container's ports back.
    pub(crate) fn release_ports(&mut self, owner: &ContainerId, ports: &[PublishedPort]) {
        for port in ports {
            let key = (port.protocol, port.host_port);
            if let Some(held) = self.held.get_mut(&key) {
                held.retain(|h| h.owner != *owner);
                if held.is_empty() {
                    self.held.remove(&key);
                }
            }
        }
    }
}

/// Whether two addresses cannot both have one port: they are the same, or one of them is all of their family.
fn clash(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// A socket bound to this port.
fn hold(protocol: Protocol, ip: IpAddr, port: u16) -> std::result::Result<OwnedFd, Errno> {
    match bind(protocol, ip, port, false) {
        // Perhaps only connections that linger after their end are in the way; a listener refuses this too.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => {
            let socket = bind(protocol, ip, port, true)?;
            // Now nobody else may share it.
            sockopt::set_socket_reuseaddr(&socket, false)?;
            Ok(socket)
        }
        other => other,
    }
}

fn bind(protocol: Protocol, ip: IpAddr, port: u16, reuse: bool) -> std::result::Result<OwnedFd, Errno> {
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Udp {
        // Nobody reads what reaches it (datagrams to ::1 only), so it keeps as little as the kernel allows.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    }
    if reuse {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(ip, port))?;
    Ok(socket)
}

fn bind_error(target: &Target<'_>, request: &PortRequest, host: SocketAddr, errno: Errno) -> Error {
    let inside = target.ip_for(host.ip()).map_or_else(String::new, |ip| match ip {
        IpAddr::V4(ip) => format!(":{ip}:{}", request.container_port),
        IpAddr::V6(ip) => format!(":[{ip}]:{}", request.container_port),
    });
    let text = match errno {
        Errno::ADDRINUSE => "address already in use".to_owned(),
        Errno::ADDRNOTAVAIL => "cannot assign requested address".to_owned(),
        Errno::ACCESS | Errno::PERM => "permission denied".to_owned(),
        other => std::io::Error::from(other).to_string(),
    };
    let message = format!("failed to bind host port for {host}{inside}/{}: {text}", request.protocol);
    if errno == Errno::ADDRINUSE { Error::conflict(message) } else { Error::internal(message) }
}

fn read_ephemeral() -> Option<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    let (first, last) = (numbers.next()?, numbers.next()?);
    (first <= last && first > 0).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ContainerId {
        ContainerId::from_random([n; 32])
    }

    fn request(ip: &str, port: &str) -> PortRequest {
        PortRequest::from_binding("80/tcp", ip, port).unwrap()
    }

    /// Takes ports for a container; loopback addresses only, so that the machine's own are left alone.
    fn take(table: &mut PortTable, n: u8, requests: &[PortRequest]) -> Result<Vec<u16>> {
        let container = id(n);
        let target = Target {
            container: &container,
            ipv4: Some(Ipv4Addr::new(172, 17, 0, 3)),
            ipv6: None,
            default_ips: &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        };
        table.take(&target, requests).map(|ports| ports.iter().map(|port| port.host_port).collect())
    }

    #[test]
    fn a_port_is_given_once_and_the_message_names_who_has_it() {
        let mut table = PortTable::new();
        let first = take(&mut table, 1, &[request("127.0.0.1", "")]).unwrap()[0].to_string();
        let error = take(&mut table, 2, &[request("127.0.0.1", &first)]).unwrap_err();
        assert_eq!(error.to_string(), format!("Bind for 127.0.0.1:{first} failed: port is already allocated"));
        assert_eq!(take(&mut table, 2, &[request("127.0.0.2", &first)]).unwrap().len(), 1);
    }

    #[test]
    fn a_port_of_another_program_is_refused_and_nothing_is_kept() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let mut table = PortTable::new();
        let error = take(&mut table, 1, &[request("127.0.0.2", ""), request("127.0.0.1", &port)]).unwrap_err();
        let expected =
            format!("failed to bind host port for 127.0.0.1:{port}:172.17.0.3:80/tcp: address already in use");
        assert_eq!(error.to_string(), expected);
        assert!(table.held.is_empty());
    }

    #[test]
    fn a_held_port_is_closed_to_other_programs_until_released() {
        let mut table = PortTable::new();
        let port = take(&mut table, 1, &[request("127.0.0.1", "")]).unwrap()[0];
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_err());
        let published = PublishedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::LOCALHOST.into(),
            host_port: port,
        };
        table.release_ports(&id(1), &[published]);
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn a_range_gives_its_first_free_port_and_leaves_named_ones_alone() {
        let mut table = PortTable::new();
        let base = take(&mut table, 9, &[request("127.0.0.9", "")]).unwrap()[0];
        let range = format!("{base}-{}", base + 1);
        let one = base.to_string();
        let mut ports = take(&mut table, 1, &[request("127.0.0.1", &range), request("127.0.0.1", &one)]).unwrap();
        ports.sort_unstable();
        assert_eq!(ports, [base, base + 1]);
        let error = take(&mut table, 2, &[request("127.0.0.1", &range)]).unwrap_err();
        assert_eq!(error.to_string(), "all ports are allocated");
    }
}
