//! Networks: the component that callers hold. There are the three that every node has; more come with another issue.

use crate::{parts::Parts, time};
use ipnet::IpNet;
use rorqual_api_types::network::{ConfigReference, EndpointResource, Ipam, IpamPool, Network};
use rorqual_error::{Error, Result};
use rorqual_network::NetworkInfo;
use rorqual_types::Filters;
use std::sync::Arc;

/// The networks of this node. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Networks {
    pub(crate) parts: Arc<Parts>,
}

/// The filters dockerd accepts.
const FILTERS: [&str; 8] = ["dangling", "driver", "id", "label", "label!", "name", "scope", "type"];

impl Networks {
    /// Those that match the filters.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Network>> {
        filters.validate(&FILTERS)?;
        let custom_only = match filters.get("type") {
            [] => None,
            [kind] if kind == "custom" => Some(true),
            [kind] if kind == "builtin" => Some(false),
            other => return Err(Error::invalid(format!("invalid filter 'type={}'", other.join(",")))),
        };
        let dangling = filters.boolean("dangling")?;
        let wanted = |network: &NetworkInfo| {
            let any = |name: &str, test: &dyn Fn(&str) -> bool| {
                !filters.contains(name) || filters.get(name).iter().any(|value| test(value))
            };
            any("name", &|value| network.name.contains(value))
                && any("id", &|value| network.id.starts_with(value))
                && filters.exact("driver", network.driver.as_str())
                && filters.exact("scope", "local")
                && filters.match_labels(&network.labels)
                // The built-in networks are neither custom nor ever dangling.
                && custom_only != Some(true)
                && dangling != Some(true)
        };
        Ok(self.parts.networks.list().iter().filter(|network| wanted(network)).map(|n| present(n, None)).collect())
    }

    /// One of them, with its containers.
    pub fn inspect(&self, name: &str) -> Result<Network> {
        let network = self.parts.networks.inspect(name)?;
        Ok(present(&network, Some(&self.parts)))
    }
}

/// `parts` names the containers; without it they are left out, as in a list.
fn present(network: &NetworkInfo, parts: Option<&Parts>) -> Network {
    let containers = parts.map(|parts| {
        let resource = |endpoint: &rorqual_network::Endpoint| {
            let text = |net: Option<IpNet>| net.map(|net| net.to_string()).unwrap_or_default();
            EndpointResource {
                name: parts.container_name(&endpoint.container).unwrap_or_default(),
                endpoint_id: endpoint.id.clone(),
                mac_address: endpoint.mac.to_string(),
                ipv4_address: text(endpoint.ipv4.map(IpNet::V4)),
                ipv6_address: text(endpoint.ipv6.map(IpNet::V6)),
            }
        };
        network.endpoints.iter().map(|endpoint| (endpoint.container.to_string(), resource(endpoint))).collect()
    });
    let pools = network.pools.iter().map(|pool| IpamPool {
        subnet: pool.subnet.to_string(),
        ip_range: pool.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: pool.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: None,
    });
    let pools: Vec<IpamPool> = pools.collect();
    Network {
        name: network.name.clone(),
        id: network.id.clone(),
        created: time::rfc3339(network.created),
        scope: "local".into(),
        driver: network.driver.as_str().into(),
        enable_ipv4: network.ipv4,
        enable_ipv6: network.ipv6,
        ipam: Ipam { driver: "default".into(), options: None, config: Some(pools).filter(|pools| !pools.is_empty()) },
        internal: false,
        attachable: false,
        ingress: false,
        config_from: ConfigReference::default(),
        config_only: false,
        containers: containers.unwrap_or_default(),
        options: network.options.clone(),
        labels: network.labels.clone(),
    }
}
