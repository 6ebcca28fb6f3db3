//! `GET /containers/{id}/json`.

use super::{Config, HostConfig, StringMap};
use crate::{
    codec::{is_zero, null_default},
    network::{EndpointSettings, PortMap},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that is known of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspect {
    /// 64 digits.
    pub id: String,
    /// RFC 3339 with nanoseconds.
    pub created: String,
    /// The program.
    pub path: String,
    /// Its arguments; `[]` where there are none.
    #[serde(deserialize_with = "null_default")]
    pub args: Vec<String>,
    /// The state.
    pub state: State,
    /// The image's id.
    pub image: String,
    /// The file mounted as `/etc/resolv.conf`.
    pub resolv_conf_path: String,
    /// The file mounted as `/etc/hostname`.
    pub hostname_path: String,
    /// The file mounted as `/etc/hosts`.
    pub hosts_path: String,
    /// The file of the json-file driver.
    pub log_path: String,
    /// With its leading slash.
    pub name: String,
    /// By the restart policy.
    pub restart_count: i64,
    /// The storage driver.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// The SELinux label of mounts.
    pub mount_label: String,
    /// The SELinux label of processes.
    pub process_label: String,
    /// The AppArmor profile.
    pub app_armor_profile: String,
    /// Running execs; `null` where there are none.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// The part of the configuration bound to this host.
    pub host_config: HostConfig,
    /// The storage driver's data (absent with the containerd image store from API 1.52 on).
    pub graph_driver: GraphDriver,
    /// Bytes written above the image, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of the whole root, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Mounts of volumes, binds and the like.
    #[serde(deserialize_with = "null_default")]
    pub mounts: Vec<MountPoint>,
    /// The portable part of the configuration.
    pub config: Config,
    /// The network.
    pub network_settings: NetworkSettings,
    /// The manifest of the image's platform that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<Descriptor>,
}

/// A container's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    /// Also while paused.
    pub running: bool,
    /// Whether frozen.
    pub paused: bool,
    /// Whether waiting for the next try.
    pub restarting: bool,
    /// Whether the kernel's out-of-memory killer ended a process of it.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Whether its removal failed.
    pub dead: bool,
    /// Of its first process, on the host; zero while stopped.
    pub pid: i64,
    /// Of the last run.
    pub exit_code: i64,
    /// Why the last start failed.
    pub error: String,
    /// RFC 3339; `0001-01-01T00:00:00Z` for never.
    pub started_at: String,
    /// RFC 3339; `0001-01-01T00:00:00Z` for never.
    pub finished_at: String,
    /// Where a health check is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What the health checks found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `none`, `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: i64,
    /// The last few checks.
    pub log: Option<Vec<HealthLog>>,
}

/// One health check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthLog {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// Its code.
    pub exit_code: i64,
    /// Its output, cut.
    pub output: String,
}

/// The storage driver's data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GraphDriver {
    /// By key; `null` with the containerd image store.
    pub data: Option<StringMap>,
    /// The driver.
    pub name: String,
}

/// One mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`, `image` or `cluster`.
    #[serde(rename = "Type", skip_serializing_if = "is_zero")]
    pub kind: String,
    /// The volume's name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// The path on the host.
    pub source: String,
    /// The path inside.
    pub destination: String,
    /// The volume's driver.
    #[serde(skip_serializing_if = "is_zero")]
    pub driver: String,
    /// The options as the user wrote them.
    pub mode: String,
    /// Whether writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Of a bind.
    pub propagation: String,
}

/// A container's network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// The bridge's name; empty for the default one.
    pub bridge: String,
    /// The network namespace's id.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// The network namespace's path.
    pub sandbox_key: String,
    /// Ports exposed and published; `{}` while stopped.
    #[serde(deserialize_with = "null_default")]
    pub ports: PortMap,
    /// Deprecated.
    pub hairpin_mode: bool,
    /// Deprecated.
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    /// Deprecated.
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: u32,
    /// Deprecated; `null`.
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<Address>>,
    /// Deprecated; `null`.
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<Address>>,
    /// Of the default bridge.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Of the default bridge.
    pub gateway: String,
    /// Of the default bridge.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Of the default bridge.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u32,
    /// Of the default bridge.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Of the default bridge.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u32,
    /// Of the default bridge.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// Of the default bridge.
    pub mac_address: String,
    /// Endpoints by network name.
    #[serde(deserialize_with = "null_default")]
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// An address with its prefix length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// The address.
    #[serde(rename = "Addr")]
    pub addr: String,
    /// The prefix length.
    #[serde(rename = "PrefixLen")]
    pub prefix_len: u32,
}

/// An OCI descriptor, as far as dockerd prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The digest.
    pub digest: String,
    /// Bytes.
    pub size: i64,
    /// Where to fetch it besides.
    #[serde(skip_serializing_if = "is_zero")]
    pub urls: Option<Vec<String>>,
    /// Annotations.
    #[serde(skip_serializing_if = "is_zero")]
    pub annotations: Option<StringMap>,
    /// The platform of a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescriptorPlatform>,
    /// What the object is, where it is not an image.
    #[serde(skip_serializing_if = "is_zero")]
    pub artifact_type: String,
}

/// The platform of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescriptorPlatform {
    /// As `amd64`.
    pub architecture: String,
    /// As `linux`.
    pub os: String,
    /// Windows only.
    #[serde(rename = "os.version", skip_serializing_if = "is_zero")]
    pub os_version: String,
    /// Windows only.
    #[serde(rename = "os.features", skip_serializing_if = "is_zero")]
    pub os_features: Option<Vec<String>>,
    /// As `v7`.
    #[serde(skip_serializing_if = "is_zero")]
    pub variant: String,
}
