//! Everything the shim needs to know about one container, as flat data.
//!
//! [`crate::compile`] makes a [`Plan`]; it travels to the shim as the first frame of the control connection. Nothing here
//! is looked at again by the shim after the start except what [`Plan::supervise`] names.

use rorqual_linux::{cgroup::AttachPlan, seccomp::Program};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One range of a user namespace's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside.
    pub container: u32,
    /// First id on the host.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The maps of a container's user namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

impl IdMap {
    /// Ids `0..size` inside are `host..host+size` outside, for users and groups alike.
    pub fn contiguous(host: u32, size: u32) -> Self {
        let ranges = vec![IdRange { container: 0, host, size }];
        Self { uids: ranges.clone(), gids: ranges }
    }

    /// The host's id for user `id` of the container.
    pub fn host_uid(&self, id: u32) -> Option<u32> {
        host_id(&self.uids, id)
    }

    /// The host's id for group `id` of the container.
    pub fn host_gid(&self, id: u32) -> Option<u32> {
        host_id(&self.gids, id)
    }
}

fn host_id(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.container).filter(|offset| *offset < range.size)?;
        range.host.checked_add(offset)
    })
}

/// What the OCI document does not say; the caller's part of [`crate::compile`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// Private directory of this run (`exec-root/c/ID`): exists, 0700; the shim puts `sock` and `exit` there.
    pub dir: PathBuf,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Streams.
    pub io: Io,
    /// Where output is logged; `None` logs nothing.
    pub log: Option<LogPlan>,
    /// Maps of the container's own user namespace; `None` is the host's namespace. With a `user` namespace to join in the
    /// document, the maps of that one.
    pub userns: Option<IdMap>,
    /// Whether the shim's own minimal init is process 1.
    pub init: bool,
    /// Who makes the container.
    pub runtime: RuntimeKind,
    /// Its cgroup, made and limited by the caller (`Cgroup::attach_plan`).
    pub cgroup: AttachPlan,
    /// Groups by name or number that the user gets besides its own (`--group-add`), looked up in the root. Only used
    /// when the document names the user (`process.user.username`).
    pub group_add: Vec<String>,
}

/// The root file system of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// Image layers under a writable directory.
    Overlay {
        /// Directory of all layers.
        layers_dir: PathBuf,
        /// Names under `layers_dir`, topmost first; each has its tree in `fs`.
        lowers: Vec<String>,
        /// Directory with `upper` and `work`.
        rw_dir: PathBuf,
        /// Whether the container sees it read-only.
        readonly: bool,
    },
    /// A plain directory.
    Bind {
        /// The directory.
        path: PathBuf,
        /// Whether the container sees it read-only.
        readonly: bool,
    },
}

/// The container's streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// One terminal instead of three pipes.
    pub tty: bool,
    /// Whether there is an input at all; without it the program reads `/dev/null`.
    pub stdin_open: bool,
    /// Whether input ends with the first client that ends it. The shim leaves that to the daemon, which sends the end.
    pub stdin_once: bool,
    /// First size of the terminal: rows, columns.
    pub console_size: Option<(u16, u16)>,
}

/// A json-file log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlan {
    /// The file.
    pub path: PathBuf,
    /// Rotated beyond this size.
    pub max_size: Option<u64>,
    /// Files kept, the current one included; at least 1.
    pub max_file: u32,
    /// Whether rotated files are gzip-compressed.
    pub compress: bool,
    /// The `attrs` member of each line, as a JSON object; empty for none.
    pub attrs: String,
}

/// Who makes the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeKind {
    /// The shim itself.
    Own,
    /// An OCI runtime's program. The caller has written `config.json` in `bundle`, with `root.path` = `rootfs`.
    External {
        /// The program, absolute.
        binary: PathBuf,
        /// Its global options.
        args: Vec<String>,
        /// The bundle's directory; the shim mounts the root at `rootfs` inside it.
        bundle: PathBuf,
    },
}

/// What becomes of one kind of namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// The host's, as the shim has it.
    Host,
    /// A new one.
    New,
    /// The one at this path.
    Join(PathBuf),
}

/// All namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// `Host` or `New` with [`Plan::userns`], or one to join.
    pub user: Namespace,
    /// Processes.
    pub pid: Namespace,
    /// Mounts.
    pub mount: Namespace,
    /// Network.
    pub net: Namespace,
    /// System V IPC and message queues.
    pub ipc: Namespace,
    /// Host name.
    pub uts: Namespace,
    /// Root of cgroups.
    pub cgroup: Namespace,
}

/// Attributes of one mount (`mount_setattr(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountAttributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// The same for the mounts below as well.
    pub set_recursive: u64,
    /// The same for the mounts below as well.
    pub clear_recursive: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE` for the mount.
    pub propagation: u64,
    /// The same for the mounts below as well.
    pub propagation_recursive: u64,
}

/// One mount, made in the plan's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, inside the root.
    pub target: String,
    /// What.
    pub kind: MountKind,
    /// Attributes.
    pub attributes: MountAttributes,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of the host.
    Bind {
        /// The path.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// Ids: as the container's user namespace, or as said.
        ids: BindIds,
    },
    /// The container's `/dev`, made by the shim.
    Dev {
        /// tmpfs options (`mode=755`, `size=65536k`).
        options: Vec<(String, String)>,
    },
    /// Processes of the container's namespace.
    Proc {
        /// Options (`hidepid=2`).
        options: Vec<(String, String)>,
    },
    /// The container's cgroups, as the host shows its own.
    Cgroup,
    /// Any other file system.
    Filesystem {
        /// Its type.
        kind: String,
        /// Its source.
        source: String,
        /// Options with and without (`""`) a value.
        options: Vec<(String, String)>,
        /// Whether a tmpfs starts with what the root has at the target.
        copy_up: bool,
    },
}

/// Whose ids a bind shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindIds {
    /// Those on disk are the container's, where the kernel can (idmapped); the host's without a user namespace.
    Container,
    /// Mapped so.
    Mapped {
        /// The maps; `container` is the id on disk.
        map: IdMap,
        /// For the mounts below too.
        recursive: bool,
    },
    /// Not mapped at all.
    Host,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where, inside the root.
    pub path: String,
    /// `c`, `b` or `p`.
    pub kind: u8,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner, as the container sees it.
    pub uid: u32,
    /// Group, as the container sees it.
    pub gid: u32,
}

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// By number.
    Ids {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
    /// docker's `user[:group]`, looked up in the root's account files.
    Named {
        /// Name or number, with an optional group; empty for user 0.
        user: String,
        /// Further groups by name or number.
        groups: Vec<String>,
    },
}

/// Capability sets as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityMasks {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Ambient set.
    pub ambient: u64,
}

/// A resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// In force.
    pub soft: u64,
    /// Ceiling.
    pub hard: u64,
}

/// CPU scheduler (`sched_setattr(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Deadline scheduling, ns.
    pub runtime: u64,
    /// Deadline scheduling, ns.
    pub deadline: u64,
    /// Deadline scheduling, ns.
    pub period: u64,
}

/// One process: the container's first, or an exec's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// Program and arguments; the program is looked up in the environment's `PATH`, inside the root.
    pub args: Vec<String>,
    /// `NAME=value`. `HOME` is added from the account files when absent.
    pub env: Vec<String>,
    /// Working directory; made when missing (the container's first process only). Empty is `/`.
    pub cwd: String,
    /// Identity.
    pub user: User,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Capabilities.
    pub capabilities: CapabilityMasks,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Whether set-id programs gain nothing.
    pub no_new_privileges: bool,
    /// AppArmor profile; empty for none.
    pub apparmor: String,
    /// SELinux label; empty for none.
    pub selinux: String,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// I/O priority, as `ioprio_set(2)` encodes it.
    pub io_priority: Option<u32>,
    /// CPU scheduler.
    pub scheduler: Option<Scheduler>,
    /// CPUs the program may use, as `0-3,7`; empty leaves them.
    pub cpus: String,
    /// System call filter.
    pub seccomp: Option<Program>,
}

/// What an exec runs; [`crate::compile_exec`] makes it.
pub type ExecPlan = ProcessPlan;

/// A program called at a point of the life cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path.
    pub path: String,
    /// Arguments with `argv[0]`.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Killed after so many seconds.
    pub timeout_s: Option<u32>,
}

/// The hooks the start path runs itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// In the runtime's namespaces, before pivot_root.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before pivot_root.
    pub create_container: Vec<Hook>,
    /// In the container, just before the program.
    pub start_container: Vec<Hook>,
    /// The `state` document they get on stdin, without its closing brace: `{"ociVersion":…`.
    pub state: String,
}

/// A container, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`crate::protocol::VERSION`] of the program that made it.
    pub version: u32,
    /// The container's id.
    pub id: String,
    /// Private directory of this run.
    pub dir: PathBuf,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Streams.
    pub io: Io,
    /// Where output is logged.
    pub log: Option<LogPlan>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Maps of the user namespace, new or joined.
    pub userns: Option<IdMap>,
    /// Propagation of the root mount (`MS_*`, perhaps with `MS_REC`); 0 is private.
    pub root_propagation: u64,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Device nodes.
    pub devices: Vec<Device>,
    /// Paths that read as empty.
    pub masked: Vec<String>,
    /// Paths made read-only.
    pub readonly: Vec<String>,
    /// Kernel parameters: path below `/proc/sys`, value.
    pub sysctls: Vec<(String, String)>,
    /// Host name; empty leaves it.
    pub hostname: String,
    /// NIS domain; empty leaves it.
    pub domainname: String,
    /// The first process.
    pub process: ProcessPlan,
    /// Whether the shim's own minimal init is process 1.
    pub init: bool,
    /// Who makes the container.
    pub runtime: RuntimeKind,
    /// Its cgroup.
    pub cgroup: AttachPlan,
    /// Hooks.
    pub hooks: Hooks,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_outside_the_map_has_no_host_id() {
        let map = IdMap::contiguous(0x1000_0000, 65_536);
        assert_eq!(map.host_uid(0), Some(0x1000_0000));
        assert_eq!(map.host_uid(65_535), Some(0x1000_ffff));
        assert_eq!(map.host_uid(65_536), None);
        let map = IdMap { uids: vec![IdRange { container: 5, host: 10, size: 1 }], gids: vec![] };
        assert_eq!((map.host_uid(5), map.host_uid(4), map.host_gid(5)), (Some(10), None, None));
    }
}
