//! What `inspect` and `list` show of a container: made from its snapshot alone, without the disk.

use super::{Sizes, mounts::Kind, record::View, status};
use crate::{parts::Parts, time};
use jiff::Timestamp;
use rorqual_api_types::{
    container::{
        Config, Descriptor, DescriptorPlatform, GraphDriver, Inspect, MountPoint, NetworkSettings, Port, State,
        Summary, SummaryHostConfig, SummaryNetworkSettings,
    },
    network::{EndpointIpamConfig, EndpointSettings, PortBinding, PortMap},
};
use rorqual_network::{Endpoint, NetworkMode};
use rorqual_types::Reference;
use std::collections::BTreeMap;

/// Name of the storage driver, as docker with the containerd image store has it.
pub(crate) const DRIVER: &str = "overlayfs";

/// The whole of `GET /containers/{id}/json`.
pub(super) fn inspect(parts: &Parts, view: &View, sizes: Option<Sizes>) -> Inspect {
    let record = &view.record;
    let dir = parts.container_dir(&record.id);
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let execs = parts.execs.of(&record.id);
    Inspect {
        id: record.id.to_string(),
        created: time::rfc3339(record.created),
        path: record.path.clone(),
        args: record.args.clone(),
        state: state(view),
        image: record.image.id.to_string(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: if record.host_config.log_config.kind == "json-file" {
            parts.log_path(&record.id).to_string_lossy().into_owned()
        } else {
            String::new()
        },
        name: format!("/{}", record.name),
        restart_count: i64::from(view.status.restart_count),
        driver: DRIVER.into(),
        platform: record.image.platform.os.clone(),
        image_manifest_descriptor: Some(descriptor(view)),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: Some(execs).filter(|execs| !execs.is_empty()),
        host_config: record.host_config.clone(),
        graph_driver: GraphDriver { data: None, name: DRIVER.into() },
        size_rw: sizes.map(|sizes| sizes.rw),
        size_root_fs: sizes.map(|sizes| sizes.root_fs),
        mounts: mounts(view),
        config: config(view),
        network_settings: network_settings(parts, view),
    }
}

/// As stored, but dockerd shows the host name only where the container has its own.
fn config(view: &View) -> Config {
    view.record.config.clone()
}

fn state(view: &View) -> State {
    let (phase, last) = (&view.status.phase, &view.status.last);
    State {
        status: phase.status().into(),
        running: phase.is_running(),
        paused: phase.is_paused(),
        restarting: *phase == super::state::Phase::Restarting,
        oom_killed: last.oom_killed,
        dead: *phase == super::state::Phase::Dead,
        pid: i64::from(phase.pid()),
        exit_code: last.exit_code,
        error: last.error.clone(),
        started_at: time::optional(last.started_at),
        finished_at: time::optional(last.finished_at),
        health: None,
    }
}

fn descriptor(view: &View) -> Descriptor {
    let (manifest, platform) = (&view.record.image.manifest, &view.record.image.platform);
    Descriptor {
        media_type: manifest.media_type.clone(),
        digest: manifest.digest.to_string(),
        size: i64::try_from(manifest.size).unwrap_or(i64::MAX),
        annotations: Some(manifest.annotations.clone()).filter(|annotations| !annotations.is_empty()),
        platform: Some(DescriptorPlatform {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..DescriptorPlatform::default()
        }),
        ..Descriptor::default()
    }
}

fn mounts(view: &View) -> Vec<MountPoint> {
    let shown = view.record.mounts.iter().filter(|mount| !mount.hidden);
    let mut mounts: Vec<MountPoint> = shown.map(|mount| mount.present()).collect();
    mounts.sort_by(|a, b| a.destination.cmp(&b.destination));
    mounts
}

/// The network a container is shown on, by its mode.
fn network_name(view: &View) -> Option<String> {
    match NetworkMode::parse(&view.record.host_config.network_mode) {
        NetworkMode::Bridge => Some("bridge".into()),
        NetworkMode::Host => Some("host".into()),
        NetworkMode::None => Some("none".into()),
        NetworkMode::Named(name) => Some(name),
        NetworkMode::Container(_) => None,
    }
}

/// Endpoints by network name: what was asked for, and what the endpoint has while it runs.
fn networks(parts: &Parts, view: &View) -> BTreeMap<String, EndpointSettings> {
    let Some(name) = network_name(view) else { return BTreeMap::new() };
    let asked = view.record.networks.get(&name).cloned().unwrap_or_default();
    let mut settings = EndpointSettings {
        ipam_config: asked.ipam_config.filter(|config| *config != EndpointIpamConfig::default()),
        links: asked.links,
        aliases: asked.aliases,
        mac_address: asked.mac_address,
        driver_opts: asked.driver_opts,
        gw_priority: asked.gw_priority,
        ..EndpointSettings::default()
    };
    // dockerd fills it in with the first start.
    let tried = view.status.last.started_at.is_some() || !view.status.last.error.is_empty();
    if let Some(network) = parts.network_id(&name).filter(|_| tried) {
        settings.network_id = network;
    }
    match &view.status.endpoint {
        Some(endpoint) => fill(&mut settings, endpoint),
        None if view.status.phase.is_live() => settings.endpoint_id = view.record.id.to_string(),
        None => {}
    }
    [(name, settings)].into()
}

fn fill(settings: &mut EndpointSettings, endpoint: &Endpoint) {
    settings.network_id.clone_from(&endpoint.network_id);
    settings.endpoint_id.clone_from(&endpoint.id);
    settings.mac_address = endpoint.mac.to_string();
    if let Some(net) = endpoint.ipv4 {
        settings.ip_address = net.addr().to_string();
        settings.ip_prefix_len = u32::from(net.prefix_len());
    }
    settings.gateway = endpoint.gateway_v4.map(|gateway| gateway.to_string()).unwrap_or_default();
    if let Some(net) = endpoint.ipv6 {
        settings.global_ipv6_address = net.addr().to_string();
        settings.global_ipv6_prefix_len = u32::from(net.prefix_len());
    }
    settings.ipv6_gateway = endpoint.gateway_v6.map(|gateway| gateway.to_string()).unwrap_or_default();
}

fn network_settings(parts: &Parts, view: &View) -> NetworkSettings {
    let networks = networks(parts, view);
    let mut settings = NetworkSettings { networks, ..NetworkSettings::default() };
    let own_namespace = !matches!(NetworkMode::parse(&view.record.host_config.network_mode), NetworkMode::Container(_));
    if view.status.phase.is_live() && own_namespace {
        settings.sandbox_id = view.record.id.to_string();
        settings.sandbox_key = format!("/proc/{}/ns/net", view.status.phase.pid());
        settings.ports = port_map(view);
    }
    if let Some(bridge) = settings.networks.get("bridge").cloned() {
        settings.endpoint_id = bridge.endpoint_id;
        settings.gateway = bridge.gateway;
        settings.global_ipv6_address = bridge.global_ipv6_address;
        settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len;
        settings.ip_address = bridge.ip_address;
        settings.ip_prefix_len = bridge.ip_prefix_len;
        settings.ipv6_gateway = bridge.ipv6_gateway;
        settings.mac_address = bridge.mac_address;
    }
    settings
}

/// Exposed ports, and what they are published as.
fn port_map(view: &View) -> PortMap {
    let mut ports: PortMap =
        view.record.config.exposed_ports.iter().flatten().map(|(port, _)| (port.clone(), None)).collect();
    for port in view.status.endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
        let key = format!("{}/{}", port.container_port, port.protocol);
        let binding = PortBinding { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() };
        ports.entry(key).or_default().get_or_insert_default().push(binding);
    }
    ports
}

/// One line of `GET /containers/json`.
pub(super) fn summary(parts: &Parts, view: &View, now: Timestamp, sizes: Option<Sizes>) -> Summary {
    let record = &view.record;
    let mut mounts = mounts(view);
    for mount in &mut mounts {
        // As dockerd lists them: of volumes only the name matters.
        if mount.kind == Kind::Volume.as_str() {
            mount.source.clear();
        }
    }
    Summary {
        id: record.id.to_string(),
        names: vec![format!("/{}", record.name)],
        image: image_name(parts, view),
        image_id: record.image.id.to_string(),
        image_manifest_descriptor: Some(descriptor(view)),
        command: command(view),
        created: record.created.as_second(),
        ports: ports(view),
        size_rw: sizes.map(|sizes| sizes.rw),
        size_root_fs: sizes.map(|sizes| sizes.root_fs),
        labels: record.config.labels.clone().unwrap_or_default(),
        state: view.status.phase.status().into(),
        status: status::text(&view.status, now),
        host_config: SummaryHostConfig {
            network_mode: record.host_config.network_mode.clone(),
            annotations: record.host_config.annotations.clone().filter(|annotations| !annotations.is_empty()),
        },
        network_settings: SummaryNetworkSettings { networks: networks(parts, view) },
        mounts,
    }
}

/// The name the container was made by; the image's id where that name means another image now, or none.
fn image_name(parts: &Parts, view: &View) -> String {
    let image = &view.record.image;
    let id = image.id.to_string();
    if id.contains(image.name.as_str()) || image.name.parse::<Reference>().is_err() {
        return image.name.clone();
    }
    match parts.image_id(&image.name) {
        Some(now) if now == image.id => image.name.clone(),
        _ => id,
    }
}

/// Program and arguments in one line, words with spaces quoted as dockerd does.
fn command(view: &View) -> String {
    let quote = |word: &String| {
        if word.contains(' ') { format!("'{}'", word.replace('\'', "\\'")) } else { word.clone() }
    };
    let args: Vec<String> = view.record.args.iter().map(quote).collect();
    if args.is_empty() { view.record.path.clone() } else { format!("{} {}", view.record.path, args.join(" ")) }
}

fn ports(view: &View) -> Vec<Port> {
    if !view.status.phase.is_live() {
        return Vec::new();
    }
    let mut ports = Vec::new();
    for (key, bindings) in port_map(view) {
        let (number, kind) = key.split_once('/').unwrap_or((&key, "tcp"));
        let Ok(private_port) = number.parse() else { continue };
        let port = |ip: String, public_port| Port { ip, private_port, public_port, kind: kind.into() };
        match bindings {
            None => ports.push(port(String::new(), 0)),
            Some(bindings) => {
                ports.extend(bindings.into_iter().map(|b| port(b.host_ip, b.host_port.parse().unwrap_or(0))));
            }
        }
    }
    ports
}
