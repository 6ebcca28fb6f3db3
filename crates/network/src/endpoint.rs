//! A container's place on a network.

use crate::{MacAddress, PortRequest, Protocol, PublishedPort};
use ipnet::{Ipv4Net, Ipv6Net};
use rorqual_types::ContainerId;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a container asks of the default bridge.
#[derive(Clone, Debug)]
pub struct EndpointRequest {
    /// Whose endpoint it is.
    pub container: ContainerId,
    /// The container's name, for messages.
    pub name: String,
    /// `--mac-address`.
    pub mac: Option<MacAddress>,
    /// The published ports, in the client's order.
    pub ports: Vec<PortRequest>,
}

/// A container's place on a network: stored in the container's record, never changed while it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hexadecimal digits (`EndpointID`).
    pub id: String,
    /// Whose it is.
    pub container: ContainerId,
    /// The name of the network (`bridge`).
    pub network: String,
    /// The id of the network.
    pub network_id: String,
    /// The name of the link's host end.
    pub host_link: String,
    /// The name of the link inside the container.
    pub interface: String,
    /// The link's address inside the container.
    pub mac: MacAddress,
    /// The IPv4 address and its prefix.
    pub ipv4: Option<Ipv4Net>,
    /// The IPv4 gateway.
    pub gateway_v4: Option<Ipv4Addr>,
    /// The IPv6 address and its prefix.
    pub ipv6: Option<Ipv6Net>,
    /// The IPv6 gateway; a default route goes there only where the host has one itself.
    pub gateway_v6: Option<Ipv6Addr>,
    /// The link's MTU.
    pub mtu: u32,
    /// The published ports with the host ports that were chosen.
    pub ports: Vec<PublishedPort>,
}

impl Endpoint {
    /// Whether it publishes ports of UDP, whose flows outlive a change of rules.
    pub(crate) fn has_udp_ports(&self) -> bool {
        self.ports.iter().any(|port| port.protocol == Protocol::Udp)
    }

    /// Whether it has this address.
    pub(crate) fn has_ip(&self, ip: IpAddr) -> bool {
        self.ipv4.is_some_and(|net| IpAddr::V4(net.addr()) == ip)
            || self.ipv6.is_some_and(|net| IpAddr::V6(net.addr()) == ip)
    }
}
