//! From what dockerd wrote down of a container to the request that makes it anew.
//!
//! dockerd writes what it decided next to what it was asked for. What it decided by itself (a host name from the ID, its
//! default runtime, names by ID) is left to the new engine; what was asked for stays word for word.

use crate::container::{Container, MountPoint};
use rorqual_api_types::{
    container::{Config, CreateRequest, HostConfig, NetworkingConfig},
    mount::Mount,
    network::EndpointSettings,
};
use std::collections::BTreeSet;

/// The runtime that dockerd takes where none is asked for.
const DEFAULT_RUNTIME: &str = "runc";
/// Digits of an ID that stand for it.
const SHORT_ID: usize = 12;
/// Network modes that name no network of the user's.
const MODES: [&str; 5] = ["", "default", "bridge", "host", "none"];
/// What begins a mode that joins another container.
const CONTAINER: &str = "container:";

impl Container {
    /// The image as the user named it, by name or by an ID of the old engine.
    pub fn image_name(&self) -> &str {
        &self.config.image
    }

    /// The containers it refers to, by name or ID, as far as they can be told.
    pub(crate) fn needs(&self) -> Vec<String> {
        let host = &self.host_config;
        let modes = [&host.network_mode, &host.ipc_mode, &host.pid_mode].into_iter();
        let joined = modes.filter_map(|mode| mode.strip_prefix(CONTAINER));
        let lists = [&host.volumes_from, &host.links].into_iter().flatten().flatten();
        let listed = lists.map(|text| text.split(':').next().unwrap_or_default());
        joined.chain(listed).map(|name| name.trim_start_matches('/').to_owned()).collect()
    }

    /// The networks of the user's that it is in.
    pub fn networks(&self) -> BTreeSet<&str> {
        let all = self.endpoints.keys().map(String::as_str).chain([self.network_mode()]);
        all.filter(|name| !MODES.contains(name) && !name.starts_with(CONTAINER)).collect()
    }

    /// The volumes it uses, by name.
    pub fn volumes(&self) -> BTreeSet<&str> {
        let named = self.mount_points.values().filter(|point| is_volume(point));
        named.map(|point| point.name.as_str()).collect()
    }

    /// The request. `all` are the containers it may refer to, `image` is what to call its image, and `image_health` the health
    /// check that the image has itself, as JSON.
    pub fn definition(&self, all: &[&Self], image: &str, image_health: Option<&serde_json::Value>) -> CreateRequest {
        let host_config = self.host_config(all);
        let mut config = Config { image: image.to_owned(), ..self.config.clone() };
        let joins = host_config.network_mode.starts_with(CONTAINER);
        if joins || host_config.network_mode == "host" || self.is_short_id(&config.hostname) {
            config.hostname.clear();
        }
        if joins {
            config.exposed_ports = None;
        }
        // The image brings it along.
        let own = config.healthcheck.as_ref().and_then(|check| serde_json::to_value(check).ok());
        if own.is_some() && own.as_ref() == image_health {
            config.healthcheck = None;
        }
        let endpoints = self.endpoints.iter().filter(|_| !joins).map(|(name, endpoint)| {
            let given = &endpoint.settings;
            let aliases = given.aliases.iter().flatten().filter(|alias| !self.is_short_id(alias));
            let settings = EndpointSettings {
                ipam_config: given.ipam_config.clone().filter(|asked| *asked != Default::default()),
                links: given.links.clone(),
                aliases: Some(aliases.cloned().collect::<Vec<_>>()).filter(|aliases| !aliases.is_empty()),
                mac_address: endpoint.desired_mac_address.clone(),
                driver_opts: given.driver_opts.clone(),
                gw_priority: given.gw_priority,
                ..EndpointSettings::default()
            };
            (name.clone(), Some(settings))
        });
        // Of a network that the mode implies there is nothing to say.
        let told = |(name, settings): &(String, Option<EndpointSettings>)| {
            !MODES.contains(&name.as_str()) || settings.as_ref().is_some_and(|given| *given != Default::default())
        };
        let endpoints = endpoints.filter(told).collect();
        CreateRequest {
            config,
            host_config: Some(host_config),
            networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
        }
    }

    /// Whether a name is the one that dockerd makes of the ID.
    fn is_short_id(&self, name: &str) -> bool {
        name.len() == SHORT_ID && self.id.starts_with(name)
    }

    fn host_config(&self, all: &[&Self]) -> HostConfig {
        let mut host = self.host_config.clone();
        host.container_id_file.clear();
        if host.runtime == DEFAULT_RUNTIME {
            host.runtime.clear();
        }
        host.network_mode = self.network_mode().to_owned();
        for mode in [&mut host.network_mode, &mut host.ipc_mode, &mut host.pid_mode] {
            if let Some(name) = mode.strip_prefix(CONTAINER) {
                *mode = format!("{CONTAINER}{}", named(all, name));
            }
        }
        for text in [&mut host.volumes_from, &mut host.links].into_iter().flatten().flatten() {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            *text = format!("{}{rest}", named(all, name));
        }
        self.name_volumes(all, &mut host);
        host
    }

    /// The mode by the network's name where it was written by its ID, which another engine does not know.
    fn network_mode(&self) -> &str {
        let mode = self.host_config.network_mode.as_str();
        let by_id = |(_, endpoint): &(&String, &crate::container::Endpoint)| endpoint.settings.network_id == mode;
        match self.endpoints.iter().find(by_id) {
            Some((name, _)) if mode.len() == 64 => name,
            _ => mode,
        }
    }

    /// Volumes without a name of the user's are mounted by the name they got, or new ones would be made in their place.
    fn name_volumes(&self, all: &[&Self], host: &mut HostConfig) {
        let bound = |target: &str| {
            let targets = host.binds.iter().flatten().filter_map(|bind| bind.split(':').nth(1));
            targets.map(|target| target.trim_end_matches('/')).any(|bound| bound == target.trim_end_matches('/'))
        };
        let from = host.volumes_from.iter().flatten().map(|text| text.split(':').next().unwrap_or_default());
        let from: Vec<&Self> = from.filter_map(|name| find(all, name)).collect();
        let inherited = |target: &str, point: &MountPoint| {
            from.iter().any(|other| other.mount_points.get(target).is_some_and(|theirs| theirs.name == point.name))
        };
        let mounted = |target: &str| host.mounts.iter().flatten().any(|mount| mount.target == target);
        let points = self.mount_points.iter().filter(|(_, point)| is_volume(point));
        let (known, new): (Vec<_>, Vec<_>) = points.partition(|(target, _)| mounted(target));
        let new = new.into_iter().filter(|(target, point)| !bound(target) && !inherited(target, point));
        let new: Vec<Mount> = new.map(|(target, point)| volume_mount(target, point)).collect();
        for (target, point) in known {
            let unnamed = |mount: &&mut Mount| mount.target == *target && mount.source.is_empty();
            host.mounts.iter_mut().flatten().filter(unnamed).for_each(|mount| mount.source.clone_from(&point.name));
        }
        if !new.is_empty() {
            host.mounts.get_or_insert_default().extend(new);
        }
    }
}

fn volume_mount(target: &str, point: &MountPoint) -> Mount {
    Mount {
        kind: "volume".into(),
        source: point.name.clone(),
        target: target.to_owned(),
        read_only: !point.writable,
        ..Mount::default()
    }
}

fn is_volume(point: &MountPoint) -> bool {
    !point.name.is_empty() && matches!(point.kind.as_str(), "" | "volume")
}

fn find<'a>(all: &[&'a Container], name: &str) -> Option<&'a Container> {
    let name = name.trim_start_matches('/');
    let by_id = |container: &&&Container| name.len() >= SHORT_ID && container.id.starts_with(name);
    all.iter().find(|container| container.name == name).or_else(|| all.iter().find(by_id)).copied()
}

/// A container's name where it was named by its ID, which will be another.
fn named<'a>(all: &[&'a Container], name: &'a str) -> &'a str {
    find(all, name).map_or(name, |container| container.name.as_str())
}
