//! The daemon itself: info, version, disk usage, credentials.

use crate::{
    codec::{is_zero, null_default},
    container::{self, StringMap},
    image, upkeep, volume,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    /// The product.
    pub platform: Platform,
    /// The parts.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub components: Vec<Component>,
    /// Of the daemon.
    pub version: String,
    /// The newest API version.
    pub api_version: String,
    /// The oldest API version.
    #[serde(rename = "MinAPIVersion", skip_serializing_if = "is_zero")]
    pub min_api_version: String,
    /// Of the source.
    pub git_commit: String,
    /// The compiler, in the place clients read it from.
    pub go_version: String,
    /// `linux`.
    pub os: String,
    /// As `amd64`.
    pub arch: String,
    /// The kernel's release.
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel_version: String,
    /// Whether experiments are on.
    #[serde(skip_serializing_if = "is_zero")]
    pub experimental: bool,
    /// RFC 3339.
    #[serde(skip_serializing_if = "is_zero")]
    pub build_time: String,
}

/// The product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Platform {
    /// Its name.
    pub name: String,
}

/// A part of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Facts.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub details: StringMap,
}

/// `GET /info`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// Made once for a data root.
    #[serde(rename = "ID")]
    pub id: String,
    /// In any state.
    pub containers: i64,
    /// Running ones.
    pub containers_running: i64,
    /// Paused ones.
    pub containers_paused: i64,
    /// All others.
    pub containers_stopped: i64,
    /// Images.
    pub images: i64,
    /// The storage driver.
    pub driver: String,
    /// Facts of the storage driver.
    #[serde(deserialize_with = "null_default")]
    pub driver_status: Vec<[String; 2]>,
    /// More facts, for an old Swarm.
    #[serde(skip_serializing_if = "is_zero")]
    pub system_status: Option<Vec<[String; 2]>>,
    /// Drivers by kind.
    pub plugins: PluginsInfo,
    /// Whether the kernel can.
    pub memory_limit: bool,
    /// Whether the kernel can.
    pub swap_limit: bool,
    /// Whether the kernel can.
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel_memory: bool,
    /// Whether the kernel can.
    #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_zero")]
    pub kernel_memory_tcp: bool,
    /// Whether the kernel can.
    pub cpu_cfs_period: bool,
    /// Whether the kernel can.
    pub cpu_cfs_quota: bool,
    /// Whether the kernel can.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// Whether the kernel can.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// Whether the kernel can.
    pub pids_limit: bool,
    /// Whether the host forwards.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Whether bridged packets pass iptables; always false, before API 1.50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_nf_iptables: Option<bool>,
    /// Whether bridged packets pass ip6tables; always false, before API 1.50.
    #[serde(rename = "BridgeNfIp6tables", skip_serializing_if = "Option::is_none")]
    pub bridge_nf_ip6tables: Option<bool>,
    /// Whether it logs at debug level.
    pub debug: bool,
    /// Open descriptors.
    #[serde(rename = "NFd")]
    pub n_fd: i64,
    /// Whether the kernel can.
    pub oom_kill_disable: bool,
    /// Threads, in the place clients read it from.
    #[serde(rename = "NGoroutines")]
    pub n_goroutines: i64,
    /// RFC 3339 with nanoseconds.
    pub system_time: String,
    /// The default log driver.
    pub logging_driver: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    #[serde(skip_serializing_if = "is_zero")]
    pub cgroup_version: String,
    /// Who listens to events.
    pub n_events_listener: i64,
    /// The kernel's release.
    pub kernel_version: String,
    /// From os-release.
    pub operating_system: String,
    /// From os-release.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// As `x86_64`.
    pub architecture: String,
    /// The default registry's old address.
    pub index_server_address: String,
    /// Registries.
    pub registry_config: Option<RegistryConfig>,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub n_cpu: i64,
    /// Bytes.
    pub mem_total: i64,
    /// Of a swarm node.
    pub generic_resources: Option<Vec<serde_json::Value>>,
    /// The data root.
    pub docker_root_dir: String,
    /// The proxy without its password.
    pub http_proxy: String,
    /// The proxy without its password.
    pub https_proxy: String,
    /// Hosts reached without.
    pub no_proxy: String,
    /// The host's name.
    pub name: String,
    /// The daemon's labels.
    #[serde(deserialize_with = "null_default")]
    pub labels: Vec<String>,
    /// Whether experiments are on.
    pub experimental_build: bool,
    /// Of the daemon.
    pub server_version: String,
    /// Runtimes by name.
    #[serde(deserialize_with = "null_default")]
    pub runtimes: BTreeMap<String, Runtime>,
    /// The one used unless asked otherwise.
    pub default_runtime: String,
    /// The swarm.
    pub swarm: Swarm,
    /// Whether containers live on without the daemon.
    pub live_restore_enabled: bool,
    /// Windows only.
    pub isolation: String,
    /// The init of `--init`.
    pub init_binary: String,
    /// Of containerd; empty here.
    pub containerd_commit: Commit,
    /// Of the runtime.
    pub runc_commit: Commit,
    /// Of the init.
    pub init_commit: Commit,
    /// As `name=seccomp,profile=builtin`.
    #[serde(deserialize_with = "null_default")]
    pub security_options: Vec<String>,
    /// The licence of the product.
    #[serde(skip_serializing_if = "is_zero")]
    pub product_license: String,
    /// Pools of networks.
    #[serde(skip_serializing_if = "is_zero")]
    pub default_address_pools: Option<Vec<AddressPool>>,
    /// What keeps the firewall (API 1.49 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firewall_backend: Option<FirewallBackend>,
    /// Where device specifications are looked for.
    #[serde(rename = "CDISpecDirs", deserialize_with = "null_default")]
    pub cdi_spec_dirs: Vec<String>,
    /// Devices found.
    #[serde(skip_serializing_if = "is_zero")]
    pub discovered_devices: Option<Vec<serde_json::Value>>,
    /// Where containerd is; absent here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containerd: Option<serde_json::Value>,
    /// Where the daemon's own registry listens; a field of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rorqual_registry: Option<String>,
    /// What the user should know.
    pub warnings: Option<Vec<String>>,
}

/// What keeps the firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FirewallBackend {
    /// Its name.
    pub driver: String,
    /// Facts.
    #[serde(skip_serializing_if = "is_zero")]
    pub info: Option<Vec<[String; 2]>>,
}

/// One pool of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AddressPool {
    /// In CIDR form.
    pub base: String,
    /// The prefix length of each network.
    pub size: i64,
}

/// Drivers by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PluginsInfo {
    /// Of volumes.
    pub volume: Option<Vec<String>>,
    /// Of networks.
    pub network: Option<Vec<String>>,
    /// Of authorisation.
    pub authorization: Option<Vec<String>>,
    /// Of logs.
    pub log: Option<Vec<String>>,
}

/// Registries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegistryConfig {
    /// By host.
    #[serde(deserialize_with = "null_default")]
    pub index_configs: BTreeMap<String, IndexInfo>,
    /// Networks whose registries may lack TLS.
    #[serde(rename = "InsecureRegistryCIDRs", deserialize_with = "null_default")]
    pub insecure_registry_cidrs: Vec<String>,
    /// Mirrors of the default registry.
    pub mirrors: Option<Vec<String>>,
}

/// One registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IndexInfo {
    /// Its mirrors.
    #[serde(deserialize_with = "null_default")]
    pub mirrors: Vec<String>,
    /// Its host.
    pub name: String,
    /// Whether the default one.
    pub official: bool,
    /// Whether with TLS.
    pub secure: bool,
}

/// One runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Runtime {
    /// Its program.
    #[serde(skip_serializing_if = "is_zero")]
    pub path: String,
    /// Arguments it is given.
    #[serde(skip_serializing_if = "is_zero")]
    pub runtime_args: Option<Vec<String>>,
    /// A shim's name, for containerd runtimes.
    #[serde(rename = "runtimeType", skip_serializing_if = "is_zero")]
    pub runtime_type: String,
    /// Options of such a shim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<serde_json::Map<String, serde_json::Value>>,
    /// What it says of itself.
    #[serde(skip_serializing_if = "is_zero")]
    pub status: Option<StringMap>,
}

/// The swarm, as far as a node without one shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Swarm {
    /// This node.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Its address.
    pub node_addr: String,
    /// `inactive`, …
    pub local_node_state: String,
    /// Whether a manager.
    pub control_available: bool,
    /// Why it is not well.
    pub error: String,
    /// The managers it knows.
    pub remote_managers: Option<Vec<serde_json::Value>>,
}

/// A version of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Commit {
    /// The one in use.
    #[serde(rename = "ID")]
    pub id: String,
    /// The same again, before API 1.49.
    #[serde(skip_serializing_if = "is_zero")]
    pub expected: String,
}

/// `GET /system/df`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiskUsage {
    /// Bytes of all layers.
    pub layers_size: i64,
    /// Images; `null` where not asked for.
    pub images: Option<Vec<image::Summary>>,
    /// Containers with sizes; `null` where not asked for.
    pub containers: Option<Vec<container::Summary>>,
    /// Volumes with sizes; `null` where not asked for.
    pub volumes: Option<Vec<volume::Volume>>,
    /// Build cache records; `null` where not asked for.
    pub build_cache: Option<Vec<serde_json::Value>>,
    /// Ours: the whole data root; absent where not everything was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_root: Option<upkeep::DataRoot>,
}

/// The body of `POST /auth`, and what `X-Registry-Auth` holds.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// The user.
    #[serde(skip_serializing_if = "is_zero")]
    pub username: String,
    /// The password.
    #[serde(skip_serializing_if = "is_zero")]
    pub password: String,
    /// Both in base64.
    #[serde(skip_serializing_if = "is_zero")]
    pub auth: String,
    /// The registry.
    #[serde(rename = "serveraddress", skip_serializing_if = "is_zero")]
    pub server_address: String,
    /// A token instead of a password.
    #[serde(rename = "identitytoken", skip_serializing_if = "is_zero")]
    pub identity_token: String,
    /// A token for the registry itself.
    #[serde(rename = "registrytoken", skip_serializing_if = "is_zero")]
    pub registry_token: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

/// The answer to `POST /auth`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthResponse {
    /// A token to use from now on.
    #[serde(skip_serializing_if = "is_zero")]
    pub identity_token: String,
    /// As `Login Succeeded`.
    pub status: String,
}
