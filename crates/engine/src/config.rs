//! What an engine is opened with. `rorquald` fills it from flags and `daemon.json`; defaults stand here once.

use crate::budget::Budget;
use crate::policy::PullPolicy;
use rorqual_snapshot::LayerKind;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Everything [`Engine::open`](crate::Engine::open) needs.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Durable state: `meta/`, `content/`, `layers/`, `containers/`, `volumes/`.
    pub data_root: PathBuf,
    /// State of this boot: sockets, exit files, the shim's program.
    pub exec_root: PathBuf,
    /// The file of `rorqual-shim`; copied once into `exec_root`.
    pub shim: PathBuf,
    /// What the layers of images are kept as (`--storage-opt layers=`).
    pub layers: LayerKind,
    /// Network settings.
    pub network: NetworkSettings,
    /// Mirrors, certificates and proxies of registries.
    pub registries: rorqual_distribution::Config,
    /// Which images may be pulled (`--pull-policy`).
    pub pull_policy: PullPolicy,
    /// `--max-concurrent-downloads`: layers that one pull fetches at a time.
    pub max_downloads: usize,
    /// `--max-concurrent-uploads`: layers that one push sends at a time.
    pub max_uploads: usize,
    /// How much of the disk images may take (`image-gc`); without one, images stay until somebody removes them.
    pub budget: Option<Budget>,
    /// The runtime used where a container names none: `rorqual` is our own.
    pub default_runtime: String,
    /// Further runtimes by name (`--add-runtime`).
    pub runtimes: BTreeMap<String, ExternalRuntime>,
    /// User namespaces.
    pub userns: UserNamespaces,
    /// A seccomp profile file in place of the built-in one (`--seccomp-profile`); `unconfined` turns it off.
    pub seccomp_profile: Option<String>,
    /// `--cgroup-parent`; `None` is `/rorqual` below the daemon's own cgroup.
    pub cgroup_parent: Option<String>,
    /// `--init`: every container gets the minimal init unless it says otherwise.
    pub init: bool,
    /// `--default-shm-size` in bytes.
    pub default_shm_size: i64,
    /// `--default-ulimit`, by name: soft and hard.
    pub default_ulimits: BTreeMap<String, (i64, i64)>,
    /// `--default-ipc-mode`: `private` or `shareable`.
    pub default_ipc_mode: String,
    /// `--default-cgroupns-mode`: `host` or `private`; `None` is `private`.
    pub default_cgroupns_mode: Option<String>,
    /// `--no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--log-driver`.
    pub log_driver: String,
    /// `--log-opt`.
    pub log_options: BTreeMap<String, String>,
    /// `--label` of the engine.
    pub labels: Vec<String>,
    /// `--debug`, reported by `info`.
    pub debug: bool,
    /// The daemon's version, reported by `info`.
    pub version: String,
    /// Default time between the stop signal and SIGKILL, in seconds.
    pub stop_timeout_s: i64,
}

/// `--runtime` entries that are programs of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalRuntime {
    /// Path or name of the program.
    pub path: String,
    /// Arguments before the command.
    pub args: Vec<String>,
}

/// How containers' user namespaces are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserNamespaces {
    /// A range of its own for every container (the default).
    PerContainer,
    /// All containers run in the host's user namespace.
    Host,
    /// All containers share one range: first host id and its length for users and for groups (`--userns-remap`).
    Remap {
        /// First host user id.
        uid: u32,
        /// First host group id.
        gid: u32,
        /// How many ids the range has.
        length: u32,
        /// The user and group names as given, for `info`.
        name: String,
    },
}

/// Flags about networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Name of the default bridge (`--bridge`); `none` turns bridge networking off.
    pub bridge: String,
    /// IPv4 address and prefix of the bridge (`--bip`); `None` picks a free subnet.
    pub bip: Option<String>,
    /// IPv6 address and prefix of the bridge (`--bip6`).
    pub bip6: Option<String>,
    /// Addresses are taken from this part of the subnet (`--fixed-cidr`).
    pub fixed_cidr: Option<String>,
    /// Addresses are taken from this part of the IPv6 subnet (`--fixed-cidr-v6`).
    pub fixed_cidr_v6: Option<String>,
    /// Whether the default bridge has IPv6 addresses.
    pub ipv6: bool,
    /// Maximum transmission unit (`--mtu`); 0 is the kernel's.
    pub mtu: u32,
    /// Address published ports bind to where none is given (`--ip`).
    pub default_binding_address: IpAddr,
    /// `--icc`: containers reach each other on the default bridge.
    pub icc: bool,
    /// `--ip-forward`.
    pub ip_forward: bool,
    /// `--iptables`: whether firewall rules are kept at all.
    pub firewall: bool,
    /// `--ip-masq`.
    pub masquerade: bool,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-opt`.
    pub dns_options: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--host-gateway-ip`, what `host-gateway` in `--add-host` means; empty is the bridge's gateway.
    pub host_gateway_ips: Vec<IpAddr>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            bridge: "rorqual0".into(),
            bip: None,
            bip6: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            ipv6: true,
            mtu: 0,
            default_binding_address: IpAddr::from([0, 0, 0, 0]),
            icc: true,
            ip_forward: true,
            firewall: true,
            masquerade: true,
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            host_gateway_ips: Vec::new(),
        }
    }
}

impl EngineConfig {
    /// The defaults on these roots, with this shim program.
    pub fn new(data_root: impl Into<PathBuf>, exec_root: impl Into<PathBuf>, shim: impl AsRef<Path>) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: exec_root.into(),
            shim: shim.as_ref().to_owned(),
            layers: LayerKind::Archive,
            network: NetworkSettings::default(),
            registries: rorqual_distribution::Config::default(),
            pull_policy: PullPolicy::default(),
            max_downloads: 3,
            max_uploads: 5,
            budget: None,
            default_runtime: crate::OWN_RUNTIME.into(),
            runtimes: BTreeMap::new(),
            userns: UserNamespaces::PerContainer,
            seccomp_profile: None,
            cgroup_parent: None,
            init: false,
            default_shm_size: 64 << 20,
            default_ulimits: BTreeMap::new(),
            default_ipc_mode: "private".into(),
            default_cgroupns_mode: None,
            no_new_privileges: false,
            log_driver: "json-file".into(),
            log_options: BTreeMap::new(),
            labels: Vec::new(),
            debug: false,
            version: env!("CARGO_PKG_VERSION").into(),
            stop_timeout_s: 10,
        }
    }
}

/// The part of the configuration that SIGHUP can change, as dockerd's does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloadable {
    /// `debug`.
    pub debug: Option<bool>,
    /// `labels`.
    pub labels: Option<Vec<String>>,
    /// `runtimes`.
    pub runtimes: Option<BTreeMap<String, ExternalRuntime>>,
    /// `default-runtime`.
    pub default_runtime: Option<String>,
    /// `registry-mirrors`, `insecure-registries` and the rules of ours.
    pub registries: Option<rorqual_distribution::Config>,
    /// `pull-policy` and what its file says now.
    pub pull_policy: Option<PullPolicy>,
    /// `image-gc`; the inner value is `None` where it was taken out.
    pub budget: Option<Option<Budget>>,
    /// What the `daemon reload` event says besides: dockerd lists its whole configuration there.
    pub attributes: BTreeMap<String, String>,
}
