//! Which subnets the default bridge takes: pure choice, given what the host already routes.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first subnet of IPv4 the host neither routes nor asks for names, in the order dockerd tries them:
/// 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and up.
pub(crate) fn choose_v4(routes: &[IpNet], servers: &[IpAddr]) -> Option<Ipv4Net> {
    let wide = (17..=31).map(|b| (Ipv4Addr::new(172, b, 0, 0), 16));
    let narrow = (0..=15).map(|c| (Ipv4Addr::new(192, 168, c * 16, 0), 20));
    let mut candidates = wide.chain(narrow).filter_map(|(ip, prefix)| Ipv4Net::new(ip, prefix).ok());
    candidates.find(|net| is_free(IpNet::V4(*net), routes, servers))
}

/// Whether nothing on the host is inside `net` or around it. A default route is around everything and does not count.
pub(crate) fn is_free(net: IpNet, routes: &[IpNet], servers: &[IpAddr]) -> bool {
    let overlaps = |route: &IpNet| route.prefix_len() > 0 && (route.contains(&net) || net.contains(route));
    !routes.iter().any(overlaps) && !servers.iter().any(|server| net.contains(server))
}

/// A unique local prefix (RFC 4193) of 64 bits from 40 random ones.
pub(crate) fn local_v6(random: [u8; 5]) -> Ipv6Net {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&random);
    Ipv6Net::new_assert(Ipv6Addr::from(octets), 64)
}

/// The first address of a subnet that a gateway may have.
pub(crate) fn first_host(net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(net) if net.prefix_len() >= 31 => IpAddr::V4(net.network()),
        IpNet::V4(net) => IpAddr::V4((net.network().to_bits() + 1).into()),
        IpNet::V6(net) if net.prefix_len() >= 127 => IpAddr::V6(net.network()),
        IpNet::V6(net) => IpAddr::V6((net.network().to_bits() + 1).into()),
    }
}

/// The lowest and highest address a container may have in `range`, a part of `subnet`: not the subnet's own, nor its
/// broadcast.
pub(crate) fn bounds(subnet: IpNet, range: IpNet) -> (IpAddr, IpAddr) {
    match (subnet, range) {
        (IpNet::V4(subnet), IpNet::V4(range)) => {
            let spare = u32::from(subnet.prefix_len() < 31);
            let first = range.network().to_bits().max(subnet.network().to_bits().saturating_add(spare));
            let last = range.broadcast().to_bits().min(subnet.broadcast().to_bits().saturating_sub(spare));
            (IpAddr::V4(first.into()), IpAddr::V4(last.into()))
        }
        (IpNet::V6(subnet), range) => {
            let range = if let IpNet::V6(range) = range { range } else { subnet };
            let first = range.network().to_bits().max(subnet.network().to_bits().saturating_add(1));
            (IpAddr::V6(first.into()), IpAddr::V6(range.broadcast()))
        }
        (subnet, _) => bounds(subnet, subnet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_bridge_moves_away_from_the_hosts_routes() {
        let choose = |routes: &[&str], servers: &[&str]| {
            let servers: Vec<IpAddr> = servers.iter().map(|s| s.parse().unwrap()).collect();
            choose_v4(&nets(routes), &servers).map(|net| net.to_string())
        };
        assert_eq!(choose(&["0.0.0.0/0"], &[]).as_deref(), Some("172.17.0.0/16"));
        assert_eq!(choose(&["172.17.5.0/24"], &[]).as_deref(), Some("172.18.0.0/16"));
        assert_eq!(choose(&["172.16.0.0/12"], &[]).as_deref(), Some("192.168.0.0/20"));
        assert_eq!(choose(&["172.16.0.0/12", "192.168.0.0/24"], &["192.168.17.1"]).as_deref(), Some("192.168.32.0/20"));
        assert_eq!(choose(&["172.16.0.0/12", "192.168.0.0/16"], &[]), None);
    }

    #[test]
    fn containers_get_neither_the_network_nor_the_broadcast_address() {
        let check = |subnet: &str, range: &str| {
            let (first, last) = bounds(subnet.parse().unwrap(), range.parse().unwrap());
            format!("{first} {last}")
        };
        assert_eq!(check("172.17.0.0/16", "172.17.0.0/16"), "172.17.0.1 172.17.255.254");
        assert_eq!(check("172.17.0.0/16", "172.17.4.0/24"), "172.17.4.0 172.17.4.255");
        assert_eq!(check("10.0.0.0/31", "10.0.0.0/31"), "10.0.0.0 10.0.0.1");
        assert_eq!(check("fd00::/64", "fd00::/120"), "fd00::1 fd00::ff");
    }
}
