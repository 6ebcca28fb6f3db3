//! The texts of a container's `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname`.

use rorqual_error::Result;
use std::net::IpAddr;

/// What `/etc/hosts` is made of.
#[derive(Clone, Debug, Default)]
pub struct Hosts<'a> {
    /// The container's host name.
    pub hostname: &'a str,
    /// `--domainname`; may be empty.
    pub domainname: &'a str,
    /// The container's own addresses, in the order they are written.
    pub addresses: &'a [IpAddr],
    /// `--add-host` and `--link` entries, in order.
    pub extra: &'a [ExtraHost],
    /// Whether the namespace has IPv6 loopback names (`ip6-localhost` and the like).
    pub ipv6: bool,
}

/// One `name -> address` of `--add-host` or `--link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name, or several separated by spaces.
    pub name: String,
    /// The address, as it is to be written.
    pub address: String,
}

/// Reads one `HostConfig.ExtraHosts` entry (`name:address`); `host-gateway` becomes each of `gateways`.
pub fn parse_extra_host(text: &str, gateways: &[IpAddr]) -> Result<Vec<ExtraHost>> {
    let _ = (text, gateways);
    todo!()
}

/// The text of `/etc/hosts`.
pub fn hosts(input: &Hosts<'_>) -> String {
    let _ = input;
    todo!()
}

/// `--dns`, `--dns-search` and `--dns-option` of the container, or else of the daemon.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains; a single `.` means none.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

/// The text of `/etc/resolv.conf` for a container with its own network namespace, from the host's own file.
pub fn resolv_conf(host: &str, dns: &Dns, ipv6: bool) -> String {
    let _ = (host, dns, ipv6);
    todo!()
}

/// The text of `/etc/resolv.conf` for `--network host`: the host's, but for what `dns` overrides.
pub fn resolv_conf_host_mode(host: &str, dns: &Dns) -> String {
    let _ = (host, dns);
    todo!()
}

/// The host's own resolver configuration as dockerd reads it (`/run/systemd/resolve/resolv.conf` behind a local stub).
pub fn read_host_resolv_conf() -> String {
    todo!()
}

/// The text of `/etc/hostname`.
pub fn hostname(hostname: &str, domainname: &str) -> String {
    let _ = (hostname, domainname);
    todo!()
}
