//! What happens to networks when the daemon dies, others change the firewall, or links vanish.

use crate::world::{Machine, PATIENCE, SILENCE, ask_from, eventually};
use rorqual_network::Config;
use std::{net::UdpSocket, os::fd::AsFd};

#[test]
fn ports_go_on_without_a_daemon_and_the_next_one_cleans_up() {
    let machine = Machine::new();
    let first = machine.open(Config::default());
    let web = machine.start(&first, &[("80/tcp", "", "8080")]);
    web.namespace.serve_tcp("0.0.0.0:80", "web");
    let lost = machine.start(&first, &[("80/tcp", "", "8081")]);
    lost.namespace.serve_tcp("0.0.0.0:80", "lost");
    drop(first);
    assert!(machine.outside.get("198.51.100.1:8080").is_ok());

    let second = machine.open(Config::default());
    // Before anyone has said who lives, everything goes on.
    assert!(machine.outside.get("198.51.100.1:8080").is_ok());
    assert!(machine.outside.get("198.51.100.1:8081").is_ok());
    let missing = machine.host.run(|| second.reconcile(std::slice::from_ref(&web.endpoint))).unwrap();
    assert!(missing.is_empty());
    assert!(machine.outside.get("198.51.100.1:8080").is_ok());
    assert!(machine.outside.get_within("198.51.100.1:8081", SILENCE).is_err());
    let links = machine.host.ip("-o link");
    assert!(links.contains(&web.endpoint.host_link) && !links.contains(&lost.endpoint.host_link), "{links}");
    // What lives is not given to others.
    assert!(machine.lease(&second, &[("80/tcp", "", "8080")]).is_err());
    let next = machine.start(&second, &[("80/tcp", "", "8081")]);
    assert_ne!(next.endpoint.ipv4, web.endpoint.ipv4);
    machine.release(&second, &next);
    machine.release(&second, &web);
    machine.shutdown(&second);
    assert_eq!(machine.residue(), "");
}

#[test]
fn a_link_that_was_removed_is_made_again() {
    let machine = Machine::new();
    let first = machine.open(Config::default());
    let web = machine.start(&first, &[("80/tcp", "", "8080")]);
    web.namespace.serve_tcp("0.0.0.0:80", "web");
    drop(first);
    machine.host.ip(&format!("link del {}", web.endpoint.host_link));
    machine.host.ip("link del rorqual0");
    let second = machine.open(Config::default());
    let missing = machine.host.run(|| second.reconcile(std::slice::from_ref(&web.endpoint))).unwrap();
    assert_eq!(missing, std::slice::from_ref(&web.endpoint.container));
    machine.host.run(|| second.restore(&web.endpoint, web.namespace.0.as_fd())).unwrap();
    assert!(machine.outside.get("198.51.100.1:8080").is_ok());
    machine.release(&second, &web);
    machine.shutdown(&second);
}

#[test]
fn a_namespace_that_outlives_its_endpoint_loses_its_link() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    let web = machine.start(&networks, &[]);
    machine.release(&networks, &web);
    eventually("the link goes", || !machine.host.ip("-o link").contains(&web.endpoint.host_link));
    machine.shutdown(&networks);
}

#[test]
fn a_closed_forward_chain_is_opened_for_the_bridge_alone_and_closed_again() {
    let machine = Machine::new();
    for iptables in ["iptables-nft", "ip6tables-nft"] {
        machine.host.output(iptables, "-P FORWARD DROP");
    }
    let networks = machine.open(Config::default());
    machine.outside.serve_tcp("[::]:7", "world");
    let web = machine.start(&networks, &[("80/tcp", "", "8080")]);
    web.namespace.serve_tcp("[::]:80", "web");
    let check = || {
        assert!(machine.outside.get("198.51.100.1:8080").is_ok());
        assert!(machine.outside.get("[2001:db8::1]:8080").is_ok());
        assert!(web.namespace.get("198.51.100.2:7").is_ok());
        assert!(web.namespace.get("[2001:db8::2]:7").is_ok());
    };
    check();
    let shown = machine.host.output("iptables-nft", "-S FORWARD");
    assert!(shown.contains("-i rorqual0") && shown.contains("-o rorqual0"), "{shown}");
    assert!(shown.contains("rorqual:rorqual0"), "{shown}");
    // A reload of the host's rules takes ours away; they come back within a second.
    for iptables in ["iptables-nft", "ip6tables-nft"] {
        machine.host.output(iptables, "-F FORWARD");
    }
    eventually("the rules come back", || machine.host.output("ip6tables-nft", "-S FORWARD").contains("-o rorqual0"));
    check();
    machine.release(&networks, &web);
    machine.shutdown(&networks);
    assert!(!machine.host.output("iptables-nft", "-S").contains("rorqual"));
    assert_eq!(machine.residue(), "");
}

#[test]
fn flushing_the_hosts_rules_does_not_take_ours() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    let web = machine.start(&networks, &[("80/tcp", "", "8080")]);
    web.namespace.serve_tcp("0.0.0.0:80", "web");
    machine.host.output("nft", "flush ruleset");
    eventually("the port is open", || machine.outside.get_within("198.51.100.1:8080", SILENCE).is_ok());
    // While no daemon holds the table it can be flushed; the next one makes it again.
    drop(networks);
    machine.host.output("nft", "flush ruleset");
    let networks = machine.open(Config::default());
    machine.host.run(|| networks.reconcile(std::slice::from_ref(&web.endpoint))).unwrap();
    assert!(machine.outside.get("198.51.100.1:8080").is_ok());
    machine.release(&networks, &web);
    machine.shutdown(&networks);
    assert_eq!(machine.residue(), "");
}

#[test]
fn two_daemons_share_a_machine() {
    let machine = Machine::new();
    let one = machine.open(Config::default());
    let (two, _directory) = machine.open_other(Config { bridge: "rorqual1".into(), ..Config::default() });
    let a = machine.start(&one, &[("80/tcp", "", "8080")]);
    let b = machine.start(&two, &[("80/tcp", "", "8081")]);
    a.namespace.serve_tcp("0.0.0.0:80", "a");
    b.namespace.serve_tcp("0.0.0.0:80", "b");
    assert!(machine.outside.get("198.51.100.1:8080").unwrap().starts_with('a'));
    assert!(machine.outside.get("198.51.100.1:8081").unwrap().starts_with('b'));
    assert_ne!(a.endpoint.ipv4.unwrap().trunc(), b.endpoint.ipv4.unwrap().trunc());
    // One daemon's containers reach the other's by what is published only.
    assert!(a.namespace.get("198.51.100.1:8081").unwrap().starts_with('b'));
    let direct = format!("{}:80", b.endpoint.ipv4.unwrap().addr());
    assert!(a.namespace.get_within(&direct, SILENCE).is_err());
    // A port of one is refused by the other.
    let error = machine.lease(&two, &[("80/tcp", "", "8080")]).unwrap_err().to_string();
    assert!(error.ends_with("address already in use"), "{error}");
    machine.release(&one, &a);
    machine.shutdown(&one);
    assert!(machine.outside.get("198.51.100.1:8081").unwrap().starts_with('b'));
    machine.release(&two, &b);
    machine.shutdown(&two);
    assert_eq!(machine.residue(), "");
}

#[test]
fn a_udp_flow_follows_the_port_to_its_new_container() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    let client = machine.outside.run(|| UdpSocket::bind("0.0.0.0:4000").unwrap());
    // The flow exists before anything is published.
    assert!(ask_from(&client, "198.51.100.1:5353", SILENCE).is_err());
    let mut last = None;
    for name in ["one", "two"] {
        if let Some(container) = last.take() {
            machine.release(&networks, &container);
        }
        let container = machine.start(&networks, &[("53/udp", "", "5353")]);
        container.namespace.serve_udp("0.0.0.0:53", name);
        // The one before still answers here, as no dead one would, until its flow is forgotten.
        let expected = Ok(format!("{name} 198.51.100.2"));
        eventually(name, || ask_from(&client, "198.51.100.1:5353", PATIENCE) == expected);
        last = Some(container);
    }
    machine.release(&networks, &last.unwrap());
    machine.shutdown(&networks);
}

#[test]
fn the_subnet_stays_and_moves_away_from_new_routes_only_when_the_bridge_is_gone() {
    let machine = Machine::new();
    machine.host.ip("route add 172.17.0.0/16 via 198.51.100.2");
    let subnet = |config: Config| {
        let networks = machine.open(config);
        let pools = networks.inspect("bridge").unwrap().pools;
        machine.shutdown(&networks);
        pools.iter().map(|pool| pool.subnet.to_string()).collect::<Vec<_>>()
    };
    let first = subnet(Config::default());
    assert_eq!(first[0], "172.18.0.0/16");
    machine.host.ip("route del 172.17.0.0/16");
    assert_eq!(subnet(Config::default()), first);
    machine.host.ip("route add 172.18.7.0/24 via 198.51.100.2");
    assert_eq!(subnet(Config::default())[0], "172.17.0.0/16");
    let told = Config {
        bip: Some("10.9.0.1/24".parse().unwrap()),
        bip6: Some("fd09::1/64".parse().unwrap()),
        ..Config::default()
    };
    assert_eq!(subnet(told), ["10.9.0.0/24", "fd09::/64"]);
    let fixed = Config {
        fixed_cidr: Some("10.8.0.0/28".parse().unwrap()),
        fixed_cidr_v6: Some("fd08::/80".parse().unwrap()),
        ..Config::default()
    };
    assert_eq!(subnet(fixed.clone()), ["10.8.0.0/28", "fd08::/80"]);
    let elsewhere = Config { bip: Some("10.9.0.1/24".parse().unwrap()), ..fixed };
    let error = machine.try_open_other(elsewhere).unwrap_err().to_string();
    assert_eq!(error, "fixed-cidr 10.8.0.0/28 is no part of the bridge's subnet 10.9.0.0/24");
}

#[test]
fn many_at_once_leave_nothing() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let container = machine.start(&networks, &[("80/tcp", "", ""), ("53/udp", "", "")]);
                    machine.release(&networks, &container);
                }
            });
        }
    });
    assert!(networks.inspect("bridge").unwrap().endpoints.is_empty());
    assert!(!machine.host.output("nft", "list ruleset").contains("elements"));
    machine.shutdown(&networks);
    assert_eq!(machine.residue(), "");
}

#[test]
fn a_bridge_has_one_daemon() {
    let machine = Machine::new();
    let networks = machine.open(Config::default());
    let error = machine.try_open_other(Config::default()).unwrap_err().to_string();
    assert!(error.starts_with("bridge rorqual0 belongs to another daemon that runs"), "{error}");
    machine.shutdown(&networks);
    machine.host.ip("link add taken0 type veth");
    let taken = Config { bridge: "taken0".into(), ..Config::default() };
    let error = machine.try_open_other(taken).unwrap_err().to_string();
    assert_eq!(error, "link taken0 exists and is no bridge; choose another name with --bridge");
}

#[test]
fn a_bridge_of_the_operator_keeps_its_address_and_stays() {
    let machine = Machine::new();
    machine.host.ip("link add br9 type bridge");
    machine.host.ip("addr add 10.77.0.1/24 dev br9");
    let networks = machine.open(Config { bridge: "br9".into(), ..Config::default() });
    let web = machine.start(&networks, &[("80/tcp", "", "8080")]);
    web.namespace.serve_tcp("0.0.0.0:80", "web");
    assert_eq!(web.endpoint.ipv4.unwrap().to_string(), "10.77.0.2/24");
    assert!(machine.outside.get("198.51.100.1:8080").is_ok());
    machine.release(&networks, &web);
    machine.shutdown(&networks);
    assert!(machine.host.ip("-o addr show br9").contains("10.77.0.1/24"));
}

#[test]
fn forwarding_we_turned_on_is_for_bridges() {
    let machine = Machine::new();
    machine.host.output("sysctl", "-qw net.ipv4.ip_forward=0");
    machine.host.ip("link add lan0 type veth peer name lan1");
    machine.host.ip("addr add 10.66.0.1/24 dev lan0");
    machine.host.ip("link set lan0 up");
    machine.host.ip("link set lan1 up");
    let networks = machine.open(Config::default());
    assert_eq!(machine.host.output("sysctl", "-n net.ipv4.ip_forward").trim(), "1");
    assert!(machine.host.output("nft", "list chain inet rorqual forward").contains("iifkind != \"bridge\""));
    machine.shutdown(&networks);
    // Somebody else's forwarding is not ours to close.
    let other = Machine::new();
    other.host.output("sysctl", "-qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let networks = other.open(Config::default());
    assert!(!other.host.output("nft", "list chain inet rorqual forward").contains("iifkind"));
    other.shutdown(&networks);
}
