//! What `/networks` shows.

use crate::Endpoint;
use ipnet::IpNet;
use jiff::Timestamp;
use std::{collections::BTreeMap, net::IpAddr};

/// What makes a network work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A bridge of this host.
    Bridge,
    /// The host's own namespace.
    Host,
    /// Nothing but loopback.
    Null,
}

impl Driver {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// The subnet.
    pub subnet: IpNet,
    /// The part addresses are chosen from, where it is smaller.
    pub range: Option<IpNet>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
}

/// A network as `inspect` shows it.
#[derive(Clone, Debug)]
pub struct NetworkInfo {
    /// `bridge`, `host` or `none`.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// What makes it work.
    pub driver: Driver,
    /// Whether it gives IPv4 addresses.
    pub ipv4: bool,
    /// Whether it gives IPv6 addresses.
    pub ipv6: bool,
    /// `IPAM.Config`.
    pub pools: Vec<AddressPool>,
    /// `Options`.
    pub options: BTreeMap<String, String>,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
    /// The endpoints on it, by container.
    pub endpoints: Vec<Endpoint>,
}
