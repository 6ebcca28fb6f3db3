//! The default bridge as a link: made, found again, put right, removed.

use crate::{Config, MacAddress, record::Record, subnet, sysctl};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rorqual_error::{Context, Error, Result};
use rorqual_netlink::{
    Socket, address,
    address::Address,
    link::{self, Link},
    route, socket,
};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};

/// The group our bridges are in, by which we know that one is ours to remove: "RQ" and a version.
pub(crate) const GROUP: u32 = 0x5251_0001;

/// The bridge's addresses with their prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) v4: Ipv4Net,
    pub(crate) v6: Option<Ipv6Net>,
}

/// The group links are put into to be removed together.
const DEAD_GROUP: u32 = 0x5251_00ff;

/// Removes links. Those that vanish meanwhile are fine.
pub(crate) fn delete_links(socket: &mut Socket, indices: &[u32]) -> socket::Result<()> {
    let tolerate = |outcome: socket::Result<()>| match outcome {
        Err(failure) if failure.errno == Errno::NODEV => Ok(()),
        other => other,
    };
    match indices {
        [] => Ok(()),
        [one] => tolerate(socket.request(link::delete(*one))),
        several => {
            for index in several {
                tolerate(socket.request(link::set_group(*index, DEAD_GROUP)))?;
            }
            tolerate(socket.request(link::delete_group(DEAD_GROUP)))
        }
    }
}

/// A link's name as the kernel takes it.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%' | b'"');
    if name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || !name.bytes().all(good) {
        let shown: String = name.chars().take(64).collect();
        return Err(Error::invalid(format!("\"{shown}\" cannot be the name of a bridge: 1 to 15 plain characters")));
    }
    Ok(())
}

/// Chooses the bridge's addresses: as told, as an existing bridge of the operator has them, as before, or free ones.
pub(crate) fn choose_addresses(socket: &mut Socket, config: &Config, record: &mut Record) -> Result<Addresses> {
    let existing = link::by_name(socket, &config.bridge).with_context(|| format!("look for link {}", config.bridge))?;
    let v4 = match config.bip {
        Some(bip) if bip.addr() == bip.network() && bip.prefix_len() < 31 => {
            return Err(Error::invalid(format!("bip {bip} names a network; give the address of the bridge in it")));
        }
        Some(bip) => bip,
        None => match (operators_address(socket, existing.as_ref())?, config.fixed_cidr) {
            (Some(net), _) => net,
            (None, Some(fixed)) => first_in_v4(fixed)?,
            (None, None) => kept_or_free(socket, existing.as_ref(), record)?,
        },
    };
    let v6 = match config.bip6 {
        _ if !config.ipv6 || !sysctl::has_ipv6() => None,
        Some(bip6) => Some(bip6),
        None => {
            let net = match config.fixed_cidr_v6 {
                Some(fixed) => fixed,
                None => match record.subnet_v6 {
                    Some(kept) => kept,
                    None => *record.subnet_v6.insert(subnet::local_v6(crate::record::random()?)),
                },
            };
            first_in_v6(net)
        }
    };
    check_range(IpNet::V4(v4), config.fixed_cidr.map(IpNet::V4))?;
    if let Some(v6) = v6 {
        check_range(IpNet::V6(v6), config.fixed_cidr_v6.map(IpNet::V6))?;
    }
    Ok(Addresses { v4, v6 })
}

/// Addresses are chosen from a part of the bridge's subnet, not from elsewhere.
fn check_range(bridge: IpNet, range: Option<IpNet>) -> Result<()> {
    match range {
        Some(range) if !bridge.trunc().contains(&range.trunc()) => {
            Err(Error::invalid(format!("fixed-cidr {range} is no part of the bridge's subnet {}", bridge.trunc())))
        }
        _ => Ok(()),
    }
}

fn first_in_v4(net: Ipv4Net) -> Result<Ipv4Net> {
    match subnet::first_host(IpNet::V4(net.trunc())) {
        IpAddr::V4(ip) => Ipv4Net::new(ip, net.prefix_len()).context("the bridge's address"),
        IpAddr::V6(_) => Err(Error::internal("an IPv4 subnet has IPv4 addresses")),
    }
}

fn first_in_v6(net: Ipv6Net) -> Option<Ipv6Net> {
    match subnet::first_host(IpNet::V6(net.trunc())) {
        IpAddr::V6(ip) => Ipv6Net::new(ip, net.prefix_len()).ok(),
        IpAddr::V4(_) => None,
    }
}

/// The address of a bridge that somebody else made for us.
fn operators_address(socket: &mut Socket, existing: Option<&Link>) -> Result<Option<Ipv4Net>> {
    let Some(bridge) = existing.filter(|link| link.group != GROUP) else { return Ok(None) };
    let addresses = address::list(socket).context("list addresses")?;
    let mut on_it = addresses.iter().filter(|address| address.link == bridge.index);
    Ok(on_it.find_map(|address| match address.ip {
        IpAddr::V4(ip) => Ipv4Net::new(ip, address.prefix).ok(),
        IpAddr::V6(_) => None,
    }))
}

/// The subnet of the record, unless something on the host has come to overlap it; else a free one.
fn kept_or_free(socket: &mut Socket, existing: Option<&Link>, record: &mut Record) -> Result<Ipv4Net> {
    let own = existing.map(|link| link.index);
    let routes: Vec<IpNet> = route::list(socket)
        .context("list routes")?
        .iter()
        .filter(|route| route.link.is_none() || route.link != own)
        .filter_map(|route| IpNet::new(route.destination, route.prefix).ok())
        .collect();
    let servers = name_servers();
    let kept = record.subnet_v4.filter(|net| existing.is_some() || subnet::is_free(IpNet::V4(*net), &routes, &servers));
    let net = kept
        .or_else(|| subnet::choose_v4(&routes, &servers))
        .ok_or_else(|| Error::unavailable("no subnet is free for the default bridge; choose one with --bip"))?;
    record.subnet_v4 = Some(net);
    first_in_v4(net)
}

fn name_servers() -> Vec<IpAddr> {
    let text = crate::files::read_host_resolv_conf();
    let words = text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    words.filter_map(|word| word.trim().parse().ok()).collect()
}

/// Makes the bridge where it is missing and puts its settings and addresses right. It stays down where it is down.
pub(crate) fn ensure(socket: &mut Socket, config: &Config, addresses: &Addresses) -> Result<Link> {
    let name = &config.bridge;
    let find = |socket: &mut Socket| link::by_name(socket, name).with_context(|| format!("look for link {name}"));
    if find(socket)?.is_none() {
        let mac = MacAddress::of_ip(addresses.v4.addr()).octets();
        let request = link::add_bridge(name, mac, mtu(config), GROUP);
        socket.request(request).with_context(|| format!("make bridge {name}"))?;
    }
    let bridge = find(socket)?.ok_or_else(|| Error::internal(format!("bridge {name} vanished")))?;
    if bridge.kind.as_deref() != Some("bridge") {
        return Err(Error::conflict(format!("link {name} exists and is no bridge; choose another name with --bridge")));
    }
    if bridge.mtu != mtu(config) && bridge.group == GROUP {
        socket.request(link::set_mtu(bridge.index, mtu(config))).with_context(|| format!("set MTU of {name}"))?;
    }
    sysctl::prepare_bridge(name, addresses.v6.is_some())?;
    ensure_addresses(socket, &bridge, addresses)?;
    Ok(bridge)
}

fn ensure_addresses(socket: &mut Socket, bridge: &Link, addresses: &Addresses) -> Result<()> {
    let present = address::list(socket).context("list addresses")?;
    let v6 = addresses.v6.map(|net| (IpAddr::V6(net.addr()), net.prefix_len()));
    let wanted: Vec<Address> = [Some((IpAddr::V4(addresses.v4.addr()), addresses.v4.prefix_len())), v6]
        .into_iter()
        .flatten()
        .map(|(ip, prefix)| Address { link: bridge.index, ip, prefix })
        .collect();
    let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let here = present.iter().filter(|address| address.link == bridge.index && !link_local(address.ip));
    // Of a bridge the operator made, other addresses are the operator's.
    for stale in here.filter(|address| bridge.group == GROUP && !wanted.contains(address)) {
        socket.request(address::delete(stale)).with_context(|| format!("remove {} from {}", stale.ip, bridge.name))?;
    }
    for missing in wanted.iter().filter(|address| !present.contains(address)) {
        socket.request(address::add(missing)).with_context(|| format!("add {} to {}", missing.ip, bridge.name))?;
    }
    Ok(())
}

/// The MTU: 0 is Ethernet's.
pub(crate) fn mtu(config: &Config) -> u32 {
    if config.mtu == 0 { 1500 } else { config.mtu }
}

/// The IPv4 gateway containers use.
pub(crate) fn gateway_v4(config: &Config, addresses: &Addresses) -> Ipv4Addr {
    config.default_gateway.unwrap_or(addresses.v4.addr())
}
