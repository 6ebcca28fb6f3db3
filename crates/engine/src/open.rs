//! The parts below the engine, opened in order: which is given what stands here.

use crate::{
    config::{EngineConfig, NetworkSettings, Reloadable},
    containers::{Execs, IdRanges, Index, Tables, random},
    events::Events,
    parts::Parts,
    seccomp::Filters,
    spec::Machine,
};
use rorqual_distribution::Registries;
use rorqual_error::{Context, Error, Result};
use rorqual_linux::cgroup::Cgroups;
use rorqual_metadata::{Durability, Store};
use rorqual_runtime::spawn::ShimProgram;
use rorqual_snapshot::{Helper, LayerOptions, Snapshots};
use rorqual_types::ContainerId;
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Opens everything but the containers.
pub(crate) fn open_parts(mut config: EngineConfig, events: Events) -> Result<Parts> {
    make_dir(&config.data_root, 0o700)?;
    make_dir(&config.exec_root, 0o700)?;
    // Paths are handed to other processes and stored: they must mean the same everywhere.
    config.data_root = absolute(&config.data_root)?;
    config.exec_root = absolute(&config.exec_root)?;
    make_dir(&config.data_root.join("containers"), 0o700)?;
    make_dir(&config.exec_root.join("c"), 0o700)?;
    let store = Store::open(&config.data_root.join("meta"))?;
    let layers = LayerOptions { kind: config.layers, mounts: config.exec_root.join("layers") };
    let snapshots = Arc::new(Snapshots::open_with(&config.data_root, Helper::default(), &layers)?);
    let images = rorqual_image::Images::open(&config.data_root, store.clone(), snapshots.clone())?;
    let registries = watch::Sender::new(Registries::new(config.registries.clone())?);
    let pull_policy = watch::Sender::new(config.pull_policy.clone());
    let volumes = rorqual_volume::Volumes::open(config.data_root.join("volumes"), &store)?;
    let networks = rorqual_network::Networks::open(network_config(&config.network)?, &store)?;
    let mut cgroups = Cgroups::detect()?;
    cgroups.remember(&config.exec_root.join("cgroups"))?;
    let machine = Machine::detect(&cgroups);
    let shim = ShimProgram::install(&config.shim)?;
    Ok(Parts {
        node_id: node_id(&store)?,
        reloaded: watch::Sender::new(Reloadable::default()),
        tables: Tables::new(&store),
        seccomp: Filters::new(&config)?,
        idmapped_mounts: idmapped_mounts(),
        config,
        store,
        snapshots,
        images,
        registries,
        pull_policy,
        volumes,
        networks,
        cgroups,
        machine,
        shim,
        events,
        containers: Mutex::new(Index::default()),
        execs: Execs::default(),
        id_ranges: IdRanges::default(),
        grown: Notify::new(),
        closing: CancellationToken::new(),
        tasks: TaskTracker::new(),
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("resolve {}", path.display()))
}

/// A directory with this mode; one that is there keeps its own.
fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let named = || format!("make the directory {}", path.display());
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).with_context(named)?;
    // Against a umask that took more away.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(named)
}

/// Whether the kernel has user namespaces and overlays over idmapped layers (Linux 5.19).
fn idmapped_mounts() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.trim().parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let namespaces = fs::read_to_string("/proc/sys/user/max_user_namespaces");
    version >= (5, 19) && namespaces.is_ok_and(|limit| limit.trim() != "0")
}

/// The node's id for `info`, made at the first opening.
fn node_id(store: &Store) -> Result<String> {
    let table = store.table::<String, String>("node");
    let key = "id".to_owned();
    if let Some(id) = table.get(&key)? {
        return Ok(id);
    }
    let hex = ContainerId::from_random(random()?).to_string();
    // As a UUID, which is what clients expect here.
    let id = format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]);
    table.put(&key, &id, Durability::Synced)?;
    Ok(id)
}

fn network_config(settings: &NetworkSettings) -> Result<rorqual_network::Config> {
    let mut config = rorqual_network::Config {
        bridge: settings.bridge.clone(),
        bip: parse(settings.bip.as_deref(), "bip")?,
        bip6: parse(settings.bip6.as_deref(), "bip6")?,
        fixed_cidr: parse(settings.fixed_cidr.as_deref(), "fixed-cidr")?,
        fixed_cidr_v6: parse(settings.fixed_cidr_v6.as_deref(), "fixed-cidr-v6")?,
        ipv6: settings.ipv6,
        icc: settings.icc,
        masquerade: settings.masquerade,
        ip_forward: settings.ip_forward,
        firewall_v4: settings.firewall,
        firewall_v6: settings.firewall,
        host_gateway_ips: settings.host_gateway_ips.clone(),
        ..rorqual_network::Config::default()
    };
    if settings.mtu > 0 {
        config.mtu = settings.mtu;
    }
    if !settings.default_binding_address.is_unspecified() {
        config.default_host_ip = Some(settings.default_binding_address);
    }
    Ok(config)
}

fn parse<T: std::str::FromStr>(text: Option<&str>, flag: &str) -> Result<Option<T>> {
    let invalid = |text: &str| Error::invalid(format!("invalid value \"{text}\" for --{flag}"));
    text.map(|text| text.parse().map_err(|_| invalid(text))).transpose()
}
