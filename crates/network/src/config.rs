//! What the operator may say about the default bridge.

use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr};

/// The settings of a node's networks.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--bridge`: the name of the default bridge. `none` leaves the default bridge out.
    pub bridge: String,
    /// `--bip`: the bridge's IPv4 address with its prefix. Chosen free of the host's routes when absent.
    pub bip: Option<Ipv4Net>,
    /// `--fixed-cidr`: the part of the subnet that containers get addresses from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `--bip6`: the bridge's IPv6 address with its prefix. A ULA of this node when absent.
    pub bip6: Option<Ipv6Net>,
    /// `--fixed-cidr-v6`: the part of the IPv6 subnet that containers get addresses from.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// `--ipv6`: whether containers get IPv6 addresses.
    pub ipv6: bool,
    /// `--default-gateway`: the containers' IPv4 gateway where it is not the bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// `--icc`: whether containers on the default bridge may talk to each other.
    pub icc: bool,
    /// `--ip-masq`: whether outgoing traffic takes the host's address.
    pub masquerade: bool,
    /// `--ip-forward`: whether to turn the kernel's forwarding on.
    pub ip_forward: bool,
    /// `--ip-forward-no-drop`: whether forwarding between other interfaces stays open when we turned forwarding on.
    pub ip_forward_no_drop: bool,
    /// `--allow-direct-routing`: whether other hosts may reach container addresses without a published port.
    pub allow_direct_routing: bool,
    /// `--iptables`: whether to write IPv4 firewall rules at all.
    pub firewall_v4: bool,
    /// `--ip6tables`: whether to write IPv6 firewall rules at all.
    pub firewall_v6: bool,
    /// `--ip`: the host address for published ports that name none. `None` is all, IPv4 and IPv6.
    pub default_host_ip: Option<IpAddr>,
    /// `--mtu`: of the bridge and the containers' links.
    pub mtu: u32,
    /// `--host-gateway-ip`: what `host-gateway` in `--add-host` stands for; the bridge's addresses when empty.
    pub host_gateway_ips: Vec<IpAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bridge: "rorqual0".into(),
            bip: None,
            fixed_cidr: None,
            bip6: None,
            fixed_cidr_v6: None,
            ipv6: true,
            default_gateway: None,
            icc: true,
            masquerade: true,
            ip_forward: true,
            ip_forward_no_drop: false,
            allow_direct_routing: false,
            firewall_v4: true,
            firewall_v6: true,
            default_host_ip: None,
            mtu: 1500,
            host_gateway_ips: Vec::new(),
        }
    }
}
