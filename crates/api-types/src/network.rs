//! Networks, endpoints and ports.

use crate::{
    codec::{is_zero, null_default},
    container::StringMap,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bindings by container port (`80/tcp`); `null` for a port exposed and not published.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

/// One published address and port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortBinding {
    /// The host's address; empty for all.
    #[serde(rename = "HostIp")]
    pub host_ip: String,
    /// The host's port or range; empty or `0` for a free one.
    #[serde(rename = "HostPort")]
    pub host_port: String,
}

/// A container's place in one network: what the client asked for, and what it got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointSettings {
    /// Addresses asked for.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<EndpointIpamConfig>,
    /// Legacy links.
    pub links: Option<Vec<String>>,
    /// Names in this network asked for.
    pub aliases: Option<Vec<String>>,
    /// The MAC address.
    pub mac_address: String,
    /// Driver options.
    pub driver_opts: Option<StringMap>,
    /// The endpoint with the highest gives the default route.
    pub gw_priority: i64,
    /// The network's id.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// The endpoint's id; empty while the container is stopped.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The IPv4 gateway.
    pub gateway: String,
    /// The IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Its prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u32,
    /// The IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// The IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Its prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u32,
    /// All names in this network.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// Addresses asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointIpamConfig {
    /// IPv4.
    #[serde(rename = "IPv4Address", skip_serializing_if = "is_zero")]
    pub ipv4_address: String,
    /// IPv6.
    #[serde(rename = "IPv6Address", skip_serializing_if = "is_zero")]
    pub ipv6_address: String,
    /// Link-local addresses.
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "is_zero")]
    pub link_local_ips: Option<Vec<String>>,
}

/// One network, as inspect and list print it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// The name.
    pub name: String,
    /// The id.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// `local` or `swarm`.
    pub scope: String,
    /// The driver.
    pub driver: String,
    /// Whether endpoints get IPv4 addresses.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// Whether endpoints get IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Address management.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether traffic out is refused.
    pub internal: bool,
    /// Whether containers outside the swarm may join.
    pub attachable: bool,
    /// Whether this is the routing mesh's network.
    pub ingress: bool,
    /// The network whose configuration this one takes.
    pub config_from: ConfigReference,
    /// Whether this is only a configuration for others.
    pub config_only: bool,
    /// Endpoints by container id; empty in a list.
    #[serde(deserialize_with = "null_default")]
    pub containers: BTreeMap<String, EndpointResource>,
    /// Driver options.
    #[serde(deserialize_with = "null_default")]
    pub options: StringMap,
    /// The user's labels.
    #[serde(deserialize_with = "null_default")]
    pub labels: StringMap,
}

/// A reference to a configuration network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConfigReference {
    /// Its name.
    pub network: String,
}

/// Address management of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// The driver.
    pub driver: String,
    /// Its options.
    pub options: Option<StringMap>,
    /// Pools.
    pub config: Option<Vec<IpamPool>>,
}

/// One address pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamPool {
    /// In CIDR form.
    #[serde(skip_serializing_if = "is_zero")]
    pub subnet: String,
    /// The part addresses are given from.
    #[serde(rename = "IPRange", skip_serializing_if = "is_zero")]
    pub ip_range: String,
    /// The gateway.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway: String,
    /// Addresses kept from the pool, by name.
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "is_zero")]
    pub auxiliary_addresses: Option<StringMap>,
}

/// A container's endpoint, as a network's inspect prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointResource {
    /// The container's name.
    pub name: String,
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The MAC address.
    pub mac_address: String,
    /// With its prefix length.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// With its prefix length.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}
