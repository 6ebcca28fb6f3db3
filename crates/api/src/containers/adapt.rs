//! What a create or update body of an older client means today.

use crate::version::ApiVersion;
use rorqual_api_types::{
    container::{CreateRequest, HostConfig, NetworkingConfig, Resources},
    network::EndpointSettings,
};
use rorqual_error::{Error, Result};

/// Brings a create body to the newest version; returns warnings for the client.
pub(super) fn create(request: &mut CreateRequest, version: ApiVersion) -> Result<Vec<String>> {
    let host = request.host_config.get_or_insert_default();
    if !version.at_least(40) && host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".into();
    }
    if !version.at_least(41) && host.cgroupns_mode.is_empty() {
        host.cgroupns_mode = "host".into();
    }
    if !version.at_least(43) {
        host.annotations = None;
    }
    resources(&mut host.resources, version);
    mounts(host, version)?;
    if !version.at_least(44)
        && let Some(check) = &mut request.config.healthcheck
    {
        check.start_interval = 0;
    }
    if !version.at_least(48) {
        for endpoint in endpoints(request.networking_config.as_mut()) {
            endpoint.gw_priority = 0;
        }
    }
    if !version.at_least(44) && endpoints(request.networking_config.as_mut()).count() > 1 {
        return Err(Error::invalid(
            "Container cannot be created with multiple network endpoints in this API version, which needs API 1.44",
        ));
    }
    mac_address(request, version)
}

/// Limits: what older clients could not have meant, and what no longer has an effect.
pub(super) fn resources(resources: &mut Resources, version: ApiVersion) {
    if version.at_least(42) {
        resources.kernel_memory = 0;
    }
    if !version.at_least(40) {
        resources.kernel_memory_tcp = 0;
    }
    if resources.pids_limit.is_some_and(|limit| limit <= 0) {
        resources.pids_limit = None;
    }
}

fn mounts(host: &mut HostConfig, version: ApiVersion) -> Result<()> {
    for mount in host.mounts.iter_mut().flatten() {
        if let Some(bind) = &mut mount.bind_options {
            bind.non_recursive &= version.at_least(40);
            bind.create_mountpoint &= version.at_least(42);
            bind.read_only_non_recursive &= version.at_least(44);
            bind.read_only_force_recursive &= version.at_least(44);
            if !version.at_least(44) {
                // Before 1.44 a read-only bind left its submounts writable.
                bind.read_only_non_recursive = mount.read_only;
            }
        } else if !version.at_least(44) && mount.read_only && mount.kind == "bind" {
            mount.bind_options.get_or_insert_default().read_only_non_recursive = true;
        }
        if let Some(volume) = &mut mount.volume_options
            && !version.at_least(45)
        {
            volume.subpath.clear();
        }
        if let Some(tmpfs) = &mut mount.tmpfs_options
            && !version.at_least(46)
        {
            tmpfs.options = None;
        }
        if mount.kind == "image" && !version.at_least(48) {
            return Err(Error::invalid("Mount type \"Image\" needs API v1.48 or newer"));
        }
    }
    Ok(())
}

/// Moves the container's MAC address, its place before API 1.44, to the endpoint of its main network.
fn mac_address(request: &mut CreateRequest, version: ApiVersion) -> Result<Vec<String>> {
    let address = std::mem::take(&mut request.config.mac_address);
    if address.is_empty() {
        return Ok(Vec::new());
    }
    let mode = request.host_config.as_ref().map_or("", |host| host.network_mode.as_str());
    let network = if matches!(mode, "" | "default") { "bridge" } else { mode };
    if network == "host" || network == "none" || network.starts_with("container:") {
        return Err(Error::invalid("conflicting options: mac-address and the network mode"));
    }
    let settings = request.networking_config.get_or_insert_with(NetworkingConfig::default);
    let endpoint = settings
        .endpoints_config
        .get_or_insert_default()
        .entry(network.to_owned())
        .or_default()
        .get_or_insert_default();
    if endpoint.mac_address.is_empty() {
        endpoint.mac_address = address;
    } else if endpoint.mac_address != address {
        return Err(Error::invalid(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left \
             empty",
        ));
    }
    Ok(if version.at_least(44) {
        vec![
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
                .into(),
        ]
    } else {
        Vec::new()
    })
}

fn endpoints(config: Option<&mut NetworkingConfig>) -> impl Iterator<Item = &mut EndpointSettings> {
    config.into_iter().filter_map(|config| config.endpoints_config.as_mut()).flat_map(|map| map.values_mut().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rorqual_api_types::mount::Mount;

    fn adapted(text: &str, minor: u32) -> Result<(CreateRequest, Vec<String>)> {
        let mut request = crate::decode::create(text.as_bytes()).unwrap();
        let warnings = create(&mut request, ApiVersion::new(1, minor))?;
        Ok((request, warnings))
    }

    #[test]
    fn defaults_of_old_versions_are_kept() {
        let (request, _) = adapted(r#"{"Image":"a"}"#, 39).unwrap();
        let host = request.host_config.unwrap();
        assert_eq!((host.ipc_mode.as_str(), host.cgroupns_mode.as_str()), ("shareable", "host"));
        let (request, _) = adapted(r#"{"Image":"a"}"#, 51).unwrap();
        assert_eq!(request.host_config.unwrap(), HostConfig::default());
    }

    #[test]
    fn any_negative_process_limit_is_none() {
        for (sent, wanted) in [(-5, None), (0, None), (7, Some(7))] {
            let body = format!(r#"{{"Image":"a","HostConfig":{{"PidsLimit":{sent}}}}}"#);
            let (request, _) = adapted(&body, 51).unwrap();
            assert_eq!(request.host_config.unwrap().resources.pids_limit, wanted);
        }
    }

    #[test]
    fn a_read_only_bind_of_an_old_client_is_not_recursive() {
        let body =
            r#"{"Image":"a","HostConfig":{"Mounts":[{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true}]}}"#;
        let mount = |minor| -> Mount { adapted(body, minor).unwrap().0.host_config.unwrap().mounts.unwrap().remove(0) };
        assert!(mount(43).bind_options.unwrap().read_only_non_recursive);
        assert!(mount(44).bind_options.is_none());
    }

    #[test]
    fn a_mac_address_moves_to_the_main_network() {
        let (request, warnings) = adapted(r#"{"Image":"a","MacAddress":"02:00:00:00:00:01"}"#, 51).unwrap();
        assert_eq!(request.config.mac_address, "");
        let endpoints = request.networking_config.unwrap().endpoints_config.unwrap();
        assert_eq!(endpoints["bridge"].as_ref().unwrap().mac_address, "02:00:00:00:00:01");
        assert_eq!(warnings.len(), 1);
        let other = r#"{"Image":"a","MacAddress":"02:00:00:00:00:01",
            "NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:00:00:00:00:02"}}}}"#;
        assert!(adapted(other, 51).is_err());
    }
}
