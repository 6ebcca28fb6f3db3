//! Published ports: what was asked, and what was chosen.

use rorqual_error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

/// A transport protocol a port can be published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The protocol's number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("invalid proto: {}", text.chars().take(64).collect::<String>()))),
        }
    }
}

/// One wish to publish a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRequest {
    /// The port inside the container.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host address; `None` is the daemon's default, all of them unless `--ip` says otherwise.
    pub host_ip: Option<IpAddr>,
    /// The host port, or a range to choose from; `None` is any free one.
    pub host_ports: Option<RangeInclusive<u16>>,
}

impl PortRequest {
    /// Reads one entry of `HostConfig.PortBindings`: the key (`80/tcp`) and the binding's `HostIp` and `HostPort`.
    pub fn from_binding(key: &str, host_ip: &str, host_port: &str) -> Result<Self> {
        let _ = (key, host_ip, host_port);
        todo!()
    }
}

/// A published port: traffic to `host_ip:host_port` reaches `container_port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The port inside the container.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host address; `0.0.0.0` and `::` are all of theirs.
    pub host_ip: IpAddr,
    /// The host port.
    pub host_port: u16,
}
