//! The `linux` part of `config.json`: namespaces, devices, cgroup limits, seccomp.

use super::absent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What only Linux has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// User ids of the container's user namespace.
    #[serde(skip_serializing_if = "absent")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of the container's user namespace.
    #[serde(skip_serializing_if = "absent")]
    pub gid_mappings: Vec<IdMapping>,
    /// Kernel parameters, by their dotted name.
    #[serde(skip_serializing_if = "absent")]
    pub sysctl: BTreeMap<String, String>,
    /// Cgroup limits.
    #[serde(skip_serializing_if = "absent")]
    pub resources: Option<Resources>,
    /// Cgroup, absolute from the mount of each hierarchy or relative to the runtime's own; `SLICE:PREFIX:NAME` for systemd.
    #[serde(skip_serializing_if = "absent")]
    pub cgroups_path: String,
    /// Namespaces that are not the runtime's.
    #[serde(skip_serializing_if = "absent")]
    pub namespaces: Vec<Namespace>,
    /// Device nodes besides the default ones.
    #[serde(skip_serializing_if = "absent")]
    pub devices: Vec<Device>,
    /// System call filter.
    #[serde(skip_serializing_if = "absent")]
    pub seccomp: Option<Seccomp>,
    /// Propagation of `/`: `private`, `rslave`, `rshared`, ...
    #[serde(skip_serializing_if = "absent")]
    pub rootfs_propagation: String,
    /// Paths that read as empty.
    #[serde(skip_serializing_if = "absent")]
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    #[serde(skip_serializing_if = "absent")]
    pub readonly_paths: Vec<String>,
    /// SELinux label of mounts.
    #[serde(skip_serializing_if = "absent")]
    pub mount_label: String,
    /// Execution domain.
    #[serde(skip_serializing_if = "absent")]
    pub personality: Option<Personality>,
    /// Offsets of clocks in a time namespace, by `boottime` and `monotonic`.
    #[serde(skip_serializing_if = "absent")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// A range of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// One namespace: new, or the one at `path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// An existing one to join; empty for a new one.
    #[serde(default, skip_serializing_if = "absent")]
    pub path: String,
}

impl Namespace {
    /// A new namespace.
    pub fn new(kind: NamespaceKind) -> Self {
        Self { kind, path: String::new() }
    }

    /// The existing namespace at `path`.
    pub fn join(kind: NamespaceKind, path: impl Into<String>) -> Self {
        Self { kind, path: path.into() }
    }
}

/// The kinds of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Process ids.
    Pid,
    /// Interfaces, routes, sockets.
    Network,
    /// Mounts.
    Mount,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Ids and capabilities.
    User,
    /// The visible root of cgroups.
    Cgroup,
    /// Boot and monotonic clocks.
    Time,
}

/// A device node to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// Where, inside the container.
    pub path: String,
    /// `c`, `b`, `u` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits; 0666 where absent.
    #[serde(skip_serializing_if = "absent")]
    pub file_mode: Option<u32>,
    /// Owner.
    #[serde(skip_serializing_if = "absent")]
    pub uid: Option<u32>,
    /// Group.
    #[serde(skip_serializing_if = "absent")]
    pub gid: Option<u32>,
}

/// Limits of a cgroup, in the words of cgroup v1; `unified` is for v2.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Device rules, the last match wins.
    #[serde(skip_serializing_if = "absent")]
    pub devices: Vec<DeviceRule>,
    /// Memory.
    #[serde(skip_serializing_if = "absent")]
    pub memory: Option<Memory>,
    /// CPU time and placement.
    #[serde(skip_serializing_if = "absent")]
    pub cpu: Option<Cpu>,
    /// Number of tasks.
    #[serde(skip_serializing_if = "absent")]
    pub pids: Option<Pids>,
    /// Block devices.
    #[serde(rename = "blockIO", skip_serializing_if = "absent")]
    pub block_io: Option<BlockIo>,
    /// Huge pages.
    #[serde(skip_serializing_if = "absent")]
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Classification of packets (v1).
    #[serde(skip_serializing_if = "absent")]
    pub network: Option<NetworkClass>,
    /// RDMA resources by device.
    #[serde(skip_serializing_if = "absent")]
    pub rdma: BTreeMap<String, Rdma>,
    /// Files of the v2 cgroup and their content.
    #[serde(skip_serializing_if = "absent")]
    pub unified: BTreeMap<String, String>,
}

/// A rule of the device controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// `a` (also when empty), `c` or `b`.
    #[serde(rename = "type", skip_serializing_if = "absent")]
    pub kind: String,
    /// Major number; `None` or negative is any.
    #[serde(skip_serializing_if = "absent")]
    pub major: Option<i64>,
    /// Minor number; `None` or negative is any.
    #[serde(skip_serializing_if = "absent")]
    pub minor: Option<i64>,
    /// Some of `rwm`; empty is all.
    #[serde(skip_serializing_if = "absent")]
    pub access: String,
}

/// Memory limits in bytes; -1 is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Hard limit.
    #[serde(skip_serializing_if = "absent")]
    pub limit: Option<i64>,
    /// Soft limit.
    #[serde(skip_serializing_if = "absent")]
    pub reservation: Option<i64>,
    /// Memory and swap together.
    #[serde(skip_serializing_if = "absent")]
    pub swap: Option<i64>,
    /// Kernel memory (gone from kernels).
    #[serde(skip_serializing_if = "absent")]
    pub kernel: Option<i64>,
    /// TCP buffers.
    #[serde(rename = "kernelTCP", skip_serializing_if = "absent")]
    pub kernel_tcp: Option<i64>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "absent")]
    pub swappiness: Option<u64>,
    /// Tasks wait instead of being killed.
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "absent")]
    pub disable_oom_killer: Option<bool>,
    /// Account children too (v1).
    #[serde(skip_serializing_if = "absent")]
    pub use_hierarchy: Option<bool>,
    /// Refuse a limit below the present use.
    #[serde(skip_serializing_if = "absent")]
    pub check_before_update: Option<bool>,
}

/// CPU limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// Relative weight; 1024 is one share.
    #[serde(skip_serializing_if = "absent")]
    pub shares: Option<u64>,
    /// Microseconds in each period.
    #[serde(skip_serializing_if = "absent")]
    pub quota: Option<i64>,
    /// Microseconds that may be saved up.
    #[serde(skip_serializing_if = "absent")]
    pub burst: Option<u64>,
    /// Length of the period in microseconds.
    #[serde(skip_serializing_if = "absent")]
    pub period: Option<u64>,
    /// Real-time microseconds in each period.
    #[serde(skip_serializing_if = "absent")]
    pub realtime_runtime: Option<i64>,
    /// Length of the real-time period in microseconds.
    #[serde(skip_serializing_if = "absent")]
    pub realtime_period: Option<u64>,
    /// CPUs, `0-3,7`.
    #[serde(skip_serializing_if = "absent")]
    pub cpus: String,
    /// Memory nodes.
    #[serde(skip_serializing_if = "absent")]
    pub mems: String,
    /// 1: run only when nothing else does.
    #[serde(skip_serializing_if = "absent")]
    pub idle: Option<i64>,
}

/// Number of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// Highest number; -1 is unlimited, 0 is not set.
    pub limit: i64,
}

/// Block device limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    /// 10 to 1000.
    #[serde(skip_serializing_if = "absent")]
    pub weight: Option<u16>,
    /// As `weight`, against the cgroup's own children.
    #[serde(skip_serializing_if = "absent")]
    pub leaf_weight: Option<u16>,
    /// By device.
    #[serde(skip_serializing_if = "absent")]
    pub weight_device: Vec<WeightDevice>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "absent")]
    pub throttle_read_bps_device: Vec<ThrottleDevice>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "absent")]
    pub throttle_write_bps_device: Vec<ThrottleDevice>,
    /// Operations a second.
    #[serde(rename = "throttleReadIOPSDevice", skip_serializing_if = "absent")]
    pub throttle_read_iops_device: Vec<ThrottleDevice>,
    /// Operations a second.
    #[serde(rename = "throttleWriteIOPSDevice", skip_serializing_if = "absent")]
    pub throttle_write_iops_device: Vec<ThrottleDevice>,
}

/// The weight of one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// 10 to 1000.
    #[serde(skip_serializing_if = "absent")]
    pub weight: Option<u16>,
    /// As `weight`, against the cgroup's own children.
    #[serde(skip_serializing_if = "absent")]
    pub leaf_weight: Option<u16>,
}

/// The rate of one block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThrottleDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// Huge pages of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HugepageLimit {
    /// `2MB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// Classification of packets (v1 `net_cls`, `net_prio`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkClass {
    /// Class of packets.
    #[serde(rename = "classID", skip_serializing_if = "absent")]
    pub class_id: Option<u32>,
    /// Priorities by interface.
    #[serde(skip_serializing_if = "absent")]
    pub priorities: Vec<InterfacePriority>,
}

/// The priority of packets on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfacePriority {
    /// Interface.
    pub name: String,
    /// Priority.
    pub priority: u32,
}

/// RDMA resources of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rdma {
    /// Handles.
    #[serde(skip_serializing_if = "absent")]
    pub hca_handles: Option<u32>,
    /// Objects.
    #[serde(skip_serializing_if = "absent")]
    pub hca_objects: Option<u32>,
}

/// A system call filter with everything conditional already decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seccomp {
    /// `SCMP_ACT_ERRNO`, ...: for calls no rule names.
    pub default_action: String,
    /// The errno of the default action.
    #[serde(skip_serializing_if = "absent")]
    pub default_errno_ret: Option<u32>,
    /// `SCMP_ARCH_X86_64`, ...
    #[serde(skip_serializing_if = "absent")]
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_*`.
    #[serde(skip_serializing_if = "absent")]
    pub flags: Vec<String>,
    /// Socket of the agent for `SCMP_ACT_NOTIFY`.
    #[serde(skip_serializing_if = "absent")]
    pub listener_path: String,
    /// Free data for that agent.
    #[serde(skip_serializing_if = "absent")]
    pub listener_metadata: String,
    /// Rules.
    #[serde(skip_serializing_if = "absent")]
    pub syscalls: Vec<SeccompRule>,
}

/// What to do about some system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompRule {
    /// Their names.
    pub names: Vec<String>,
    /// `SCMP_ACT_ALLOW`, ...
    pub action: String,
    /// The errno (or trace message) of the action.
    #[serde(skip_serializing_if = "absent")]
    pub errno_ret: Option<u32>,
    /// Conditions, all of which must hold.
    #[serde(skip_serializing_if = "absent")]
    pub args: Vec<SeccompArg>,
}

/// A condition on one argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompArg {
    /// 0 to 5.
    pub index: u32,
    /// The value, or the mask of `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// The value after the mask of `SCMP_CMP_MASKED_EQ`.
    #[serde(skip_serializing_if = "absent")]
    pub value_two: u64,
    /// `SCMP_CMP_EQ`, ...
    pub op: String,
}

/// Execution domain (`personality(2)`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// None are defined.
    #[serde(skip_serializing_if = "absent")]
    pub flags: Vec<String>,
}

/// The offset of one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds.
    #[serde(skip_serializing_if = "absent")]
    pub secs: i64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "absent")]
    pub nanosecs: u32,
}
