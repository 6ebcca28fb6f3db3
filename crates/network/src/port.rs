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
        let (port, protocol) = key.split_once('/').unwrap_or((key, ""));
        let host_ip = match host_ip {
            "" => None,
            text => Some(parse_ip(text)?),
        };
        Ok(Self {
            container_port: parse_port(port)?,
            protocol: protocol.parse()?,
            host_ip,
            host_ports: parse_range(host_port)?,
        })
    }

    /// A port published to any free host port, as `--publish-all` does for an exposed one (`80/tcp`).
    pub fn from_exposed(key: &str) -> Result<Self> {
        Self::from_binding(key, "", "")
    }
}

fn bad_port(text: &str) -> Error {
    let shown: String = text.chars().take(256).collect();
    Error::invalid(format!("invalid port specification: \"{shown}\""))
}

fn digits(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

fn parse_port(text: &str) -> Result<u16> {
    digits(text).filter(|port| *port != 0).ok_or_else(|| bad_port(text))
}

fn parse_range(text: &str) -> Result<Option<RangeInclusive<u16>>> {
    if text.is_empty() || digits(text) == Some(0) {
        return Ok(None);
    }
    let range = match text.split_once('-') {
        Some((first, last)) => digits(first).zip(digits(last)).map(|(first, last)| first..=last),
        None => digits(text).map(|port| port..=port),
    };
    match range.filter(|range| !range.is_empty() && *range.start() != 0) {
        Some(range) => Ok(Some(range)),
        None => Err(bad_port(text)),
    }
}

fn parse_ip(text: &str) -> Result<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse()
        .map_err(|_| Error::invalid(format!("invalid IP address: {}", text.chars().take(64).collect::<String>())))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, ip: &str, port: &str) -> String {
        match PortRequest::from_binding(key, ip, port) {
            Ok(r) => format!("{}/{} {:?} {:?}", r.container_port, r.protocol, r.host_ip, r.host_ports),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn bindings_are_read_as_docker_writes_them() {
        assert_eq!(check("80/tcp", "", ""), "80/tcp None None");
        assert_eq!(check("80/UDP", "127.0.0.1", "0"), "80/udp Some(127.0.0.1) None");
        assert_eq!(check("80", "[::1]", "8000-8010"), "80/tcp Some(::1) Some(8000..=8010)");
    }

    #[test]
    fn bad_bindings_are_refused_by_name() {
        for (key, port, bad) in [
            ("80/tcp", "abc", "abc"),
            ("80/tcp", "99999", "99999"),
            ("80/tcp", "18209-18200", "18209-18200"),
            ("80/tcp", "+1", "+1"),
            ("80/tcp", "0-5", "0-5"),
            ("80-81/tcp", "1", "80-81"),
            ("0/tcp", "1", "0"),
            ("/tcp", "1", ""),
        ] {
            assert_eq!(check(key, "", port), format!("invalid port specification: \"{bad}\""));
        }
        assert_eq!(check("80/foo", "", "1"), "invalid proto: foo");
        assert_eq!(check("80/tcp", "zz", "1"), "invalid IP address: zz");
    }
}
