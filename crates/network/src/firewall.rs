//! The table of the default bridge: rendered whole, changed by single map elements.
//!
//! One `inet` table per bridge, so that several daemons never meet. Published ports are elements of four maps (IPv4 and
//! IPv6, by address or for all of the host's own), so a packet costs two look-ups however many ports there are.

use crate::{Config, Endpoint};
use ipnet::{Ipv4Net, Ipv6Net};
use rorqual_netlink::{
    Message, Socket,
    nft::{
        self, Chain, ChainType, Direction, Element, Expression as E, Family, Field, Hook, Nat, RuleAt, SetSpec, Table,
        Type, Verdict,
    },
    socket,
};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv6Addr};

/// `NF_CT_STATE_ESTABLISHED | NF_CT_STATE_RELATED`.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// `IPS_DST_NAT`.
const DESTINATION_CHANGED: u32 = 1 << 5;
/// `RTN_LOCAL`.
const LOCAL_ADDRESS: u32 = 2;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

const PRIORITY_RAW: i32 = -300;
const PRIORITY_DNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SNAT: i32 = 100;

/// The maps of published ports.
pub(crate) const MAPS: [&str; 4] = ["publish4", "publish4_any", "publish6", "publish6_any"];
/// The sets of published container ports, kept where other hosts may reach those directly.
pub(crate) const DIRECT: [&str; 2] = ["direct4", "direct6"];

/// What the rules depend on.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) bridge: String,
    pub(crate) subnet_v4: Option<Ipv4Net>,
    pub(crate) subnet_v6: Option<Ipv6Net>,
    pub(crate) icc: bool,
    pub(crate) masquerade: bool,
    pub(crate) direct_routing: bool,
    /// We turned the host's forwarding on: only bridges may use it.
    pub(crate) only_bridges_forward: bool,
}

impl Plan {
    pub(crate) fn new(config: &Config, v4: Option<Ipv4Net>, v6: Option<Ipv6Net>, only_bridges_forward: bool) -> Self {
        Self {
            bridge: config.bridge.clone(),
            subnet_v4: v4.filter(|_| config.firewall_v4),
            subnet_v6: v6.filter(|_| config.firewall_v6),
            icc: config.icc,
            masquerade: config.masquerade,
            direct_routing: config.allow_direct_routing,
            only_bridges_forward,
        }
    }

    /// The name of the table: `rorqual`, or `rorqual-BRIDGE` for another bridge than the usual one.
    pub(crate) fn table_name(&self) -> String {
        if self.bridge == "rorqual0" { "rorqual".into() } else { format!("rorqual-{}", self.bridge) }
    }
}

/// One element and the map or set it belongs to.
pub(crate) type Placed = (&'static str, Element);

/// The elements that publish an endpoint's ports.
pub(crate) fn elements(plan: &Plan, endpoint: &Endpoint) -> Vec<Placed> {
    let mut placed = Vec::new();
    for port in &endpoint.ports {
        let protocol = [port.protocol.number()];
        let (host_port, container_port) = (port.host_port.to_be_bytes(), port.container_port.to_be_bytes());
        let key: [&[u8]; 2] = [&protocol, &host_port];
        match port.host_ip {
            IpAddr::V4(host) => {
                let Some(inside) = endpoint.ipv4.filter(|_| plan.subnet_v4.is_some()) else { continue };
                let inside = inside.addr().octets();
                let (by_address, any) = (&host.octets(), host.is_unspecified());
                placed.push(translation(any, [MAPS[0], MAPS[1]], by_address, key, &inside, &container_port));
                if plan.direct_routing {
                    placed.push((DIRECT[0], Element::new(&[&inside, &protocol, &container_port], &[])));
                }
            }
            IpAddr::V6(host) => {
                let Some(inside) = endpoint.ipv6.filter(|_| plan.subnet_v6.is_some()) else { continue };
                let inside = inside.addr().octets();
                let (by_address, any) = (&host.octets(), host.is_unspecified());
                placed.push(translation(any, [MAPS[2], MAPS[3]], by_address, key, &inside, &container_port));
                if plan.direct_routing {
                    placed.push((DIRECT[1], Element::new(&[&inside, &protocol, &container_port], &[])));
                }
            }
        }
    }
    // One container port may be published twice.
    placed.sort_by(|a, b| (a.0, a.1.key()).cmp(&(b.0, b.1.key())));
    placed.dedup();
    placed
}

fn translation(
    any: bool,
    maps: [&'static str; 2],
    host: &[u8],
    [protocol, host_port]: [&[u8]; 2],
    inside: &[u8],
    container_port: &[u8],
) -> Placed {
    let data = [inside, container_port];
    if any {
        (maps[1], Element::new(&[protocol, host_port], &data))
    } else {
        (maps[0], Element::new(&[host, protocol, host_port], &data))
    }
}

/// A rule under construction; registers 0 to 7 of four bytes are used.
#[derive(Default)]
struct Rule(Vec<E>);

impl Rule {
    fn load_is(mut self, field: Field, value: Vec<u8>, equal: bool) -> Self {
        self.0.extend([E::Load(field, 0), E::Compare(0, equal, value)]);
        self
    }

    fn entering(self, name: &str, equal: bool) -> Self {
        self.load_is(Field::InLink, E::link_name(name), equal)
    }

    fn leaving(self, name: &str, equal: bool) -> Self {
        self.load_is(Field::OutLink, E::link_name(name), equal)
    }

    fn network(self, protocol: u8) -> Self {
        self.load_is(Field::NetworkProtocol, vec![protocol], true)
    }

    fn within(mut self, field: Field, mask: Vec<u8>, network: Vec<u8>) -> Self {
        self.0.extend([E::Load(field, 0), E::Mask(0, mask), E::Compare(0, true, network)]);
        self
    }

    fn source_v4(self, net: Ipv4Net) -> Self {
        let (mask, network) = (net.netmask().octets().to_vec(), net.network().octets().to_vec());
        self.network(NFPROTO_IPV4).within(Field::Ipv4Source, mask, network)
    }

    fn source_v6(self, net: Ipv6Net) -> Self {
        let (mask, network) = (net.netmask().octets().to_vec(), net.network().octets().to_vec());
        self.network(NFPROTO_IPV6).within(Field::Ipv6Source, mask, network)
    }

    fn loopback(self, field: Field) -> Self {
        self.network(NFPROTO_IPV4).within(field, vec![255, 0, 0, 0], vec![127, 0, 0, 0])
    }

    /// Any of `bits` is set in a field that the kernel keeps in the machine's byte order.
    fn any_bit(mut self, field: Field, bits: u32) -> Self {
        let mask = bits.to_ne_bytes().to_vec();
        self.0.extend([E::Load(field, 0), E::Mask(0, mask), E::Compare(0, false, vec![0; 4])]);
        self
    }

    fn for_this_host(self) -> Self {
        self.load_is(Field::DestinationKind, LOCAL_ADDRESS.to_ne_bytes().to_vec(), true)
    }

    fn then(mut self, verdict: Verdict) -> Self {
        self.0.extend([E::Counter, E::Verdict(verdict)]);
        self
    }

    fn masquerade(mut self) -> Self {
        self.0.extend([E::Counter, E::Masquerade]);
        self
    }
}

/// A rule that translates the destination by a map: of address, protocol and port, or of protocol and port alone.
fn publish_rule(ipv6: bool, any: bool) -> Vec<E> {
    let (network, field, words, map) = if ipv6 {
        (NFPROTO_IPV6, Field::Ipv6Destination, 4, if any { MAPS[3] } else { MAPS[2] })
    } else {
        (NFPROTO_IPV4, Field::Ipv4Destination, 1, if any { MAPS[1] } else { MAPS[0] })
    };
    let mut rule = Rule::default().network(network).0;
    let at = if any { 0 } else { words };
    if !any {
        rule.push(E::Load(field, 0));
    }
    rule.extend([E::Load(Field::Transport, at), E::Load(Field::DestinationPort, at + 1)]);
    rule.push(E::Map(0, map.into(), 0));
    rule.push(E::Nat(Nat { direction: Direction::Destination, ipv6, address: 0, port: words }));
    rule
}

/// A rule that accepts what goes to a published port of a container directly.
fn direct_rule(ipv6: bool) -> Vec<E> {
    let (network, field, words, set) = if ipv6 {
        (NFPROTO_IPV6, Field::Ipv6Destination, 4, DIRECT[1])
    } else {
        (NFPROTO_IPV4, Field::Ipv4Destination, 1, DIRECT[0])
    };
    let mut rule = Rule::default().network(network).0;
    rule.extend([
        E::Load(field, 0),
        E::Load(Field::Transport, words),
        E::Load(Field::DestinationPort, words + 1),
        E::InSet(0, true, set.into()),
        E::Verdict(Verdict::Accept),
    ]);
    rule
}

/// The rules of every chain, in order.
fn rules(plan: &Plan) -> Vec<(&'static str, Vec<E>)> {
    let bridge = plan.bridge.as_str();
    let rule = Rule::default;
    let mut rules = Vec::new();
    let mut add = |chain: &'static str, rule: Rule| rules.push((chain, rule.0));
    if plan.subnet_v4.is_some() {
        // The bridge accepts packets for 127.0.0.0/8, so that answers to a published port's local clients come through.
        // A packet that says so on the wire is a container's attempt at the host's loopback.
        add("raw", rule().entering(bridge, true).loopback(Field::Ipv4Destination).then(Verdict::Drop));
        // What is published on loopback is for this host: its clients come by `output`, never by a wire.
        add("prerouting", rule().loopback(Field::Ipv4Destination).then(Verdict::Return));
    }
    if plan.subnet_v6.is_some() {
        // The kernel lets nothing from ::1 leave by another link, so translating it would only make clients wait:
        // untranslated they are refused at once, and try 127.0.0.1.
        let own = Ipv6Addr::LOCALHOST.octets().to_vec();
        add("output", rule().network(NFPROTO_IPV6).load_is(Field::Ipv6Destination, own, true).then(Verdict::Return));
    }
    add("prerouting", rule().for_this_host().then(Verdict::Jump("publish".into())));
    add("output", rule().for_this_host().then(Verdict::Jump("publish".into())));
    for ipv6 in [false, true] {
        if if ipv6 { plan.subnet_v6.is_some() } else { plan.subnet_v4.is_some() } {
            add("publish", Rule(publish_rule(ipv6, false)));
            add("publish", Rule(publish_rule(ipv6, true)));
        }
    }
    add("forward", rule().leaving(bridge, true).then(Verdict::Jump("to_containers".into())));
    if plan.only_bridges_forward {
        let kind = || E::link_name("bridge");
        let both = rule().load_is(Field::InKind, kind(), false).load_is(Field::OutKind, kind(), false);
        add("forward", both.then(Verdict::Drop));
    }
    for (subnet, network) in [(plan.subnet_v4.is_some(), NFPROTO_IPV4), (plan.subnet_v6.is_some(), NFPROTO_IPV6)] {
        if !subnet {
            // `--iptables=false` or `--ip6tables=false`: the operator filters this family.
            add("to_containers", rule().network(network).then(Verdict::Accept));
        }
    }
    add("to_containers", rule().any_bit(Field::ConnectionState, ESTABLISHED_OR_RELATED).then(Verdict::Accept));
    add("to_containers", rule().any_bit(Field::ConnectionStatus, DESTINATION_CHANGED).then(Verdict::Accept));
    if plan.icc {
        add("to_containers", rule().entering(bridge, true).then(Verdict::Accept));
    }
    if plan.direct_routing {
        add("to_containers", Rule(direct_rule(false)));
        add("to_containers", Rule(direct_rule(true)));
    }
    add("to_containers", rule().then(Verdict::Drop));
    if let Some(net) = plan.subnet_v4 {
        // A client on this host that used 127.0.0.1: the container must have somebody to answer.
        add("postrouting", rule().leaving(bridge, true).loopback(Field::Ipv4Source).masquerade());
        // A container that used a port published by its neighbour, or by itself: the answer must come back through us.
        let hairpin = rule().leaving(bridge, true).source_v4(net);
        add("postrouting", hairpin.any_bit(Field::ConnectionStatus, DESTINATION_CHANGED).masquerade());
        if plan.masquerade {
            add("postrouting", rule().leaving(bridge, false).source_v4(net).masquerade());
        }
    }
    if let Some(net) = plan.subnet_v6 {
        let hairpin = rule().leaving(bridge, true).source_v6(net);
        add("postrouting", hairpin.any_bit(Field::ConnectionStatus, DESTINATION_CHANGED).masquerade());
        if plan.masquerade {
            add("postrouting", rule().leaving(bridge, false).source_v6(net).masquerade());
        }
    }
    rules
}

/// The requests that make the table anew with these elements: one transaction, whatever was there before.
fn render(plan: &Plan, table: Table<'_>, owned: bool, placed: &[Placed]) -> Vec<Message> {
    use {ChainType::*, Hook::*};
    let mut requests = vec![nft::add_table(table, owned), nft::delete_table(table), nft::add_table(table, owned)];
    const V4: &[Type] = &[Type::Ipv4, Type::Protocol, Type::Port];
    const V6: &[Type] = &[Type::Ipv6, Type::Protocol, Type::Port];
    const ANY: &[Type] = &[Type::Protocol, Type::Port];
    let sets: [(&str, &[Type], &[Type]); 6] = [
        (MAPS[0], V4, &[Type::Ipv4, Type::Port]),
        (MAPS[1], ANY, &[Type::Ipv4, Type::Port]),
        (MAPS[2], V6, &[Type::Ipv6, Type::Port]),
        (MAPS[3], ANY, &[Type::Ipv6, Type::Port]),
        (DIRECT[0], V4, &[]),
        (DIRECT[1], V6, &[]),
    ];
    for (id, (name, key, data)) in (1..).zip(sets) {
        requests.push(nft::add_set(&SetSpec { table, name, key, data }, id));
    }
    let chains = [
        ("raw", Some((Filter, Prerouting, PRIORITY_RAW))),
        ("publish", None),
        ("prerouting", Some((Nat, Prerouting, PRIORITY_DNAT))),
        ("output", Some((Nat, Output, PRIORITY_DNAT))),
        ("to_containers", None),
        ("forward", Some((Filter, Forward, PRIORITY_FILTER))),
        ("postrouting", Some((Nat, Postrouting, PRIORITY_SNAT))),
    ];
    requests.extend(chains.map(|(name, base)| nft::add_chain(&Chain { table, name, base })));
    requests.extend(rules(plan).iter().map(|(chain, rule)| nft::add_rule(table, chain, RuleAt::End, rule, &[])));
    requests.extend(grouped(placed).flat_map(|(set, elements)| nft::add_elements(table, set, &elements)));
    requests
}

/// Elements by the set they belong to.
fn grouped(placed: &[Placed]) -> impl Iterator<Item = (&'static str, Vec<Element>)> {
    MAPS.into_iter().chain(DIRECT).filter_map(|set| {
        let elements: Vec<Element> = placed.iter().filter(|(name, _)| *name == set).map(|(_, e)| e.clone()).collect();
        (!elements.is_empty()).then_some((set, elements))
    })
}

/// The firewall: the one socket that changes our table, and what the table is to hold.
#[derive(Debug)]
pub(crate) struct Firewall {
    pub(crate) socket: Socket,
    pub(crate) plan: Plan,
    table: String,
    /// The kernel can protect a table from others (Linux 6.9).
    owned: bool,
    /// The elements the table is to hold.
    placed: Vec<Placed>,
}

impl Firewall {
    pub(crate) fn open(plan: Plan) -> socket::Result<Self> {
        let socket = Socket::open(rorqual_netlink::Protocol::Netfilter)?;
        Ok(Self { socket, table: plan.table_name(), plan, owned: true, placed: Vec::new() })
    }

    fn table(&self) -> Table<'_> {
        Table { family: Family::Inet, name: &self.table }
    }

    /// Takes over the elements an earlier daemon left, so that what it published goes on until we know who lives.
    pub(crate) fn adopt_elements(&mut self) -> socket::Result<()> {
        let name = self.table.clone();
        let table = Table { family: Family::Inet, name: &name };
        for set in MAPS.into_iter().chain(DIRECT) {
            let listed = nft::list_elements(&mut self.socket, &table, set)?;
            self.placed.extend(listed.into_iter().map(|listed| (set, Element::from_listed(listed))));
        }
        Ok(())
    }

    /// Makes the whole table anew, in one transaction.
    pub(crate) fn render(&mut self) -> socket::Result<()> {
        let requests = render(&self.plan, self.table(), self.owned, &self.placed);
        match self.socket.transaction(requests) {
            // The kernel does not know the flags.
            Err(failure)
                if self.owned && matches!(failure.errno, Errno::OPNOTSUPP | Errno::INVAL) && failure.index < 3 =>
            {
                self.owned = false;
                let requests = render(&self.plan, self.table(), false, &self.placed);
                self.socket.transaction(requests)
            }
            other => other,
        }
    }

    /// Makes the table hold exactly `placed`.
    pub(crate) fn replace(&mut self, placed: Vec<Placed>) -> socket::Result<()> {
        self.placed = placed;
        self.render()
    }

    /// Adds elements; makes the whole table anew where it is not as we left it.
    pub(crate) fn add(&mut self, placed: Vec<Placed>) -> socket::Result<()> {
        if placed.is_empty() {
            return Ok(());
        }
        let table = self.table();
        let requests = grouped(&placed).flat_map(|(set, elements)| nft::add_elements(table, set, &elements)).collect();
        self.placed.extend(placed);
        match self.socket.transaction(requests) {
            Err(failure) if matches!(failure.errno, Errno::NOENT | Errno::EXIST) => self.render(),
            other => other,
        }
    }

    /// Removes elements; makes the whole table anew where it is not as we left it.
    pub(crate) fn remove(&mut self, placed: &[Placed]) -> socket::Result<()> {
        if placed.is_empty() {
            return Ok(());
        }
        self.placed.retain(|have| !placed.contains(have));
        let table = self.table();
        let requests =
            grouped(placed).flat_map(|(set, elements)| nft::delete_elements(table, set, &elements)).collect();
        match self.socket.transaction(requests) {
            Err(failure) if failure.errno == Errno::NOENT => self.render(),
            other => other,
        }
    }

    /// Whether the kernel still has our table with its chains.
    pub(crate) fn is_whole(&mut self) -> socket::Result<bool> {
        let chains = nft::list_chains(&mut self.socket, Family::Inet)?;
        let ours = chains.iter().filter(|chain| chain.table == self.table).count();
        if ours < 7 {
            return Ok(false);
        }
        // An owned table cannot be changed by others; in another one the rules may be gone.
        let name = self.table.clone();
        let count = |firewall: &mut Self, chain: &str| {
            nft::list_rules(&mut firewall.socket, Family::Inet, &name, chain).map(|rules| rules.len())
        };
        for chain in ["raw", "publish", "prerouting", "output", "to_containers", "forward", "postrouting"] {
            let wanted = rules(&self.plan).iter().filter(|(name, _)| *name == chain).count();
            if !self.owned && count(self, chain)? != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the table.
    pub(crate) fn destroy(&mut self) -> socket::Result<()> {
        let requests = vec![nft::add_table(self.table(), self.owned), nft::delete_table(self.table())];
        self.socket.transaction(requests)
    }
}

#[cfg(test)]
mod tests;
