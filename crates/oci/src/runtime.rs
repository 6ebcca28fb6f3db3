//! The OCI runtime specification 1.2: `config.json` ([`Spec`]) and the answer of `state` ([`State`]).
//!
//! Absent, `null` and the zero value mean the same unless a field is an `Option`. Fields we do not know (`intelRdt`,
//! `vm`, `windows`, ...) are ignored, as the specification asks of a runtime.

mod linux;

use rorqual_error::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use linux::*;

/// The version of the specification that [`Spec::new`] claims.
pub const VERSION: &str = "1.2.0";

/// A `config.json` longer than this is refused.
pub const CONFIG_MAX_BYTES: usize = 4 << 20;

/// Whether a value is what its absence means; such fields are not written.
pub(crate) fn absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A container as a runtime is to make it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Version of the specification the document follows.
    #[serde(rename = "ociVersion")]
    pub oci_version: String,
    /// The program; absent only for a container that is never started.
    #[serde(skip_serializing_if = "absent")]
    pub process: Option<Process>,
    /// The root file system.
    #[serde(skip_serializing_if = "absent")]
    pub root: Option<Root>,
    /// Name in the container's UTS namespace.
    #[serde(skip_serializing_if = "absent")]
    pub hostname: String,
    /// NIS domain in the container's UTS namespace.
    #[serde(skip_serializing_if = "absent")]
    pub domainname: String,
    /// Mounts, made in this order.
    #[serde(skip_serializing_if = "absent")]
    pub mounts: Vec<Mount>,
    /// Programs the runtime calls at points of the life cycle.
    #[serde(skip_serializing_if = "absent")]
    pub hooks: Hooks,
    /// Free data, never read by the runtime for its own decisions (R13).
    #[serde(skip_serializing_if = "absent")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    #[serde(skip_serializing_if = "absent")]
    pub linux: Option<Linux>,
}

impl Spec {
    /// An empty document of the version we write.
    pub fn new() -> Self {
        Self { oci_version: VERSION.to_owned(), ..Self::default() }
    }

    /// Reads a `config.json`; at most [`CONFIG_MAX_BYTES`], version 1.x, `null` as absent.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > CONFIG_MAX_BYTES {
            return Err(Error::invalid(format!("config.json is longer than {CONFIG_MAX_BYTES} bytes")));
        }
        let spec: Self = parse_document(bytes).context("config.json")?;
        if !spec.oci_version.starts_with("1.") {
            let shown: String = spec.oci_version.chars().take(32).collect();
            return Err(Error::invalid(format!("config.json: unsupported ociVersion {shown:?}")));
        }
        Ok(spec)
    }

    /// The `linux` part, made empty when it was absent.
    pub fn linux_mut(&mut self) -> &mut Linux {
        self.linux.get_or_insert_default()
    }
}

/// Decodes a JSON document in which Go programs write `null` for an empty list.
pub fn parse_document<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| Error::invalid("not a JSON document").caused_by(error))?;
    drop_nulls(&mut value);
    serde_json::from_value(value).map_err(|error| Error::invalid("wrong document").caused_by(error))
}

/// Removes `null` members everywhere. The recursion is bounded by the parser's own depth limit (128).
fn drop_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The root file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Root {
    /// Directory, relative to the bundle unless absolute.
    pub path: String,
    /// Whether the container sees it read-only.
    #[serde(skip_serializing_if = "absent")]
    pub readonly: bool,
}

/// The container's program and what it starts with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// A terminal instead of three pipes.
    #[serde(skip_serializing_if = "absent")]
    pub terminal: bool,
    /// First size of the terminal.
    #[serde(skip_serializing_if = "absent")]
    pub console_size: Option<ConsoleSize>,
    /// Identity.
    pub user: User,
    /// Program and arguments.
    #[serde(skip_serializing_if = "absent")]
    pub args: Vec<String>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "absent")]
    pub env: Vec<String>,
    /// Working directory, absolute inside the container.
    pub cwd: String,
    /// Capability sets; `None` keeps none.
    #[serde(skip_serializing_if = "absent")]
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(skip_serializing_if = "absent")]
    pub rlimits: Vec<Rlimit>,
    /// Whether set-id programs gain nothing.
    #[serde(skip_serializing_if = "absent")]
    pub no_new_privileges: bool,
    /// AppArmor profile.
    #[serde(skip_serializing_if = "absent")]
    pub apparmor_profile: String,
    /// Value for `/proc/PID/oom_score_adj`; `None` leaves it alone.
    #[serde(skip_serializing_if = "absent")]
    pub oom_score_adj: Option<i32>,
    /// SELinux label.
    #[serde(skip_serializing_if = "absent")]
    pub selinux_label: String,
    /// I/O priority.
    #[serde(rename = "ioPriority", skip_serializing_if = "absent")]
    pub io_priority: Option<IoPriority>,
    /// CPU scheduler.
    #[serde(skip_serializing_if = "absent")]
    pub scheduler: Option<Scheduler>,
    /// CPUs for the runtime while it starts and for the program at the end.
    #[serde(rename = "execCPUAffinity", skip_serializing_if = "absent")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Who the program runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// File mode creation mask; `None` leaves the runtime's 0022.
    #[serde(skip_serializing_if = "absent")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "absent")]
    pub additional_gids: Vec<u32>,
    /// A name to be looked up inside the root. The specification has it for Windows only; our own engine puts docker's
    /// `user[:group]` here, because only the shim may read the image's account files (R8). Other runtimes get numbers.
    #[serde(skip_serializing_if = "absent")]
    pub username: String,
}

/// Capability sets by name (`CAP_CHOWN`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Limit for the whole life of the process tree.
    #[serde(skip_serializing_if = "absent")]
    pub bounding: Vec<String>,
    /// In force at the start.
    #[serde(skip_serializing_if = "absent")]
    pub effective: Vec<String>,
    /// Kept across exec of a file with inheritable bits.
    #[serde(skip_serializing_if = "absent")]
    pub inheritable: Vec<String>,
    /// May be made effective.
    #[serde(skip_serializing_if = "absent")]
    pub permitted: Vec<String>,
    /// Kept across exec without file capabilities.
    #[serde(skip_serializing_if = "absent")]
    pub ambient: Vec<String>,
}

/// One resource limit; `u64::MAX` is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Ceiling.
    pub hard: u64,
    /// In force.
    pub soft: u64,
}

/// I/O priority (`ioprio_set(2)`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `_BE`, `_IDLE`.
    pub class: String,
    /// 0 to 7.
    pub priority: i32,
}

/// CPU scheduler (`sched_setattr(2)`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// `SCHED_OTHER`, `SCHED_BATCH`, ...
    pub policy: String,
    /// Nice value.
    #[serde(skip_serializing_if = "absent")]
    pub nice: i32,
    /// Static priority.
    #[serde(skip_serializing_if = "absent")]
    pub priority: i32,
    /// `SCHED_FLAG_*`.
    #[serde(skip_serializing_if = "absent")]
    pub flags: Vec<String>,
    /// For deadline scheduling, ns.
    #[serde(skip_serializing_if = "absent")]
    pub runtime: u64,
    /// For deadline scheduling, ns.
    #[serde(skip_serializing_if = "absent")]
    pub deadline: u64,
    /// For deadline scheduling, ns.
    #[serde(skip_serializing_if = "absent")]
    pub period: u64,
}

/// CPU lists such as `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuAffinity {
    /// While the runtime sets up.
    #[serde(skip_serializing_if = "absent")]
    pub initial: String,
    /// For the program.
    #[serde(rename = "final", skip_serializing_if = "absent")]
    pub last: String,
}

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Target inside the container.
    pub destination: String,
    /// File system type; empty or `bind` for a bind.
    #[serde(rename = "type", skip_serializing_if = "absent")]
    pub kind: String,
    /// Device, or path on the host for a bind.
    #[serde(skip_serializing_if = "absent")]
    pub source: String,
    /// As in fstab: flags, propagation (`rslave`), `rbind`, file system data, `idmap`, `ridmap`, `tmpcopyup`.
    #[serde(skip_serializing_if = "absent")]
    pub options: Vec<String>,
    /// User ids of an idmapped mount.
    #[serde(skip_serializing_if = "absent")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of an idmapped mount.
    #[serde(skip_serializing_if = "absent")]
    pub gid_mappings: Vec<IdMapping>,
}

/// Programs called at points of the life cycle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated; with `create_runtime`.
    #[serde(skip_serializing_if = "absent")]
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, after the container's exist and before pivot_root.
    #[serde(skip_serializing_if = "absent")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before pivot_root.
    #[serde(skip_serializing_if = "absent")]
    pub create_container: Vec<Hook>,
    /// In the container's namespaces, just before the program.
    #[serde(skip_serializing_if = "absent")]
    pub start_container: Vec<Hook>,
    /// After the program has started.
    #[serde(skip_serializing_if = "absent")]
    pub poststart: Vec<Hook>,
    /// After the container is gone.
    #[serde(skip_serializing_if = "absent")]
    pub poststop: Vec<Hook>,
}

/// One program of [`Hooks`]; it gets the [`State`] on stdin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Absolute path.
    pub path: String,
    /// Arguments with `argv[0]`.
    #[serde(skip_serializing_if = "absent")]
    pub args: Vec<String>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "absent")]
    pub env: Vec<String>,
    /// Seconds until it is killed.
    #[serde(skip_serializing_if = "absent")]
    pub timeout: Option<i64>,
}

/// What `state` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// Version of the specification.
    #[serde(rename = "ociVersion")]
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Process id of init; 0 once stopped.
    #[serde(skip_serializing_if = "absent")]
    pub pid: i32,
    /// Directory of its `config.json`.
    pub bundle: String,
    /// Those of its `config.json`.
    #[serde(skip_serializing_if = "absent")]
    pub annotations: BTreeMap<String, String>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    #[default]
    Creating,
    /// Made; its program has not been started.
    Created,
    /// Its program runs.
    Running,
    /// Frozen (not in the specification; runc prints it too).
    Paused,
    /// Its program has ended.
    Stopped,
}

#[cfg(test)]
mod tests;
