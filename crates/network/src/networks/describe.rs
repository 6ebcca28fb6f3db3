//! The networks as clients see them.

use super::{Bridge, Networks, lock};
use crate::{AddressPool, Driver, NetworkInfo, bridge};
use ipnet::IpNet;
use rorqual_error::{Error, Result};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

impl Networks {
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
}
