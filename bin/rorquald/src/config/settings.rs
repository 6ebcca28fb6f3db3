//! The merged options as typed settings.

use super::{Merged, value::is_label};
use crate::{identity::Remap, listen::Address};
use anyhow::{Context, Result, anyhow, bail};
use rorqual_api_types::system::{IndexInfo, RegistryConfig};
use rorqual_engine::{
    EngineConfig, ExternalRuntime, LayerKind, NetworkSettings, OWN_RUNTIME, PullPolicy, UserNamespaces, budget::Budget,
};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    env,
    net::IpAddr,
    path::{Path, PathBuf},
};
use tracing::level_filters::LevelFilter;

/// Where clients find the daemon, unless told otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Where everything is that must survive a reboot, unless told otherwise.
const DATA_ROOT: &str = "/var/lib/rorqual";
/// The group of the socket, unless told otherwise.
const DEFAULT_GROUP: &str = "docker";
/// Each layer on its way costs a connection and a thread.
const TRANSFERS_MAX: usize = 64;
/// Runtimes that need no `--add-runtime`, because `PATH` finds them.
const KNOWN_RUNTIMES: [&str; 3] = [OWN_RUNTIME, "runc", "crun"];
/// Log drivers there are.
const LOG_DRIVERS: [&str; 2] = ["json-file", "none"];

/// Everything the daemon is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub hosts: Vec<Address>,
    /// The group of unix sockets, and whether it was asked for by name.
    pub group: (String, bool),
    /// TLS on tcp.
    pub tls: Option<Tls>,
    /// Whether tcp without TLS was asked for twice.
    pub insecure_tcp: bool,
    /// The file of the process id.
    pub pidfile: PathBuf,
    /// The level of our own log.
    pub level: LevelFilter,
    /// Whether our own log is JSON.
    pub json_log: bool,
    /// Whether `--experimental` was given.
    pub experimental: bool,
    /// Registries, as `info` reports them.
    pub registries: RegistryConfig,
    /// Proxies, as `info` reports them: http, https, none.
    pub proxies: [String; 3],
    /// The registry that is served besides, where one is.
    pub registry: Option<rorqual_registry::Config>,
    /// The server that gives other nodes the blobs of this one, where there is one.
    pub blob_server: Option<rorqual_registry::Config>,
    /// What the engine is opened with.
    pub engine: EngineConfig,
}

/// TLS on tcp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// What clients' certificates are checked against; `None` where they need none.
    pub client_ca: Option<PathBuf>,
    /// The daemon's certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Settings {
    /// Checks what needs no look at the machine, in dockerd's words where it has some.
    pub fn check(merged: &Merged) -> Result<()> {
        if let Some((option, why)) = merged.refused() {
            bail!("{option}: {why}");
        }
        check_labels(merged.list("label"))?;
        for address in merged.list("dns").iter().chain(merged.list("host-gateway-ip")) {
            address.parse::<IpAddr>().map_err(|_| anyhow!("invalid IP address: {address}"))?;
        }
        for host in merged.list("host") {
            Address::parse(host)?;
        }
        for (option, what) in [
            ("mtu", "default MTU"),
            ("max-concurrent-downloads", "max concurrent downloads"),
            ("max-concurrent-uploads", "max concurrent uploads"),
        ] {
            if let Some(number) = merged.number(option).filter(|number| *number < 0) {
                bail!("invalid {what}: {number}");
            }
        }
        if let Some(mode) = merged.text("default-ipc-mode").filter(|mode| !matches!(*mode, "private" | "shareable")) {
            bail!("default IPC mode setting ({mode}) is invalid; use \"shareable\" or \"private\"");
        }
        if let Some(mode) = merged.text("default-cgroupns-mode").filter(|mode| !matches!(*mode, "private" | "host")) {
            bail!("invalid default cgroup namespace ({mode}): use \"host\" or \"private\"");
        }
        for option in merged.list("exec-opt") {
            match option.split_once('=') {
                Some(("native.cgroupdriver", "cgroupfs")) => {}
                Some(("native.cgroupdriver", other)) => {
                    bail!("exec-opt native.cgroupdriver={other} is not supported: use cgroupfs")
                }
                Some((name, _)) => bail!("exec-opt {name} is not supported"),
                None => bail!("invalid exec-opt ({option}): must be formatted 'opt=value'"),
            }
        }
        level(merged)?;
        match merged.text("log-format") {
            None | Some("text" | "json") => {}
            Some(other) => bail!("invalid log format: {other}"),
        }
        if let Some(driver) = merged.text("log-driver").filter(|driver| !LOG_DRIVERS.contains(driver)) {
            bail!("log driver {driver} is not supported yet: use one of {}", LOG_DRIVERS.join(", "));
        }
        if let Some(backend) = merged.text("firewall-backend").filter(|backend| *backend != "nftables") {
            bail!("firewall-backend {backend} is not supported: use nftables");
        }
        if let Some(driver) =
            merged.text("storage-driver").filter(|driver| !matches!(*driver, "overlay2" | "overlayfs"))
        {
            bail!("storage driver {driver} is not supported: use overlay2");
        }
        layers(merged)?;
        budget(merged)?;
        let runtimes = runtimes(merged)?;
        if let Some(name) = merged.text("default-runtime")
            && !runtimes.contains_key(name)
            && !KNOWN_RUNTIMES.contains(&name)
        {
            bail!("specified default runtime '{name}' does not exist");
        }
        ulimits(merged)?;
        Ok(())
    }

    /// The settings; what cannot be checked without the machine is checked here.
    pub fn new(merged: &Merged) -> Result<Self> {
        let tls = tls(merged);
        let hosts = match merged.list("host") {
            [] => vec![Address::Unix(DEFAULT_SOCKET.into())],
            given => given.iter().map(|host| Address::parse(host)).collect::<Result<_>>()?,
        };
        let group = merged.text("group");
        let hosts = hosts.into_iter().map(|host| host.or_port(if tls.is_some() { 2376 } else { 2375 })).collect();
        Ok(Self {
            hosts,
            group: (group.unwrap_or(DEFAULT_GROUP).to_owned(), group.is_some()),
            insecure_tcp: merged.flag("tls") == Some(false) && merged.flag("allow-insecure-tcp") == Some(true),
            tls,
            pidfile: path(merged, "pidfile", "/var/run/docker.pid"),
            level: level(merged)?,
            json_log: merged.text("log-format") == Some("json"),
            experimental: merged.flag("experimental").unwrap_or_default(),
            registries: registries(merged),
            proxies: proxies(merged).map(|proxy| without_password(&proxy)),
            registry: registry(merged)?,
            blob_server: blob_server(merged)?,
            engine: engine(merged)?,
        })
    }
}

/// Labels are `key=value`, and no key has two values.
fn check_labels(labels: &[String]) -> Result<()> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for label in labels {
        if !is_label(label) {
            bail!("bad attribute format: {label}");
        }
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        if let Some(other) = seen.insert(key, value)
            && other != value
        {
            bail!("conflict labels for {key}={value} and {key}={other}");
        }
    }
    Ok(())
}

fn path(merged: &Merged, option: &str, default: &str) -> PathBuf {
    let path = PathBuf::from(merged.text(option).unwrap_or(default));
    std::path::absolute(&path).unwrap_or(path)
}

fn level(merged: &Merged) -> Result<LevelFilter> {
    let level = match merged.text("log-level").unwrap_or("info").to_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        _ => bail!("invalid logging level: {}", merged.text("log-level").unwrap_or_default()),
    };
    Ok(if merged.flag("debug") == Some(true) { level.max(LevelFilter::DEBUG) } else { level })
}

/// TLS is on where any of its options asks for it; `--tlsverify=false` asks too, as in dockerd.
fn tls(merged: &Merged) -> Option<Tls> {
    let verify = merged.flag("tlsverify");
    if merged.flag("tls") != Some(true) && verify.is_none() {
        return None;
    }
    let directory = env::var_os("DOCKER_CERT_PATH")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker"));
    let file = |option: &str, name: &str| merged.text(option).map_or_else(|| directory.join(name), PathBuf::from);
    Some(Tls {
        client_ca: (verify == Some(true)).then(|| file("tlscacert", "ca.pem")),
        certificate: file("tlscert", "cert.pem"),
        key: file("tlskey", "key.pem"),
    })
}

/// Runtimes of the file's form: `path`, `runtimeArgs`.
pub(super) fn runtimes(merged: &Merged) -> Result<BTreeMap<String, ExternalRuntime>> {
    let Some(Json::Object(members)) = merged.json("add-runtime") else { return Ok(BTreeMap::new()) };
    let mut found = BTreeMap::new();
    for (name, runtime) in members {
        if name == OWN_RUNTIME {
            bail!("runtime name '{OWN_RUNTIME}' is reserved");
        }
        if runtime.get("runtimeType").is_some_and(|kind| !kind.is_null()) {
            bail!("runtime {name}: runtimeType is not supported: there is no containerd here; give a path");
        }
        let path = runtime.get("path").and_then(Json::as_str).unwrap_or_default();
        if path.is_empty() {
            bail!("runtime {name}: either a runtimeType or a path must be configured");
        }
        let arguments = runtime.get("runtimeArgs").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let args = arguments.iter().filter_map(Json::as_str).map(str::to_owned).collect();
        found.insert(name.clone(), ExternalRuntime { path: path.to_owned(), args });
    }
    Ok(found)
}

fn ulimits(merged: &Merged) -> Result<BTreeMap<String, (i64, i64)>> {
    let Some(Json::Object(members)) = merged.json("default-ulimit") else { return Ok(BTreeMap::new()) };
    let mut found = BTreeMap::new();
    for (name, limit) in members {
        let side = |key: &str| limit.get(key).and_then(Json::as_i64);
        let (Some(soft), Some(hard)) = (side("Soft"), side("Hard")) else {
            bail!("default ulimit {name}: Soft and Hard must be numbers");
        };
        if soft > hard && hard != -1 {
            bail!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}");
        }
        found.insert(name.clone(), (soft, hard));
    }
    Ok(found)
}

fn registries(merged: &Merged) -> RegistryConfig {
    let mirrors = merged.list("registry-mirror").to_vec();
    let insecure = merged.list("insecure-registry");
    let official = IndexInfo { name: "docker.io".into(), official: true, secure: true, mirrors: mirrors.clone() };
    let is_network = |item: &&String| item.contains('/');
    let hosts = insecure.iter().filter(|item| !is_network(item)).map(|host| {
        (host.clone(), IndexInfo { name: host.clone(), official: false, secure: false, mirrors: Vec::new() })
    });
    let loopback = ["::1/128", "127.0.0.0/8"].map(str::to_owned);
    RegistryConfig {
        index_configs: hosts.chain([("docker.io".to_owned(), official)]).collect(),
        insecure_registry_cidrs: insecure.iter().filter(is_network).cloned().chain(loopback).collect(),
        mirrors: (!mirrors.is_empty()).then_some(mirrors),
    }
}

/// From options, else from the environment.
fn proxies(merged: &Merged) -> [String; 3] {
    ["http-proxy", "https-proxy", "no-proxy"].map(|option| {
        let name = option.replace('-', "_");
        let given = merged.text(option).map(str::to_owned);
        given.or_else(|| env::var(name.to_uppercase()).ok()).or_else(|| env::var(&name).ok()).unwrap_or_default()
    })
}

/// How many layers at a time; dockerd takes no number below one either.
fn transfers(merged: &Merged, option: &str, default: usize) -> Result<usize> {
    match merged.number(option) {
        None | Some(0) => Ok(default),
        Some(number) => match usize::try_from(number) {
            Ok(number) => Ok(number.min(TRANSFERS_MAX)),
            Err(_) => bail!("invalid {}: {number}", option.replace('-', " ")),
        },
    }
}

/// How the registries are reached.
fn distribution(merged: &Merged) -> Result<rorqual_engine::registry::Config> {
    let [http_proxy, https_proxy, no_proxy] = proxies(merged);
    let rules = match merged.other("registry-rules") {
        Some(rules) => serde_json::from_value(rules.clone()).context("registry-rules")?,
        None => Vec::new(),
    };
    let peers = match merged.other("blob-peers") {
        Some(peers) => serde_json::from_value(peers.clone()).context("blob-peers")?,
        None => Vec::new(),
    };
    Ok(rorqual_engine::registry::Config {
        registry_mirrors: merged.list("registry-mirror").to_vec(),
        insecure_registries: merged.list("insecure-registry").to_vec(),
        rules,
        peers,
        proxies: rorqual_engine::registry::Proxies { http_proxy, https_proxy, no_proxy },
        ..Default::default()
    })
}

/// Options of a registry, `NAME=VALUE`; a name alone means `true`.
fn registry_options(given: &[String]) -> Result<rorqual_registry::Options> {
    let mut options = rorqual_registry::Options::default();
    for option in given {
        let (name, value) = option.split_once('=').unwrap_or((option, "true"));
        options.set(name, value)?;
    }
    Ok(options)
}

/// The server that gives other nodes the blobs of this one.
fn blob_server(merged: &Merged) -> Result<Option<rorqual_registry::Config>> {
    match merged.list("blob-server") {
        [] => Ok(None),
        given => registry_options(given)?.node_config().map(Some).context("blob-server"),
    }
}

/// The registry that is served besides. It reaches its upstream as the daemon reaches registries.
fn registry(merged: &Merged) -> Result<Option<rorqual_registry::Config>> {
    let given = merged.list("registry-opt");
    if merged.flag("registry") != Some(true) {
        return match given {
            [] => Ok(None),
            _ => bail!("registry-opt needs registry"),
        };
    }
    let mut config = registry_options(given)?.config(&path(merged, "data-root", DATA_ROOT).join("registry"))?;
    if let Some(proxy) = &mut config.proxy {
        proxy.client = distribution(merged)?;
    }
    Ok(Some(config))
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        None => url.to_owned(),
    }
}

fn addresses(merged: &Merged, option: &str) -> Vec<IpAddr> {
    merged.list(option).iter().filter_map(|text| text.parse().ok()).collect()
}

fn engine(merged: &Merged) -> Result<EngineConfig> {
    let data_root = path(merged, "data-root", DATA_ROOT);
    let exec_root = path(merged, "exec-root", "/var/run/rorqual");
    let defaults = EngineConfig::new(&data_root, &exec_root, shim(merged)?);
    let text = |option: &str| merged.text(option).map(str::to_owned);
    Ok(EngineConfig {
        layers: layers(merged)?,
        network: network(merged)?,
        registries: distribution(merged)?,
        pull_policy: merged
            .text("pull-policy")
            .map(|path| PullPolicy::read(path.as_ref()))
            .transpose()?
            .unwrap_or_default(),
        budget: budget(merged)?,
        max_downloads: transfers(merged, "max-concurrent-downloads", defaults.max_downloads)?,
        max_uploads: transfers(merged, "max-concurrent-uploads", defaults.max_uploads)?,
        default_runtime: text("default-runtime").unwrap_or(defaults.default_runtime),
        runtimes: runtimes(merged)?,
        userns: userns(merged)?,
        seccomp_profile: text("seccomp-profile").filter(|profile| !matches!(profile.as_str(), "builtin" | "default")),
        cgroup_parent: text("cgroup-parent"),
        init: merged.flag("init").unwrap_or_default(),
        default_shm_size: merged.number("default-shm-size").unwrap_or(defaults.default_shm_size),
        default_ulimits: ulimits(merged)?,
        default_ipc_mode: text("default-ipc-mode").unwrap_or(defaults.default_ipc_mode),
        default_cgroupns_mode: text("default-cgroupns-mode"),
        no_new_privileges: merged.flag("no-new-privileges").unwrap_or_default(),
        log_driver: text("log-driver").unwrap_or(defaults.log_driver),
        log_options: merged.map("log-opt"),
        labels: merged.list("label").to_vec(),
        debug: merged.flag("debug").unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..EngineConfig::new(data_root, exec_root, defaults.shim)
    })
}

/// How much of the disk images may take; without the key they stay.
fn budget(merged: &Merged) -> Result<Option<Budget>> {
    let budget = merged.other("image-gc").map(|json| serde_json::from_value(json.clone()));
    budget.transpose().context("image-gc")
}

/// What image layers are kept as; the last option given counts.
fn layers(merged: &Merged) -> Result<LayerKind> {
    let mut kind = LayerKind::Archive;
    for option in merged.list("storage-opt") {
        kind = match option.as_str() {
            "layers=erofs" => LayerKind::Archive,
            "layers=directories" => LayerKind::Directory,
            other => bail!("storage option {other} is not supported: use layers=erofs or layers=directories"),
        };
    }
    Ok(kind)
}

/// The shim beside this program, unless told otherwise.
fn shim(merged: &Merged) -> Result<PathBuf> {
    if let Some(path) = merged.text("shim") {
        return Ok(path.into());
    }
    let own = env::current_exe().context("find this program's own file")?;
    Ok(own.parent().unwrap_or(Path::new("/")).join("rorqual-shim"))
}

fn network(merged: &Merged) -> Result<NetworkSettings> {
    let defaults = NetworkSettings::default();
    let text = |option: &str| merged.text(option).map(str::to_owned);
    let binding = match merged.text("ip") {
        Some(address) => address.parse().map_err(|_| anyhow!("invalid IP address: {address}"))?,
        None => defaults.default_binding_address,
    };
    Ok(NetworkSettings {
        bridge: text("bridge").unwrap_or(defaults.bridge),
        bip: text("bip"),
        bip6: text("bip6"),
        fixed_cidr: text("fixed-cidr"),
        fixed_cidr_v6: text("fixed-cidr-v6"),
        ipv6: merged.flag("ipv6").unwrap_or(defaults.ipv6),
        mtu: merged.number("mtu").and_then(|mtu| u32::try_from(mtu).ok()).unwrap_or(defaults.mtu),
        default_binding_address: binding,
        icc: merged.flag("icc").unwrap_or(defaults.icc),
        ip_forward: merged.flag("ip-forward").unwrap_or(defaults.ip_forward),
        firewall: merged.flag("iptables").unwrap_or(defaults.firewall),
        masquerade: merged.flag("ip-masq").unwrap_or(defaults.masquerade),
        dns: addresses(merged, "dns"),
        dns_options: merged.list("dns-opt").to_vec(),
        dns_search: merged.list("dns-search").to_vec(),
        host_gateway_ips: addresses(merged, "host-gateway-ip"),
    })
}

fn userns(merged: &Merged) -> Result<UserNamespaces> {
    Ok(match merged.text("userns-remap") {
        None => UserNamespaces::PerContainer,
        Some("host") => UserNamespaces::Host,
        Some(name) => {
            let Remap { uid, gid, length } = Remap::find(name).with_context(|| format!("userns-remap {name}"))?;
            UserNamespaces::Remap { uid, gid, length, name: name.to_owned() }
        }
    })
}
