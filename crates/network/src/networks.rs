//! The node's networks.

use crate::{
    AddressPool, Config, Driver, Endpoint, EndpointRequest, MacAddress, NetworkInfo,
    background::{Monitor, Reaper},
    bridge::{self, Addresses},
    firewall::{self, Firewall, Plan},
    foreign,
    pool::Pool,
    ports::{PortTable, Target},
    record::{Record, Records, random_id},
    subnet, sysctl,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_metadata::{Store, failpoint};
use rorqual_netlink::{Message, Protocol as NetlinkProtocol, Socket, address, link, message::ACK, route};
use rorqual_types::ContainerId;
use rustix::io::Errno;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The link inside the container.
const INTERFACE: &str = "eth0";
/// The number of loopback in every namespace.
const LOOPBACK: u32 = 1;
/// An address of the public IPv6 internet: a route to it is a default route.
const PUBLIC_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1));
/// How a link's host end is called, before digits of the endpoint's id.
const HOST_LINK_PREFIX: &str = "veth";

/// The node's networks. Calls block for microseconds to a few milliseconds; all are safe from several threads.
#[derive(Debug)]
pub struct Networks {
    shared: Arc<Shared>,
    config: Config,
    records: BTreeMap<&'static str, Record>,
    bridge: Option<Bridge>,
    threads: Mutex<Option<(Reaper, Monitor)>>,
}

/// The default bridge, once it is there.
#[derive(Clone, Copy, Debug)]
struct Bridge {
    index: u32,
    addresses: Addresses,
    ours: bool,
}

/// What the threads of the background share with callers. Locks are taken in this order, and none while holding a later
/// one: `state`, `route`, `firewall`.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) route: Mutex<Socket>,
    pub(crate) firewall: Mutex<Firewall>,
    pub(crate) bridge: String,
}

/// The leases.
#[derive(Debug)]
pub(crate) struct State {
    endpoints: BTreeMap<ContainerId, Endpoint>,
    v4: Pool,
    v6: Option<Pool>,
    ports: PortTable,
}

impl State {
    fn forget(&mut self, container: &ContainerId) -> Option<Endpoint> {
        let endpoint = self.endpoints.remove(container)?;
        self.give_back(&endpoint);
        Some(endpoint)
    }

    fn give_back(&mut self, endpoint: &Endpoint) {
        if let Some(net) = endpoint.ipv4 {
            self.v4.release(IpAddr::V4(net.addr()));
        }
        if let (Some(net), Some(pool)) = (endpoint.ipv6, &mut self.v6) {
            pool.release(IpAddr::V6(net.addr()));
        }
        self.ports.release_ports(&endpoint.container, &endpoint.ports);
    }
}

/// A lock whose holder never leaves it half changed, even by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Networks {
    /// Makes the default bridge, its rules and settings, or takes over what an earlier daemon left: ports it published go
    /// on. No container is known yet: call [`Networks::reconcile`] before the first lease.
    ///
    /// # Errors
    /// The bridge cannot be made: its name is taken by another kind of link, no subnet is free, the kernel refuses.
    pub fn open(config: Config, store: &Store) -> Result<Self> {
        bridge::check_name(&config.bridge)?;
        let store_records = Records::new(store);
        let mut records = BTreeMap::new();
        for name in ["bridge", "host", "none"] {
            records.insert(name, store_records.ensure(name)?);
        }
        let mut route = Socket::open(NetlinkProtocol::Route).context("open a route netlink socket")?;
        let mut record = records["bridge"].clone();
        let enabled = config.bridge != "none";
        let (bridge, plan) = if enabled {
            let addresses = bridge::choose_addresses(&mut route, &config, &mut record)?;
            if config.ip_forward && sysctl::enable_forwarding(addresses.v6.is_some())? {
                record.opened_forwarding = Some(sysctl::boot_id());
            }
            if record != records["bridge"] {
                store_records.put("bridge", &record)?;
            }
            let link = bridge::ensure(&mut route, &config, &addresses)?;
            // Since another boot, somebody else has turned it on.
            let opened = record.opened_forwarding.as_ref().is_some_and(|boot| *boot == sysctl::boot_id());
            let closed = opened && !config.ip_forward_no_drop;
            let plan = Plan::new(&config, Some(addresses.v4), addresses.v6, closed);
            (Some(Bridge { index: link.index, addresses, ours: link.group == bridge::GROUP }), plan)
        } else {
            (None, Plan::new(&config, None, None, false))
        };
        records.insert("bridge", record);
        let mut firewall = Firewall::open(plan).context("open a netfilter netlink socket")?;
        if let Some(bridge) = &bridge {
            // Rules first: a link must not come up before what closes it is there.
            firewall.adopt_elements().context("read the firewall's maps")?;
            firewall.render().map_err(|failure| refused(&config.bridge, failure))?;
            if config.firewall_v4 || config.firewall_v6 {
                foreign::ensure(&mut firewall.socket, &config.bridge)
                    .context("open the FORWARD chain for the bridge")?;
            }
            route.request(link::set_up(bridge.index, "")).with_context(|| format!("bring {} up", config.bridge))?;
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(new_state(&config, bridge.as_ref())),
            route: Mutex::new(route),
            firewall: Mutex::new(firewall),
            bridge: config.bridge.clone(),
        });
        let reaper = Reaper::start()?;
        let monitor = Monitor::start(shared.clone(), enabled)?;
        Ok(Self { shared, config, records, bridge, threads: Mutex::new(Some((reaper, monitor))) })
    }

    /// Makes kernel state equal to `live`, the endpoints of the containers that still run: what is missing is made again,
    /// what is left over is removed. Returns the containers whose link is gone: [`Networks::restore`] makes it again.
    pub fn reconcile(&self, live: &[Endpoint]) -> Result<Vec<ContainerId>> {
        let Some(bridge) = &self.bridge else { return Ok(Vec::new()) };
        let mut state = lock(&self.shared.state);
        *state = new_state(&self.config, Some(bridge));
        for endpoint in live {
            if let Some(net) = endpoint.ipv4 {
                state.v4.adopt(IpAddr::V4(net.addr()));
            }
            if let (Some(net), Some(pool)) = (endpoint.ipv6, &mut state.v6) {
                pool.adopt(IpAddr::V6(net.addr()));
            }
            state.ports.adopt(&endpoint.container, &endpoint.ports);
            state.endpoints.insert(endpoint.container.clone(), endpoint.clone());
        }
        let missing = self.reconcile_links(bridge, live)?;
        let mut firewall = lock(&self.shared.firewall);
        let placed = live.iter().flat_map(|endpoint| firewall::elements(&firewall.plan, endpoint)).collect();
        firewall.replace(placed).context("write the firewall's table")?;
        Ok(missing)
    }

    /// Removes links of nobody, brings those of `live` back to the bridge, and returns whose are missing.
    fn reconcile_links(&self, bridge: &Bridge, live: &[Endpoint]) -> Result<Vec<ContainerId>> {
        let mut route = lock(&self.shared.route);
        let links = link::list(&mut route).context("list links")?;
        let is_live = |name: &str| live.iter().any(|endpoint| endpoint.host_link == name);
        let (mut requests, mut stale) = (Vec::new(), Vec::new());
        for link in links.iter().filter(|link| link.kind.as_deref() == Some("veth")) {
            if is_live(&link.name) {
                if link.master != Some(bridge.index) {
                    requests.push(link::set_master(link.index, bridge.index));
                }
                if link.flags & link::UP == 0 {
                    requests.push(link::set_up(link.index, ""));
                }
            } else if link.master == Some(bridge.index) && link.name.starts_with(HOST_LINK_PREFIX) {
                stale.push(link.index);
            }
        }
        if !requests.is_empty() {
            route.all(requests).context("put links right")?;
        }
        bridge::delete_links(&mut route, &stale).context("remove links of nobody")?;
        let has = |endpoint: &&Endpoint| !links.iter().any(|link| link.name == endpoint.host_link);
        Ok(live.iter().filter(has).map(|endpoint| endpoint.container.clone()).collect())
    }

    /// Chooses addresses and host ports for a container that starts. Nothing is changed in the kernel, but host ports are
    /// held from now on. A container has one endpoint: what it held before is given back.
    ///
    /// # Errors
    /// With dockerd's text, where a port is taken or no address is left; the caller says before it that container
    /// networking could not be set up.
    pub fn lease(&self, request: &EndpointRequest) -> Result<Endpoint> {
        failpoint!("net.lease")?;
        let Some(bridge) = &self.bridge else {
            return Err(Error::not_found("network bridge not found"));
        };
        self.release(&request.container);
        let id = random_id()?;
        let mut state = lock(&self.shared.state);
        let exhausted = || Error::unavailable("no available IPv4 addresses on this network's address pools: bridge");
        let Some(IpAddr::V4(v4)) = state.v4.take() else { return Err(exhausted()) };
        let v6 = state.v6.as_mut().and_then(Pool::take);
        let ipv4 = Ipv4Net::new(v4, bridge.addresses.v4.prefix_len()).ok();
        let ipv6 = match (v6, bridge.addresses.v6) {
            (Some(IpAddr::V6(ip)), Some(net)) => Ipv6Net::new(ip, net.prefix_len()).ok(),
            _ => None,
        };
        let mut endpoint = Endpoint {
            host_link: format!("{HOST_LINK_PREFIX}{}", &id[..11]),
            id,
            container: request.container.clone(),
            network: "bridge".into(),
            network_id: self.records["bridge"].id.clone(),
            interface: INTERFACE.into(),
            mac: request.mac.unwrap_or_else(|| MacAddress::of_ip(v4)),
            ipv4,
            gateway_v4: Some(bridge::gateway_v4(&self.config, &bridge.addresses)),
            ipv6,
            gateway_v6: ipv6.and(bridge.addresses.v6).map(|net| net.addr()),
            mtu: bridge::mtu(&self.config),
            ports: Vec::new(),
        };
        let target = Target {
            container: &request.container,
            ipv4: Some(v4),
            ipv6: ipv6.map(|net| net.addr()),
            default_ips: &self.default_host_ips(),
        };
        match state.ports.take(&target, &request.ports) {
            Ok(ports) => endpoint.ports = ports,
            Err(error) => {
                state.give_back(&endpoint);
                let what = "driver failed programming external connectivity on endpoint";
                // The client gave a good request; what is in its way may go: dockerd answers with an internal error.
                let error = if error.kind() == Kind::Conflict { error.with_kind(Kind::Internal) } else { error };
                return Err(error).with_context(|| format!("{what} {} ({})", request.name, endpoint.id));
            }
        }
        state.endpoints.insert(request.container.clone(), endpoint.clone());
        Ok(endpoint)
    }

    fn default_host_ips(&self) -> Vec<IpAddr> {
        match self.config.default_host_ip {
            Some(ip) if !ip.is_unspecified() => vec![ip],
            _ => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        }
    }

    /// Makes the link between the bridge and the namespace. Returns the requests the container's init sends, in order and
    /// each acknowledged, to a route netlink socket inside the namespace.
    pub fn connect(&self, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
        failpoint!("net.connect")?;
        let bridge = self.bridge.as_ref().ok_or_else(|| Error::not_found("network bridge not found"))?;
        let pair = link::VethPair {
            name: &endpoint.host_link,
            master: bridge.index,
            mtu: endpoint.mtu,
            peer_name: &endpoint.interface,
            peer_mac: endpoint.mac.octets(),
            peer_namespace: netns,
        };
        let mut route = lock(&self.shared.route);
        let index = match link::create_veth(&mut route, &pair) {
            // A link of this name can only be what an interrupted start of the same endpoint left.
            Err(failure) if failure.errno == Errno::EXIST => {
                if let Some(stale) = link::by_name(&mut route, &endpoint.host_link).ok().flatten() {
                    let _ = route.request(link::delete(stale.index));
                }
                link::create_veth(&mut route, &pair)
            }
            other => other,
        };
        let index = index.with_context(|| format!("make link {} for the container", endpoint.host_link))?;
        let mode = link::PortMode { hairpin: sysctl::bridges_are_filtered(), isolated: !self.config.icc };
        if mode.hairpin || mode.isolated {
            let host = link::by_name(&mut route, &endpoint.host_link).ok().flatten();
            let host = host.ok_or_else(|| Error::internal(format!("link {} vanished", endpoint.host_link)))?;
            route.request(link::set_port_mode(host.index, mode)).context("set the mode of a bridge's port")?;
        }
        let default_v6 = endpoint.gateway_v6.is_some() && route::reaches(&mut route, PUBLIC_V6);
        failpoint!("net.connected")?;
        Ok(init_messages(endpoint, index, default_v6))
    }

    /// Opens the published ports.
    pub fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        failpoint!("net.publish")?;
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let mut firewall = lock(&self.shared.firewall);
        let placed = firewall::elements(&firewall.plan, endpoint);
        firewall.add(placed).context("publish ports")?;
        drop(firewall);
        failpoint!("net.published")?;
        // Datagrams that came before the rule made flows that would go on past it.
        if endpoint.has_udp_ports()
            && let Some((reaper, _)) = &*lock(&self.threads)
        {
            reaper.redirect(endpoint.clone());
        }
        Ok(())
    }

    /// Makes the link of a running container again, after it was removed under it.
    pub fn restore(&self, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()> {
        let messages = self.connect(endpoint, netns)?;
        // A thread of its own: it enters the container's namespace and ends there.
        let namespace = netns.try_clone_to_owned().context("keep the namespace")?;
        let work = move || -> Result<()> {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
                .context("enter the container's network namespace")?;
            let mut socket = Socket::open(NetlinkProtocol::Route).context("open a route netlink socket")?;
            send_raw(&mut socket, &messages)
        };
        let thread = std::thread::Builder::new().name("net-restore".into()).spawn(work).context("start a thread")?;
        thread.join().map_err(|_| Error::internal("restoring a link panicked"))?
    }

    /// Closes a container's ports and gives its addresses back. Harmless where it holds none. The slow part (links,
    /// connection tracking) follows on a thread of our own; failures are logged and mended by the next reconcile.
    pub fn release(&self, container: &ContainerId) {
        let mut state = lock(&self.shared.state);
        let Some(endpoint) = state.endpoints.get(container).cloned() else { return };
        if !endpoint.ports.is_empty() {
            // Before the ports are given back: another container must not find our elements in its way.
            let mut firewall = lock(&self.shared.firewall);
            let placed = firewall::elements(&firewall.plan, &endpoint);
            if let Err(error) = firewall.remove(&placed) {
                tracing::warn!(%container, %error, "published ports stay open until the next repair");
            }
        }
        state.forget(container);
        drop(state);
        if let Some((reaper, _)) = &*lock(&self.threads) {
            reaper.bury(endpoint);
        }
    }

    /// The endpoint a container holds now.
    pub fn endpoint(&self, container: &ContainerId) -> Option<Endpoint> {
        lock(&self.shared.state).endpoints.get(container).cloned()
    }

    /// The networks as `/networks` shows them: bridge, host and none.
    pub fn list(&self) -> Vec<NetworkInfo> {
        let mut networks = Vec::new();
        if let Some(bridge) = &self.bridge {
            networks.push(self.bridge_info(bridge));
        }
        networks.push(self.plain_info("host", Driver::Host));
        networks.push(self.plain_info("none", Driver::Null));
        networks
    }

    /// One network, by name, id, or a prefix of its id.
    pub fn inspect(&self, name_or_id: &str) -> Result<NetworkInfo> {
        let networks = self.list();
        let exact = networks.iter().position(|network| network.name == name_or_id || network.id == name_or_id);
        let by_prefix = || {
            let mut matching = (0..networks.len()).filter(|i| networks[*i].id.starts_with(name_or_id));
            matching.next().filter(|_| !name_or_id.is_empty() && matching.next().is_none())
        };
        let shown: String = name_or_id.chars().take(256).collect();
        let found = exact.or_else(by_prefix).ok_or_else(|| Error::not_found(format!("network {shown} not found")))?;
        Ok(networks.into_iter().nth(found).expect("the position was found in this list"))
    }

    fn plain_info(&self, name: &'static str, driver: Driver) -> NetworkInfo {
        NetworkInfo {
            name: name.into(),
            id: self.records[name].id.clone(),
            created: self.records[name].created,
            driver,
            ipv4: true,
            ipv6: false,
            pools: Vec::new(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            endpoints: Vec::new(),
        }
    }

    fn bridge_info(&self, bridge: &Bridge) -> NetworkInfo {
        let v4 = AddressPool {
            subnet: IpNet::V4(bridge.addresses.v4.trunc()),
            range: self.config.fixed_cidr.map(|net| IpNet::V4(net.trunc())),
            gateway: Some(bridge::gateway_v4(&self.config, &bridge.addresses).into()),
        };
        let v6 = bridge.addresses.v6.map(|net| AddressPool {
            subnet: IpNet::V6(net.trunc()),
            range: self.config.fixed_cidr_v6.map(|net| IpNet::V6(net.trunc())),
            gateway: Some(net.addr().into()),
        });
        let option = |name: &str, value: String| (format!("com.docker.network.{name}"), value);
        let host_binding = self.config.default_host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        NetworkInfo {
            driver: Driver::Bridge,
            ipv6: v6.is_some(),
            pools: std::iter::once(v4).chain(v6).collect(),
            options: BTreeMap::from([
                option("bridge.default_bridge", "true".into()),
                option("bridge.enable_icc", self.config.icc.to_string()),
                option("bridge.enable_ip_masquerade", self.config.masquerade.to_string()),
                option("bridge.host_binding_ipv4", host_binding.to_string()),
                option("bridge.name", self.config.bridge.clone()),
                option("driver.mtu", bridge::mtu(&self.config).to_string()),
            ]),
            endpoints: lock(&self.shared.state).endpoints.values().cloned().collect(),
            ..self.plain_info("bridge", Driver::Bridge)
        }
    }

    /// What `host-gateway` stands for.
    pub fn host_gateways(&self) -> Vec<IpAddr> {
        match &self.bridge {
            _ if !self.config.host_gateway_ips.is_empty() => self.config.host_gateway_ips.clone(),
            Some(bridge) => vec![bridge.addresses.v4.addr().into()],
            None => Vec::new(),
        }
    }

    /// Ends the background threads, after what was released is gone. Where containers are connected everything else stays
    /// for them; where none is, the rules (other programs' included), the table, and a bridge of our making are removed.
    pub fn shutdown(&self) {
        let Some((reaper, monitor)) = lock(&self.threads).take() else { return };
        reaper.stop();
        monitor.stop();
        let Some(bridge) = self.bridge.filter(|_| lock(&self.shared.state).endpoints.is_empty()) else { return };
        if let Err(error) = self.remove_all(&bridge) {
            tracing::warn!(%error, "the default bridge is not wholly removed");
        }
    }

    fn remove_all(&self, bridge: &Bridge) -> Result<()> {
        if bridge.ours {
            let removed = lock(&self.shared.route).request(link::delete(bridge.index));
            removed.with_context(|| format!("remove bridge {}", self.config.bridge))?;
        }
        let mut firewall = lock(&self.shared.firewall);
        foreign::remove(&mut firewall.socket, &self.config.bridge).context("close the FORWARD chain")?;
        firewall.destroy().context("remove the firewall's table")
    }
}

/// Why the first write of the table failed.
fn refused(bridge: &str, failure: rorqual_netlink::Failure) -> Error {
    if failure.errno == Errno::PERM && rustix::process::geteuid().is_root() {
        let text = format!("bridge {bridge} belongs to another daemon that runs; choose another name with --bridge");
        return Error::conflict(text).caused_by(failure);
    }
    Error::internal("write the firewall's table").caused_by(failure)
}

/// No leases yet: the bridge's own addresses are taken.
fn new_state(config: &Config, bridge: Option<&Bridge>) -> State {
    let nothing = Pool::new(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into());
    let (mut v4, mut v6) = (nothing, None);
    if let Some(bridge) = bridge {
        let net = IpNet::V4(bridge.addresses.v4);
        let (first, last) = subnet::bounds(net, config.fixed_cidr.map_or(net, IpNet::V4));
        v4 = Pool::new(first, last);
        v4.reserve(bridge.addresses.v4.addr().into());
        if let Some(gateway) = config.default_gateway {
            v4.reserve(gateway.into());
        }
        v6 = bridge.addresses.v6.map(|own| {
            let net = IpNet::V6(own);
            let (first, last) = subnet::bounds(net, config.fixed_cidr_v6.map_or(net, IpNet::V6));
            let mut pool = Pool::new(first, last);
            pool.reserve(own.addr().into());
            pool
        });
    }
    State { endpoints: BTreeMap::new(), v4, v6, ports: PortTable::new() }
}

/// The requests that bring up loopback, all that `--network none` needs.
pub fn loopback_messages() -> Vec<Vec<u8>> {
    numbered(vec![link::set_up(LOOPBACK, "")])
}

/// The requests that set up the container's end of the link.
fn init_messages(endpoint: &Endpoint, index: u32, default_v6: bool) -> Vec<Vec<u8>> {
    let mut requests = vec![link::set_up(LOOPBACK, ""), link::set_up(index, "")];
    let v4 = endpoint.ipv4.map(|net| (IpAddr::V4(net.addr()), net.prefix_len()));
    let v6 = endpoint.ipv6.map(|net| (IpAddr::V6(net.addr()), net.prefix_len()));
    for (ip, prefix) in v4.into_iter().chain(v6) {
        requests.push(address::add(&address::Address { link: index, ip, prefix }));
    }
    if let Some(gateway) = endpoint.gateway_v4 {
        requests.push(route::add_default(gateway.into(), index));
    }
    if let (Some(gateway), true) = (endpoint.gateway_v6, default_v6) {
        requests.push(route::add_default(gateway.into(), index));
    }
    numbered(requests)
}

/// Requests ready to be sent by somebody else: numbered from 1, each asking for an acknowledgement.
fn numbered(requests: Vec<Message>) -> Vec<Vec<u8>> {
    (1..).zip(requests).map(|(sequence, request)| request.with_flags(ACK).finish(sequence)).collect()
}

/// Sends ready requests.
fn send_raw(socket: &mut Socket, messages: &[Vec<u8>]) -> Result<()> {
    messages.iter().try_for_each(|message| socket.raw(message).context("set up the container's link"))
}
