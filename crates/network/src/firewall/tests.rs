use super::*;
use crate::{MacAddress, Protocol, PublishedPort};
use rorqual_types::ContainerId;

fn plan() -> Plan {
    Plan {
        bridge: "rorqual0".into(),
        subnet_v4: Some("172.17.0.1/16".parse().unwrap()),
        subnet_v6: Some("fd00::1/64".parse().unwrap()),
        icc: true,
        masquerade: true,
        direct_routing: false,
        only_bridges_forward: false,
    }
}

fn endpoint(ports: &[(&str, u16)]) -> Endpoint {
    Endpoint {
        id: String::new(),
        container: ContainerId::from_random([7; 32]),
        network: "bridge".into(),
        network_id: String::new(),
        host_link: "veth0".into(),
        interface: "eth0".into(),
        mac: MacAddress::of_ip([172, 17, 0, 2].into()),
        ipv4: Some("172.17.0.2/16".parse().unwrap()),
        gateway_v4: None,
        ipv6: Some("fd00::2/64".parse().unwrap()),
        gateway_v6: None,
        mtu: 1500,
        ports: ports
            .iter()
            .map(|(ip, port)| PublishedPort {
                container_port: 80,
                protocol: Protocol::Tcp,
                host_ip: ip.parse().unwrap(),
                host_port: *port,
            })
            .collect(),
    }
}

#[test]
fn a_port_is_one_element_of_the_map_of_its_family_and_address() {
    let names: Vec<&str> = elements(&plan(), &endpoint(&[("0.0.0.0", 1), ("::", 1), ("192.0.2.1", 2), ("::1", 3)]))
        .iter()
        .map(|(map, _)| *map)
        .collect();
    assert_eq!(names, ["publish4", "publish4_any", "publish6", "publish6_any"]);
}

#[test]
fn an_element_has_each_part_on_a_register_of_its_own() {
    let placed = elements(&plan(), &endpoint(&[("192.0.2.1", 8080)]));
    assert_eq!(placed[0].1.key(), [192, 0, 2, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    assert_eq!(placed[0].1.data(), [172, 17, 0, 2, 0, 80, 0, 0]);
}

#[test]
fn a_family_the_operator_filters_has_no_rules_of_ours() {
    let plan = Plan { subnet_v4: None, ..plan() };
    assert!(elements(&plan, &endpoint(&[("0.0.0.0", 1)])).is_empty());
    assert!(!rules(&plan).iter().any(|(chain, _)| *chain == "raw"));
}

#[test]
fn what_goes_to_containers_ends_in_a_drop() {
    for icc in [true, false] {
        let rules = rules(&Plan { icc, ..plan() });
        let last = rules.iter().rev().find(|(chain, _)| *chain == "to_containers").unwrap();
        assert_eq!(last.1, [E::Counter, E::Verdict(Verdict::Drop)]);
        let neighbours =
            |rule: &Vec<E>| rule.contains(&E::Load(Field::InLink, 0)) && rule.contains(&E::Verdict(Verdict::Accept));
        assert_eq!(rules.iter().any(|(chain, rule)| *chain == "to_containers" && neighbours(rule)), icc);
    }
}

#[test]
fn another_bridge_has_another_table() {
    assert_eq!(plan().table_name(), "rorqual");
    assert_eq!(Plan { bridge: "br1".into(), ..plan() }.table_name(), "rorqual-br1");
}

#[test]
#[allow(deprecated, reason = "rustix's unshare is safe for a network namespace: it shares no memory")]
fn a_table_the_kernel_cannot_protect_is_seen_to_be_changed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: namespaces need root");
        return;
    }
    let work = || {
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
        let mut firewall = Firewall::open(plan()).unwrap();
        firewall.owned = false;
        firewall.replace(elements(&plan(), &endpoint(&[("0.0.0.0", 1)]))).unwrap();
        assert!(firewall.is_whole().unwrap());
        let mut other = Socket::open(rorqual_netlink::Protocol::Netfilter).unwrap();
        let table = Table { family: Family::Inet, name: "rorqual" };
        other.transaction(vec![nft::flush_chain(table, "raw")]).unwrap();
        assert!(!firewall.is_whole().unwrap());
        firewall.render().unwrap();
        assert!(firewall.is_whole().unwrap());
        other.transaction(vec![nft::delete_table(table)]).unwrap();
        assert!(!firewall.is_whole().unwrap());
        // A change of one port finds the table gone, and makes all of it again.
        firewall.add(elements(&plan(), &endpoint(&[("0.0.0.0", 2)]))).unwrap();
        assert!(firewall.is_whole().unwrap());
        assert_eq!(nft::list_elements(&mut other, &table, MAPS[1]).unwrap().len(), 2);
        firewall.remove(&elements(&plan(), &endpoint(&[("0.0.0.0", 1)]))).unwrap();
        assert_eq!(nft::list_elements(&mut other, &table, MAPS[1]).unwrap().len(), 1);
    };
    std::thread::spawn(work).join().unwrap();
}
