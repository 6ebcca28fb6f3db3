//! Creation: everything a container needs on disk is made first, then one transaction makes it exist. What a failure or a
//! crash leaves behind before that transaction is undone.

use super::{
    CreateOptions, Created, Handle, document,
    merge::{Defaults, command_line, defaults_into_host_config, image_into_config},
    mounts::{self, Kind, MountRecord},
    names, networking,
    record::{ImageRecord, Record, Status, View},
    restart::Policy,
};
use crate::{
    events::Scope,
    parts::{Parts, blocking},
};
use jiff::Timestamp;
use rorqual_api_types::{
    container::{Config, CreateRequest, HostConfig},
    network::EndpointSettings,
};
use rorqual_error::{Context, Error, Kind as ErrorKind, Result};
use rorqual_image::Resolved;
use rorqual_metadata::{Durability, failpoint};
use rorqual_network::{NetworkMode, PortRequest};
use rorqual_types::{ContainerId, ContainerName, Platform, Reference};
use rorqual_volume::CreateVolume;
use std::{
    collections::BTreeMap,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Creates a container and starts its task.
pub(super) async fn create(parts: &Arc<Parts>, options: CreateOptions) -> Result<Created> {
    let worker = parts.clone();
    let (view, warnings) = blocking(move || create_blocking(&worker, options)).await?;
    let record = view.record.clone();
    Handle::spawn(parts, view, None);
    parts.events.publish(Scope::Container, "create", record.id.as_str(), record.attributes());
    Ok(Created { id: record.id.clone(), warnings })
}

fn create_blocking(parts: &Parts, options: CreateOptions) -> Result<(View, Vec<String>)> {
    let CreateRequest { mut config, host_config, networking_config } = options.request;
    let mut host = host_config.unwrap_or_default();
    check_request(&config, &host)?;
    let mut warnings = crate::spec::validate(&config, &host, &parts.machine)?;
    let networks = networking_config.and_then(|networking| networking.endpoints_config);
    warnings.extend(networking::check(&config, &host, networks.as_ref())?);
    let image = resolve_image(parts, &config.image, options.platform.as_ref())?;
    image_into_config(&mut config, &image.config.config);
    let id = ContainerId::from_random(random()?);
    let runtime = parts.default_runtime();
    let defaults = Defaults { engine: &parts.config, machine: &parts.machine, runtime: &runtime };
    defaults_into_host_config(&mut host, &mut config, &id, &defaults);
    expose_published(&mut config, &host)?;
    let (path, args) = command_line(&config)?;
    check_references(parts, &mut host)?;
    share_hostname(parts, &mut config, &host)?;
    let inherited = inherit_mounts(parts, &host)?;
    let mounts = mounts::resolve(&config, &host, inherited)?;
    check_sources(&mounts)?;
    let spec_mounts: Vec<_> =
        mounts.iter().filter(|mount| !mount.source.is_empty() || mount.kind == Kind::Tmpfs).collect();
    let spec_mounts = spec_mounts.into_iter().map(document::spec_mount).collect::<Result<Vec<_>>>()?;
    warnings.extend(document::decide_userns(parts, &host, &spec_mounts)?.warnings);
    if host.runtime != crate::OWN_RUNTIME {
        document::external_runtime(parts, &host.runtime)?;
    }

    let name = reserve_name(parts, options.name, &id)?;
    let mut undo = Undo { parts, id: id.clone(), name: name.clone(), volumes: Vec::new(), armed: true };
    let networks: BTreeMap<String, EndpointSettings> = networks
        .unwrap_or_default()
        .into_iter()
        .map(|(network, settings)| (network, settings.unwrap_or_default()))
        .collect();
    let mut record = Record {
        id: id.clone(),
        name,
        created: Timestamp::now(),
        image: ImageRecord {
            id: image.id,
            name: config.image.clone(),
            // What the name points to says more where it is the manifest itself.
            manifest: match image.target.digest == image.manifest.digest {
                true => image.target.clone(),
                false => image.manifest.clone(),
            },
            platform: image.platform.clone(),
            lowers: image.lowers(),
            max_owner_id: image.max_owner_id,
        },
        config,
        host_config: host,
        networks,
        path,
        args,
        mounts,
    };
    make_volumes(parts, &mut record, &mut undo)?;
    make_directories(parts, &record)?;
    commit(parts, &record, &image, &undo)?;
    undo.armed = false;
    let view = View {
        record: Arc::new(record),
        status: Status::created(),
        stops: 0,
        exits: 0,
        removed: false,
        removal_error: None,
    };
    Ok((view, warnings))
}

/// What a failed creation takes back.
struct Undo<'a> {
    parts: &'a Parts,
    id: ContainerId,
    name: ContainerName,
    /// Anonymous volumes made so far.
    volumes: Vec<String>,
    armed: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.parts.index().release(&self.name, &self.id);
        undo_files(self.parts, &self.id, &self.volumes);
    }
}

/// Removes what a creation that was not committed has made. Also what recovery does for one that a crash interrupted.
pub(super) fn undo_files(parts: &Parts, id: &ContainerId, volumes: &[String]) {
    parts.volumes.release(id);
    let mut failed = false;
    for volume in volumes {
        match parts.volumes.remove(volume, true) {
            Ok(removed) => {
                if removed {
                    parts.volume_event("destroy", volume, "local", BTreeMap::new());
                }
            }
            Err(error) => {
                failed = true;
                tracing::warn!(%error, volume, "a volume of a failed creation stays behind");
            }
        }
    }
    if let Err(error) = parts.snapshots.discard(&parts.container_dir(id)) {
        tracing::warn!(%error, container = %id, "the files of a failed creation stay behind");
    }
    if !failed
        && !volumes.is_empty()
        && let Err(error) = parts.tables.pending.delete(&id.to_string(), Durability::Grouped)
    {
        tracing::warn!(%error, container = %id, "the note of a failed creation stays behind");
    }
}

fn check_request(config: &Config, host: &HostConfig) -> Result<()> {
    if config.image.is_empty() {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    let policy = Policy::parse(&host.restart_policy)?;
    if host.auto_remove && !policy.is_none() {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    if !config.stop_signal.is_empty() {
        config.stop_signal.parse::<rorqual_types::Signal>()?;
    }
    Ok(())
}

fn resolve_image(parts: &Parts, name: &str, platform: Option<&Platform>) -> Result<Resolved> {
    parts.images.resolve(name, platform).map_err(|error| match (error.kind(), name.parse::<Reference>()) {
        // dockerd names the tag it looked for; `docker run` pulls on this.
        (ErrorKind::NotFound, Ok(reference)) if platform.is_none() => {
            Error::not_found(format!("No such image: {}", reference.or_latest().familiar()))
        }
        _ => error,
    })
}

/// Published ports are exposed ones too, as dockerd shows them.
fn expose_published(config: &mut Config, host: &HostConfig) -> Result<()> {
    for (key, bindings) in host.port_bindings.iter().flatten() {
        for binding in bindings.iter().flatten() {
            PortRequest::from_binding(key, &binding.host_ip, &binding.host_port)?;
        }
        let key = if key.contains('/') { key.clone() } else { format!("{key}/tcp") };
        config.exposed_ports.get_or_insert_default().entry(key).or_default();
    }
    Ok(())
}

/// Containers whose namespaces are joined: their ids are stored, as dockerd does. Of the network it asks at the start
/// only. Nothing here is "not found": clients would take that for the image, and pull it.
fn check_references(parts: &Parts, host: &mut HostConfig) -> Result<()> {
    if let Some(name) = host.network_mode.strip_prefix("container:")
        && let Ok(handle) = parts.index().find(name)
    {
        host.network_mode = format!("container:{}", handle.id());
    }
    for mode in [&mut host.ipc_mode, &mut host.pid_mode] {
        if let Some(name) = mode.strip_prefix("container:") {
            let index = parts.index();
            let id = index.find(name).map_err(|error| error.with_kind(ErrorKind::InvalidArgument))?.id().clone();
            *mode = format!("container:{id}");
        }
    }
    for link in host.links.iter().flatten() {
        let (name, _) = document::parse_link(link);
        parts
            .index()
            .find(name)
            .map(drop)
            .map_err(|error| Error::invalid(format!("could not get container for {name}: {error}")))?;
    }
    match NetworkMode::parse(&host.network_mode) {
        NetworkMode::Container(_) if host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()) => {
            Err(Error::invalid("conflicting options: port publishing and the container type network mode"))
        }
        NetworkMode::Container(_) if host.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()) => {
            Err(Error::invalid("conflicting options: custom host-to-IP mapping and the network mode"))
        }
        NetworkMode::Container(_) if host.dns.as_ref().is_some_and(|dns| !dns.is_empty()) => {
            Err(Error::invalid("conflicting options: dns and the network mode"))
        }
        NetworkMode::Bridge
        | NetworkMode::Host
        | NetworkMode::None
        | NetworkMode::Container(_)
        | NetworkMode::Named(_) => Ok(()),
    }
}

/// Who shares another container's network has its name too.
fn share_hostname(parts: &Parts, config: &mut Config, host: &HostConfig) -> Result<()> {
    if let NetworkMode::Container(other) = NetworkMode::parse(&host.network_mode) {
        let Ok(other) = parts.index().find(&other).map(|handle| handle.view()) else { return Ok(()) };
        config.hostname = crate::spec::hostname(&other.record.config, other.record.id.as_str());
        config.domainname.clone_from(&other.record.config.domainname);
    }
    Ok(())
}

fn inherit_mounts(parts: &Parts, host: &HostConfig) -> Result<Vec<MountRecord>> {
    let mut inherited: Vec<MountRecord> = Vec::new();
    for source in host.volumes_from.iter().flatten() {
        let (name, read_only) = mounts::parse_volumes_from(source)?;
        let found = parts.index().find(name).map(|handle| handle.view());
        let view = found.map_err(|error| error.with_kind(ErrorKind::InvalidArgument))?;
        for mount in view.record.mounts.iter().filter(|mount| mount.kind != Kind::Tmpfs) {
            let mut mount = mount.clone();
            mount.read_only |= read_only;
            mount.anonymous = false;
            inherited.retain(|other| other.destination != mount.destination);
            inherited.push(mount);
        }
    }
    Ok(inherited)
}

/// The long form of a bind wants its source to be there; the short form makes a directory.
fn check_sources(mounts: &[MountRecord]) -> Result<()> {
    for mount in mounts.iter().filter(|mount| mount.kind == Kind::Bind && !mount.create_source) {
        if !Path::new(&mount.source).exists() {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source
            )));
        }
    }
    Ok(())
}

fn reserve_name(parts: &Parts, wanted: Option<ContainerName>, id: &ContainerId) -> Result<ContainerName> {
    let mut index = parts.index();
    if let Some(name) = wanted {
        index.reserve(&name, id)?;
        return Ok(name);
    }
    for attempt in 0.. {
        let name = names::random(random()?, attempt);
        if !index.is_taken(&name) {
            index.reserve(&name, id)?;
            return Ok(name);
        }
    }
    Err(Error::internal("no name is free"))
}

/// Makes named volumes that are missing and anonymous ones, fills new ones from the image and notes who uses them.
fn make_volumes(parts: &Parts, record: &mut Record, undo: &mut Undo<'_>) -> Result<()> {
    let id = record.id.clone();
    let layers: Vec<PathBuf> =
        record.image.lowers.iter().map(|lower| parts.snapshots.layers_dir().join(lower).join("fs")).collect();
    let mut fresh = Vec::new();
    for mount in record.mounts.iter_mut().filter(|mount| mount.kind == Kind::Volume && mount.name.is_empty()) {
        mount.name = rorqual_types::VolumeName::from_random(random()?).to_string();
        fresh.push(mount.name.clone());
    }
    if !fresh.is_empty() {
        parts.tables.pending.put(&id.to_string(), &fresh, Durability::Grouped)?;
        undo.volumes.clone_from(&fresh);
        failpoint!("create.volumes")?;
    }
    for mount in record.mounts.iter_mut().filter(|mount| mount.kind == Kind::Volume) {
        let anonymous = fresh.contains(&mount.name);
        let mut labels = mount.labels.clone();
        if anonymous {
            labels.insert("com.docker.volume.anonymous".into(), String::new());
        }
        let request = CreateVolume {
            name: Some(mount.name.clone()),
            driver: mount.driver.clone(),
            options: mount.driver_options.clone(),
            labels,
        };
        let (volume, new) = parts.volumes.create(&request)?;
        if new {
            parts.volume_event("create", &mount.name, &volume.driver, BTreeMap::new());
        }
        mount.source = volume.mountpoint.to_string_lossy().into_owned();
        parts.volumes.acquire(&mount.name, &id)?;
        if !mount.no_copy && mount.subpath.is_empty() {
            parts.volumes.copy_up(&mount.name, &layers, Path::new(&mount.destination))?;
        }
    }
    Ok(())
}

fn make_directories(parts: &Parts, record: &Record) -> Result<()> {
    let dir = parts.container_dir(&record.id);
    // Traversed by the shim as the machine's root only: the container's own ids reach nothing through this path.
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("create the container's directory {}", dir.display()))?;
    failpoint!("create.directory")?;
    parts.snapshots.prepare_on(&record.id, record.image.lowers.first().map(String::as_str))?;
    failpoint!("create.writable")?;
    Ok(())
}

fn commit(parts: &Parts, record: &Record, image: &Resolved, undo: &Undo<'_>) -> Result<()> {
    let key = record.id.to_string();
    let mut transaction = parts.store.begin();
    transaction.put(&parts.tables.records, &key, record)?;
    transaction.put(&parts.tables.statuses, &key, &Status::created())?;
    if !undo.volumes.is_empty() {
        transaction.delete(&parts.tables.pending, &key);
    }
    parts.images.hold(&mut transaction, &record.id, image)?;
    let committed = transaction.commit(Durability::Grouped).and_then(|()| failpoint!("create.committed"));
    if committed.is_err() {
        // the caller takes the directories away again; the record must not outlive them
        let mut transaction = parts.store.begin();
        transaction.delete(&parts.tables.records, &key);
        transaction.delete(&parts.tables.statuses, &key);
        parts.images.release(&mut transaction, &record.id);
        let _ = transaction.commit(Durability::Grouped);
    }
    committed
}

/// Random bytes from the kernel.
pub(crate) fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .context("random bytes from the kernel")?;
    }
    Ok(bytes)
}
