//! The node's networks.

mod connect;
mod describe;

pub use connect::loopback_messages;

use crate::{
    Config, Endpoint, EndpointRequest, MacAddress,
    background::{Monitor, Reaper},
    bridge::{self, Addresses},
    firewall::{self, Firewall, Plan},
    foreign, limits,
    pool::Pool,
    ports::{PortTable, Target},
    record::{Record, Records, random_id},
    subnet, sysctl,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_metadata::{Store, failpoint};
use rorqual_netlink::{Protocol as NetlinkProtocol, Socket, link};
use rorqual_types::ContainerId;
use rustix::io::Errno;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

/// The link inside the container.
const INTERFACE: &str = "eth0";
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
            first_render(&mut firewall)?;
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

    /// Ends the background threads, after what was released is gone. Where containers are connected everything else stays
    /// for them; where none is, the rules (other programs' included), the table, and a bridge of our making are removed.
    pub fn shutdown(&self) {
        if !self.stop_threads() {
            return;
        }
        let Some(bridge) = self.bridge.filter(|_| lock(&self.shared.state).endpoints.is_empty()) else { return };
        if let Err(error) = self.remove_all(&bridge) {
            tracing::warn!(%error, "the default bridge is not wholly removed");
        }
    }

    /// Whether they were running.
    fn stop_threads(&self) -> bool {
        let Some((reaper, monitor)) = lock(&self.threads).take() else { return false };
        reaper.stop();
        monitor.stop();
        true
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

impl Drop for Networks {
    /// Without [`Networks::shutdown`] everything stays as it is, but for the threads.
    fn drop(&mut self) {
        self.stop_threads();
    }
}

/// Writes the table, which a daemon that is just ending may still have for a moment.
fn first_render(firewall: &mut Firewall) -> Result<()> {
    let end = Instant::now() + limits::PREDECESSOR;
    loop {
        match firewall.render() {
            Ok(()) => return Ok(()),
            Err(failure) if failure.errno == Errno::PERM && rustix::process::geteuid().is_root() => {
                if Instant::now() >= end {
                    let bridge = &firewall.plan.bridge;
                    let text = format!(
                        "bridge {bridge} belongs to another daemon that runs; choose another name with --bridge"
                    );
                    return Err(Error::conflict(text).caused_by(failure));
                }
                thread::sleep(limits::PREDECESSOR_RETRY);
            }
            Err(failure) => return Err(failure).context("write the firewall's table"),
        }
    }
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
