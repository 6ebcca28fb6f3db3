//! What a new container asks of the network, checked before anything is made.

use rorqual_api_types::{
    container::{Config, HostConfig},
    network::EndpointSettings,
};
use rorqual_error::{Error, Result};
use rorqual_network::{MacAddress, NetworkMode, files};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Checks the client's own words, before the image's and the daemon's are added to them. Returns warnings.
///
/// # Errors
/// What dockerd refuses, in its words.
pub(super) fn check(
    config: &Config,
    host: &HostConfig,
    networks: Option<&BTreeMap<String, Option<EndpointSettings>>>,
) -> Result<Vec<String>> {
    for text in host.extra_hosts.iter().flatten() {
        // Any gateway will do: the real one is known at the start.
        files::parse_extra_host(text, &[Ipv4Addr::UNSPECIFIED.into()])?;
    }
    for link in host.links.iter().flatten() {
        check_link(link)?;
    }
    let mode = NetworkMode::parse(&host.network_mode);
    if let NetworkMode::Container(other) = &mode {
        check_joined(config, host, other)?;
    }
    let mac = Some(config.mac_address.as_str()).filter(|_| mode == NetworkMode::Bridge);
    check_mac(&mode, mac)?;
    for (name, settings) in networks.into_iter().flatten() {
        let network = NetworkMode::parse(name);
        if let (NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None, Some(settings)) = (&network, settings) {
            check_endpoint(&network, settings)?;
        }
    }
    let discarded = mode == NetworkMode::Host && host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    let warning = "Published ports are discarded when using host network mode";
    Ok(discarded.then(|| warning.to_owned()).into_iter().collect())
}

fn shown(text: &str) -> String {
    text.chars().take(256).collect()
}

fn check_link(link: &str) -> Result<()> {
    match link.split(':').collect::<Vec<_>>().as_slice() {
        [""] => Err(Error::invalid("empty string specified for links")),
        [_] | [_, _] => Ok(()),
        _ => Err(Error::invalid(format!("bad format for links: {}", shown(link)))),
    }
}

/// What cannot be asked of a namespace that is another container's.
fn check_joined(config: &Config, host: &HostConfig, other: &str) -> Result<()> {
    let conflict = |what: &str| Err(Error::invalid(format!("conflicting options: {what}")));
    if other.is_empty() {
        return Err(Error::invalid("invalid network mode: invalid container format container:<name|id>"));
    }
    if !config.hostname.is_empty() {
        return conflict("hostname and the network mode");
    }
    if host.links.as_ref().is_some_and(|links| !links.is_empty()) {
        return conflict("container type network can't be used with links. This would result in undefined behavior");
    }
    if host.publish_all_ports {
        return conflict("port publishing and the container type network mode");
    }
    if host.port_bindings.as_ref().is_none_or(BTreeMap::is_empty)
        && config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty())
    {
        return conflict("port exposing and the container type network mode");
    }
    Ok(())
}

fn check_mac(network: &NetworkMode, mac: Option<&str>) -> Result<()> {
    match mac.filter(|mac| !mac.is_empty()) {
        Some(mac) if mac.parse::<MacAddress>().is_err() => {
            Err(Error::invalid(format!("invalid config for network {network}: invalid MAC address {}", shown(mac))))
        }
        _ => Ok(()),
    }
}

/// The networks every node has take no addresses or names from their containers.
fn check_endpoint(network: &NetworkMode, settings: &EndpointSettings) -> Result<()> {
    check_mac(network, Some(&settings.mac_address))?;
    let mut faults = Vec::new();
    let asks_address = |ipam: &rorqual_api_types::network::EndpointIpamConfig| {
        !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty()
    };
    if settings.ipam_config.as_ref().is_some_and(asks_address) {
        faults.push("user specified IP address is supported on user defined networks only");
        faults.push(
            "user specified IP address is supported only when connecting to networks with user configured subnets",
        );
    }
    if settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
        faults.push("network-scoped alias is supported only for containers in user defined networks");
    }
    let list = match faults.as_slice() {
        [] => return Ok(()),
        [one] => (*one).to_owned(),
        several => several.iter().map(|fault| format!("* {fault}")).collect::<Vec<_>>().join("\n"),
    };
    Err(Error::invalid(format!("invalid config for network {network}: invalid endpoint settings:\n{list}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rorqual_api_types::container::CreateRequest;

    fn run(body: &str) -> String {
        let request: CreateRequest = serde_json::from_str(body).unwrap();
        let networks = request.networking_config.and_then(|networking| networking.endpoints_config);
        match check(&request.config, &request.host_config.unwrap_or_default(), networks.as_ref()) {
            Ok(warnings) => warnings.join("\n"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn requests_are_refused_as_dockerd_refuses_them() {
        for (body, expected) in [
            (r#"{}"#, ""),
            (
                r#"{"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"172.17.0.99"}}}}}"#,
                "invalid config for network bridge: invalid endpoint settings:\n\
                 * user specified IP address is supported on user defined networks only\n\
                 * user specified IP address is supported only when connecting to networks with user configured subnets",
            ),
            (
                r#"{"NetworkingConfig":{"EndpointsConfig":{"default":{"Aliases":["x"]}}}}"#,
                "invalid config for network bridge: invalid endpoint settings:\n\
                 network-scoped alias is supported only for containers in user defined networks",
            ),
            (r#"{"MacAddress":"zz"}"#, "invalid config for network bridge: invalid MAC address zz"),
            (
                r#"{"NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"zz"}}}}"#,
                "invalid config for network bridge: invalid MAC address zz",
            ),
            (
                r#"{"HostConfig":{"NetworkMode":"container:"}}"#,
                "invalid network mode: invalid container format container:<name|id>",
            ),
            (
                r#"{"Hostname":"foo","HostConfig":{"NetworkMode":"container:a"}}"#,
                "conflicting options: hostname and the network mode",
            ),
            (r#"{"HostConfig":{"ExtraHosts":["a"]}}"#, "bad format for add-host: \"a\""),
            (r#"{"HostConfig":{"ExtraHosts":["a:host-gateway"]}}"#, ""),
            (r#"{"HostConfig":{"Links":["a:b:c"]}}"#, "bad format for links: a:b:c"),
            (
                r#"{"HostConfig":{"NetworkMode":"host","PortBindings":{"80/tcp":[{"HostPort":"80"}]}}}"#,
                "Published ports are discarded when using host network mode",
            ),
        ] {
            assert_eq!(run(body), expected, "{body}");
        }
    }
}
