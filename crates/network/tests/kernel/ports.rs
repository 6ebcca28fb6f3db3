//! Published ports, from everywhere they must and must not be reached.

use crate::world::{Machine, PATIENCE, SILENCE};
use rorqual_network::Config;
use std::net::IpAddr;

#[test]
fn a_published_port_is_reached_from_everywhere() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    let web = machine.start(&networks, &[("80/tcp", "", "8080"), ("53/udp", "", "5353")]);
    web.namespace.serve_tcp("[::]:80", "web");
    web.namespace.serve_udp("0.0.0.0:53", "dns");
    let client = machine.start(&networks, &[]);
    let own = web.endpoint.ipv4.unwrap().addr();

    // The client's real address is seen, except where the answer could not find its way.
    assert_eq!(machine.outside.get("198.51.100.1:8080"), Ok("web ::ffff:198.51.100.2".into()));
    assert_eq!(machine.outside.get("[2001:db8::1]:8080"), Ok("web 2001:db8::2".into()));
    assert_eq!(machine.host.get("198.51.100.1:8080"), Ok("web ::ffff:198.51.100.1".into()));
    assert_eq!(machine.host.get("192.0.2.1:8080"), Ok("web ::ffff:192.0.2.1".into()));
    assert_eq!(machine.host.get("127.0.0.1:8080"), Ok("web ::ffff:172.17.0.1".into()));
    assert_eq!(machine.host.get("127.9.9.9:8080"), Ok("web ::ffff:172.17.0.1".into()));
    assert_eq!(machine.host.get("172.17.0.1:8080"), Ok("web ::ffff:172.17.0.1".into()));
    assert_eq!(machine.host.get("[2001:db8::1]:8080").unwrap().split(' ').next(), Some("web"));
    // The one address that is not: it is refused at once, so that clients of `localhost` go on to 127.0.0.1.
    assert_eq!(machine.host.get("[::1]:8080"), Err(std::io::ErrorKind::ConnectionRefused));
    // A neighbour, directly and by the host; itself, by the host.
    let neighbour = client.endpoint.ipv4.unwrap().addr();
    assert_eq!(client.namespace.get(&format!("{own}:80")), Ok(format!("web ::ffff:{neighbour}")));
    assert_eq!(client.namespace.get("198.51.100.1:8080"), Ok("web ::ffff:172.17.0.1".into()));
    assert_eq!(client.namespace.get("172.17.0.1:8080"), Ok("web ::ffff:172.17.0.1".into()));
    assert_eq!(client.namespace.get("[2001:db8::1]:8080").unwrap().split(' ').next(), Some("web"));
    assert_eq!(web.namespace.get("198.51.100.1:8080"), Ok("web ::ffff:172.17.0.1".into()));
    // UDP.
    assert_eq!(machine.outside.ask("198.51.100.1:5353", PATIENCE), Ok("dns 198.51.100.2".into()));
    assert_eq!(machine.host.ask("127.0.0.1:5353", PATIENCE), Ok("dns 172.17.0.1".into()));
    assert_eq!(client.namespace.ask("198.51.100.1:5353", PATIENCE), Ok("dns 172.17.0.1".into()));

    machine.release(&networks, &web);
    assert!(machine.outside.get_within("198.51.100.1:8080", SILENCE).is_err());
    assert!(machine.host.get_within("127.0.0.1:8080", SILENCE).is_err());
    machine.release(&networks, &client);
    machine.shutdown(&networks);
    assert_eq!(machine.residue(), "");
}

#[test]
fn a_port_is_open_only_on_the_address_asked_for() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    let web = machine.start(&networks, &[("80/tcp", "127.0.0.1", "8080"), ("80/tcp", "192.0.2.1", "8081")]);
    web.namespace.serve_tcp("0.0.0.0:80", "web");
    web.namespace.serve_tcp("0.0.0.0:81", "secret");
    assert!(machine.host.get("127.0.0.1:8080").is_ok());
    assert!(machine.host.get("192.0.2.1:8081").is_ok());
    for closed in ["198.51.100.1:8080", "192.0.2.1:8080", "198.51.100.1:8081", "127.0.0.1:8081"] {
        assert!(machine.host.get_within(closed, SILENCE).is_err(), "{closed}");
    }
    // From outside: the loopback port is closed even to who sends to 127.0.0.1 on the wire, and no address of a container
    // is reached directly, published or not.
    machine.outside.output("sysctl", "-qw net.ipv4.conf.all.route_localnet=1");
    machine.outside.ip("route add 192.0.2.1/32 via 198.51.100.1");
    machine.outside.ip("route add 172.17.0.0/16 via 198.51.100.1");
    assert_eq!(machine.outside.get("192.0.2.1:8081"), Ok("web 198.51.100.2".into()));
    let own = web.endpoint.ipv4.unwrap().addr();
    for closed in ["198.51.100.1:8080".to_owned(), format!("{own}:80"), format!("{own}:81")] {
        assert!(machine.outside.get_within(&closed, SILENCE).is_err(), "{closed}");
    }
    machine.outside.ip("addr del 127.0.0.1/8 dev lo");
    machine.outside.ip("route add 127.0.0.1/32 via 198.51.100.1 src 198.51.100.2");
    assert!(machine.outside.get_within("127.0.0.1:8080", SILENCE).is_err());
    // Nor does a container reach the host's loopback through the bridge, which accepts such packets as answers.
    machine.host.serve_tcp("127.0.0.1:7777", "host");
    web.namespace.output("sysctl", "-qw net.ipv4.conf.all.route_localnet=1");
    web.namespace.ip("addr del 127.0.0.1/8 dev lo");
    web.namespace.ip(&format!("route add 127.0.0.1/32 via 172.17.0.1 src {own}"));
    assert!(web.namespace.get_within("127.0.0.1:7777", SILENCE).is_err());
    machine.release(&networks, &web);
    machine.shutdown(&networks);
}

#[test]
fn containers_reach_the_world_by_the_hosts_address() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    machine.outside.serve_tcp("[::]:7", "world");
    let container = machine.start(&networks, &[]);
    assert_eq!(container.namespace.get("198.51.100.2:7"), Ok("world ::ffff:198.51.100.1".into()));
    assert_eq!(container.namespace.get("[2001:db8::2]:7"), Ok("world 2001:db8::1".into()));
    machine.host.serve_tcp("[::]:7", "host");
    assert!(container.namespace.get("172.17.0.1:7").unwrap().starts_with("host"));
    machine.release(&networks, &container);
    machine.shutdown(&networks);
}

#[test]
fn a_container_has_an_ipv6_default_route_only_where_the_host_has_one() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    let default = |container: &crate::world::Container| container.namespace.ip("-6 route show default");
    let with = machine.start(&networks, &[]);
    assert!(default(&with).contains("via fd"));
    machine.host.ip("-6 route del default");
    let without = machine.start(&networks, &[]);
    assert_eq!(default(&without), "");
    assert!(without.endpoint.ipv6.is_some());
    machine.release(&networks, &with);
    machine.release(&networks, &without);
    machine.shutdown(&networks);
}

#[test]
fn containers_are_kept_apart_where_asked() {
    let machine = Machine::new();
    let networks = machine.open(Config { icc: false, ..Config::default() });
    let (a, b) = (machine.start(&networks, &[]), machine.start(&networks, &[("80/tcp", "", "8080")]));
    b.namespace.serve_tcp("0.0.0.0:80", "b");
    let direct = format!("{}:80", b.endpoint.ipv4.unwrap().addr());
    assert!(a.namespace.get_within(&direct, SILENCE).is_err());
    assert!(machine.outside.get("198.51.100.1:8080").is_ok());
    machine.release(&networks, &a);
    machine.release(&networks, &b);
    machine.shutdown(&networks);
}

#[test]
fn conflicts_are_told_in_dockers_words() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    let web = machine.start(&networks, &[("80/tcp", "", "8080")]);
    let error = |ports: &[(&str, &str, &str)]| machine.lease(&networks, ports).unwrap_err().to_string();
    let taken = error(&[("80/tcp", "127.0.0.1", "8080")]);
    assert!(taken.starts_with("driver failed programming external connectivity on endpoint web ("), "{taken}");
    assert!(taken.ends_with("): Bind for 0.0.0.0:8080 failed: port is already allocated"), "{taken}");
    let listener = machine.host.run(|| std::net::TcpListener::bind("[::]:8090").unwrap());
    let busy = error(&[("80/tcp", "", "8090")]);
    assert!(busy.contains("): failed to bind host port for 0.0.0.0:8090:172.17.0."), "{busy}");
    assert!(busy.ends_with(":80/tcp: address already in use"), "{busy}");
    drop(listener);
    assert!(error(&[("80/tcp", "::1", "8090")]).contains("not supported yet: publishing a port on ::1"));
    let absent = error(&[("80/tcp", "203.0.113.9", "8090")]);
    assert!(absent.ends_with(":80/tcp: cannot assign requested address"), "{absent}");
    // Nothing of the failures is left: the next container has the next address and both ports.
    let next = machine.start(&networks, &[("80/tcp", "", "8090"), ("81/tcp", "", "")]);
    let ip = IpAddr::V4(next.endpoint.ipv4.unwrap().addr());
    assert!(
        networks.inspect("bridge").unwrap().endpoints.iter().any(|e| e.ipv4.map(|n| IpAddr::V4(n.addr())) == Some(ip))
    );
    assert_eq!(next.endpoint.ports.len(), 4);
    machine.release(&networks, &next);
    machine.release(&networks, &web);
    machine.shutdown(&networks);
    assert_eq!(machine.residue(), "");
}
