//! The texts of a container's `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname`.
//!
//! Everything here is text in, text out, but for [`read_host_resolv_conf`].

use rorqual_error::{Error, Result};
use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

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

/// One `address -> names` of `--add-host` or `--link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name, or several separated by spaces.
    pub name: String,
    /// The address, as it is to be written.
    pub address: String,
}

/// What is used where neither the host nor the request names a server that a container could reach: Google's, as
/// dockerd does. A site that does not want that gives the daemon `--dns`.
const FALLBACK_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];
const FALLBACK_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888),
    Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844),
];
/// The address of systemd's local stub, which only the host itself can ask.
const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

/// Reads one `HostConfig.ExtraHosts` entry (`name:address`); `host-gateway` becomes each of `gateways`.
pub fn parse_extra_host(text: &str, gateways: &[IpAddr]) -> Result<Vec<ExtraHost>> {
    let shown: String = text.chars().take(256).collect();
    let (name, address) = text
        .split_once(':')
        .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
        .ok_or_else(|| Error::invalid(format!("bad format for add-host: \"{shown}\"")))?;
    let entry = |address: IpAddr| ExtraHost { name: name.to_owned(), address: address.to_string() };
    if address == "host-gateway" {
        if gateways.is_empty() {
            return Err(Error::invalid("unable to derive the IP value for host-gateway"));
        }
        return Ok(gateways.iter().copied().map(entry).collect());
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let parsed = bare.parse().map_err(|_| {
        let shown: String = address.chars().take(256).collect();
        Error::invalid(format!("invalid IP address in add-host: \"{shown}\""))
    })?;
    Ok(vec![entry(parsed)])
}

/// The text of `/etc/hosts`.
pub fn hosts(input: &Hosts<'_>) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    if input.ipv6 {
        text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n");
        text.push_str("ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    }
    push_extra(&mut text, input.extra);
    let names = own_names(input.hostname, input.domainname);
    for address in input.addresses {
        let _ = writeln!(text, "{address}\t{names}");
    }
    text
}

/// The text of `/etc/hosts` for `--network host`: the host's own with the entries asked for.
pub fn hosts_host_mode(host: &str, extra: &[ExtraHost]) -> String {
    let mut text = host.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    push_extra(&mut text, extra);
    text
}

fn push_extra(text: &mut String, extra: &[ExtraHost]) {
    for host in extra {
        let _ = writeln!(text, "{}\t{}", host.address, host.name);
    }
}

/// A host's own names: the full one, and the short one where they differ.
fn own_names(hostname: &str, domainname: &str) -> String {
    let full = if domainname.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domainname}") };
    match full.split_once('.') {
        Some((short, _)) => format!("{full} {short}"),
        None => full,
    }
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

/// A resolver's configuration file, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ResolvConf {
    /// Name servers as written: an IPv6 one may name a link.
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
    /// Other directives, kept as they are.
    other: Vec<String>,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => parsed.servers.extend(words.next()),
                // The last of these lines counts.
                Some("search" | "domain") => parsed.search = words.collect(),
                Some("options") => parsed.options.extend(words),
                Some(_) => parsed.other.push(line.to_owned()),
                None => {}
            }
        }
        parsed
    }

    fn overridden(mut self, dns: &Dns) -> Self {
        if !dns.servers.is_empty() {
            self.servers = dns.servers.iter().map(IpAddr::to_string).collect();
        }
        if !dns.search.is_empty() {
            self.search = dns.search.iter().filter(|domain| *domain != ".").cloned().collect();
        }
        if !dns.options.is_empty() {
            self.options.clone_from(&dns.options);
        }
        self
    }

    fn render(&self) -> String {
        let mut text =
            String::from("# Generated by Rorqual when the container started; changes inside it are kept.\n\n");
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", self.options.join(" "));
        }
        for line in &self.other {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// The address of a server, which may be written with a link's name.
fn address_of(server: &str) -> Option<IpAddr> {
    server.split('%').next()?.parse().ok()
}

/// The text of `/etc/resolv.conf` for a container with its own network namespace, from the host's own file.
///
/// Servers on the host's loopback are left out, as are IPv6 ones for a container without IPv6, and public ones stand in
/// where nothing is left. Servers that were asked for by `--dns` are used as given.
pub fn resolv_conf(host: &str, dns: &Dns, ipv6: bool) -> String {
    let mut conf = ResolvConf::parse(host);
    conf.servers.retain(|server| match address_of(server) {
        Some(IpAddr::V4(ip)) => !ip.is_loopback(),
        Some(IpAddr::V6(ip)) => ipv6 && !ip.is_loopback(),
        None => false,
    });
    if conf.servers.is_empty() {
        conf.servers.extend(FALLBACK_V4.iter().map(Ipv4Addr::to_string));
        if ipv6 {
            conf.servers.extend(FALLBACK_V6.iter().map(Ipv6Addr::to_string));
        }
    }
    conf.overridden(dns).render()
}

/// The text of `/etc/resolv.conf` for `--network host`: the host's, but for what `dns` overrides.
pub fn resolv_conf_host_mode(host: &str, dns: &Dns) -> String {
    if dns.servers.is_empty() && dns.search.is_empty() && dns.options.is_empty() {
        return host.to_owned();
    }
    ResolvConf::parse(host).overridden(dns).render()
}

/// The host's own resolver configuration: behind systemd's local stub, the file with the real servers.
pub fn read_host_resolv_conf() -> String {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = ResolvConf::parse(&text).servers;
    if servers.len() == 1 && address_of(&servers[0]) == Some(STUB) {
        return std::fs::read_to_string("/run/systemd/resolve/resolv.conf").unwrap_or(text);
    }
    text
}

/// The text of `/etc/hostname`: the host name alone, as dockerd has it; the domain is in `/etc/hosts`.
pub fn hostname(hostname: &str, _domainname: &str) -> String {
    format!("{hostname}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

    #[test]
    fn hosts_has_loopback_then_asked_for_names_then_our_own() {
        let gateway = ["172.17.0.1".parse().unwrap()];
        let extra: Vec<_> = ["foo:host-gateway", "bar:1.2.3.4", "baz:::1", "q:[fe80::1]"]
            .iter()
            .flat_map(|text| parse_extra_host(text, &gateway).unwrap())
            .collect();
        let text = hosts(&Hosts {
            hostname: "my.full.name",
            domainname: "dom.example",
            addresses: &["172.17.0.4".parse().unwrap()],
            extra: &extra,
            ipv6: true,
        });
        let expected = "172.17.0.1\tfoo\n1.2.3.4\tbar\n::1\tbaz\nfe80::1\tq\n172.17.0.4\tmy.full.name.dom.example my\n";
        assert_eq!(text, format!("{LOCAL}{expected}"));
    }

    #[test]
    fn a_plain_name_stands_alone() {
        let address = ["172.17.0.4".parse().unwrap()];
        let text = hosts(&Hosts { hostname: "myhost", addresses: &address, ..Hosts::default() });
        assert_eq!(text, "127.0.0.1\tlocalhost\n172.17.0.4\tmyhost\n");
        assert_eq!(hosts_host_mode("1.1.1.1 a", &[]), "1.1.1.1 a\n");
    }

    #[test]
    fn bad_entries_are_refused_in_dockers_words() {
        let error = |text: &str| parse_extra_host(text, &[]).unwrap_err().to_string();
        assert_eq!(error("foo"), "bad format for add-host: \"foo\"");
        assert_eq!(error(":1.2.3.4"), "bad format for add-host: \":1.2.3.4\"");
        assert_eq!(error("a\nb:1.2.3.4"), "bad format for add-host: \"a\nb:1.2.3.4\"");
        assert_eq!(error("foo:zzz"), "invalid IP address in add-host: \"zzz\"");
        assert_eq!(error("foo:host-gateway"), "unable to derive the IP value for host-gateway");
    }

    fn servers(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect()
    }

    #[test]
    fn servers_a_container_cannot_reach_are_left_out() {
        let host = "nameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nsearch a b\n";
        assert_eq!(servers(&resolv_conf(host, &Dns::default(), true)), ["10.0.0.53", "fe80::1%eth0"]);
        assert_eq!(servers(&resolv_conf(host, &Dns::default(), false)), ["10.0.0.53"]);
        assert!(resolv_conf(host, &Dns::default(), true).contains("\nsearch a b\n"));
    }

    #[test]
    fn public_servers_stand_in_where_none_is_left() {
        assert_eq!(servers(&resolv_conf("nameserver 127.0.0.1\n", &Dns::default(), false)), ["8.8.8.8", "8.8.4.4"]);
        assert_eq!(servers(&resolv_conf("", &Dns::default(), true)).len(), 4);
    }

    #[test]
    fn what_was_asked_for_is_used_as_given() {
        let dns = Dns {
            servers: vec!["1.1.1.1".parse().unwrap(), "::1".parse().unwrap()],
            search: vec!["foo.bar".into()],
            options: vec!["ndots:3".into()],
        };
        let text = resolv_conf("nameserver 10.0.0.53\nsearch x\noptions edns0\nsortlist 1.2.3.4\n", &dns, true);
        assert_eq!(servers(&text), ["1.1.1.1", "::1"]);
        assert!(text.ends_with("search foo.bar\noptions ndots:3\nsortlist 1.2.3.4\n"), "{text}");
        let none = Dns { search: vec![".".into()], ..Dns::default() };
        assert!(!resolv_conf("nameserver 10.0.0.53\nsearch x\n", &none, true).contains("search"));
    }

    #[test]
    fn host_mode_has_the_hosts_own_file_unless_told_otherwise() {
        assert_eq!(resolv_conf_host_mode("nameserver 127.0.0.53\n", &Dns::default()), "nameserver 127.0.0.53\n");
        let dns = Dns { servers: vec!["9.9.9.9".parse().unwrap()], ..Dns::default() };
        assert_eq!(servers(&resolv_conf_host_mode("nameserver 127.0.0.53\n", &dns)), ["9.9.9.9"]);
    }
}
