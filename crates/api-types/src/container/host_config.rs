//! The part of a container's configuration that is bound to its host.

use super::StringMap;
use crate::{
    codec::{is_zero, null_default, string_list},
    mount::Mount,
    network::PortMap,
};
use serde::{Deserialize, Serialize};

/// How a container stands on its host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `source:destination[:options]`.
    pub binds: Option<Vec<String>>,
    /// A file the client writes the id to.
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    /// Where the output goes.
    #[serde(deserialize_with = "null_default")]
    pub log_config: LogConfig,
    /// `bridge`, `host`, `none`, `default`, `container:ID` or a network.
    pub network_mode: String,
    /// Published ports.
    pub port_bindings: Option<PortMap>,
    /// What happens after an exit.
    #[serde(deserialize_with = "null_default")]
    pub restart_policy: RestartPolicy,
    /// Whether the container is removed after its exit.
    pub auto_remove: bool,
    /// The driver of volumes created by `Binds`.
    pub volume_driver: String,
    /// Containers whose mounts are taken, as `id[:ro|rw]`.
    pub volumes_from: Option<Vec<String>>,
    /// The terminal's first size, rows and columns.
    #[serde(deserialize_with = "null_default")]
    pub console_size: [u32; 2],
    /// Annotations for the runtime.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub annotations: Option<StringMap>,
    /// Capabilities above the default.
    #[serde(deserialize_with = "string_list")]
    pub cap_add: Option<Vec<String>>,
    /// Capabilities taken from the default.
    #[serde(deserialize_with = "string_list")]
    pub cap_drop: Option<Vec<String>>,
    /// `private` or `host`; empty for the daemon's default.
    pub cgroupns_mode: String,
    /// Name servers.
    pub dns: Option<Vec<String>>,
    /// Resolver options.
    pub dns_options: Option<Vec<String>>,
    /// Resolver search domains.
    pub dns_search: Option<Vec<String>>,
    /// `name:address` lines for `/etc/hosts`.
    pub extra_hosts: Option<Vec<String>>,
    /// Supplementary groups.
    pub group_add: Option<Vec<String>>,
    /// `none`, `private`, `shareable`, `container:ID` or `host`.
    pub ipc_mode: String,
    /// Another container's cgroup; for nothing supported today.
    pub cgroup: String,
    /// Legacy links.
    pub links: Option<Vec<String>>,
    /// The out-of-memory killer's adjustment.
    pub oom_score_adj: i32,
    /// Empty, `container:ID` or `host`.
    pub pid_mode: String,
    /// Whether nearly all isolation is off.
    pub privileged: bool,
    /// Whether all exposed ports are published on free host ports.
    pub publish_all_ports: bool,
    /// Whether the root is read-only.
    pub readonly_rootfs: bool,
    /// `seccomp=…`, `apparmor=…`, `label=…`, `no-new-privileges`, `systempaths=unconfined`.
    pub security_opt: Option<Vec<String>>,
    /// Options of the root's storage.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub storage_opt: Option<StringMap>,
    /// tmpfs mounts: path to options.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub tmpfs: Option<StringMap>,
    /// Empty or `host`.
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// Empty or `host`.
    pub userns_mode: String,
    /// Bytes of `/dev/shm`; zero for the default.
    pub shm_size: i64,
    /// Kernel parameters of the container's namespaces.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub sysctls: Option<StringMap>,
    /// The runtime by name.
    #[serde(skip_serializing_if = "is_zero")]
    pub runtime: String,
    /// Windows only; `default` or empty here.
    pub isolation: String,
    /// Limits and devices.
    #[serde(flatten)]
    pub resources: Resources,
    /// Mounts in the long form.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub mounts: Option<Vec<Mount>>,
    /// Paths hidden inside; `None` for the default, empty for none.
    pub masked_paths: Option<Vec<String>>,
    /// Paths read-only inside; `None` for the default, empty for none.
    pub readonly_paths: Option<Vec<String>>,
    /// Whether an init reaps inside; `None` for the daemon's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

fn is_empty_map(map: &Option<StringMap>) -> bool {
    map.as_ref().is_none_or(StringMap::is_empty)
}

fn is_empty_list<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// Limits and devices; also the body of `POST /containers/{id}/update`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resources {
    /// Relative weight of processor time.
    pub cpu_shares: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Processor time in billionths of a processor.
    pub nano_cpus: i64,
    /// The parent cgroup.
    pub cgroup_parent: String,
    /// Relative weight of block I/O.
    pub blkio_weight: u16,
    /// The same by device.
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    /// Bytes read a second by device.
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    /// Bytes written a second by device.
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    /// Reads a second by device.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    /// Writes a second by device.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// The CFS period in microseconds.
    pub cpu_period: i64,
    /// The CFS quota in microseconds.
    pub cpu_quota: i64,
    /// The real-time period in microseconds.
    pub cpu_realtime_period: i64,
    /// The real-time run time in microseconds.
    pub cpu_realtime_runtime: i64,
    /// Processors to run on, as `0-2,7`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Devices of the host given to the container.
    pub devices: Option<Vec<DeviceMapping>>,
    /// Device cgroup rules, as `c 1:3 rwm`.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Devices asked of drivers (GPUs, CDI).
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Kernel memory; long deprecated.
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel_memory: i64,
    /// Kernel memory for TCP buffers; long deprecated.
    #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_zero")]
    pub kernel_memory_tcp: i64,
    /// The soft limit in bytes.
    pub memory_reservation: i64,
    /// Memory and swap in bytes; `-1` for no limit on swap.
    pub memory_swap: i64,
    /// 0 to 100; `None` for the kernel's default.
    pub memory_swappiness: Option<i64>,
    /// Whether the out-of-memory killer leaves the container alone.
    pub oom_kill_disable: Option<bool>,
    /// Processes; `None`, 0 or -1 for no limit of the user's.
    pub pids_limit: Option<i64>,
    /// Resource limits.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Windows only.
    pub cpu_count: i64,
    /// Windows only.
    pub cpu_percent: i64,
    /// Windows only.
    #[serde(rename = "IOMaximumIOps")]
    pub io_maximum_iops: u64,
    /// Windows only.
    #[serde(rename = "IOMaximumBandwidth")]
    pub io_maximum_bandwidth: u64,
}

/// A log driver and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// The driver; empty for the daemon's default.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Its options.
    pub config: Option<StringMap>,
}

/// What happens after an exit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// Empty or `no`, `always`, `unless-stopped`, `on-failure`.
    pub name: String,
    /// For `on-failure`; zero for no limit.
    pub maximum_retry_count: i64,
}

/// A resource limit (setrlimit(2)); `-1` for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    /// The name in lower case, as `nofile`.
    pub name: String,
    /// The hard limit.
    pub hard: i64,
    /// The soft limit.
    pub soft: i64,
}

/// A device of the host, given to the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceMapping {
    /// The device (or a directory of devices) on the host.
    pub path_on_host: String,
    /// Where it appears inside.
    pub path_in_container: String,
    /// Some of `rwm`.
    pub cgroup_permissions: String,
}

/// Devices asked of a driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceRequest {
    /// The driver by name.
    pub driver: String,
    /// How many; `-1` for all.
    pub count: i64,
    /// Which, by id.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Option<Vec<String>>,
    /// Alternatives of capabilities.
    pub capabilities: Option<Vec<Vec<String>>>,
    /// Driver options.
    pub options: Option<StringMap>,
}

/// A weight of block I/O for one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightDevice {
    /// The device's path.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// A rate of block I/O for one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ThrottleDevice {
    /// The device's path.
    pub path: String,
    /// Bytes or operations a second.
    pub rate: u64,
}
