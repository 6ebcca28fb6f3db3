//! The smaller bodies of container and exec calls.

use super::{Resources, RestartPolicy};
use crate::codec::{is_zero, null_default, string_list};
use serde::{Deserialize, Serialize};

/// The answer to a wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitResponse {
    /// The exit code.
    pub status_code: i64,
    /// Why the wait failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
}

/// Why a wait failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitError {
    /// In words.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
}

/// The answer to a top.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TopResponse {
    /// One row a process.
    #[serde(deserialize_with = "null_default")]
    pub processes: Vec<Vec<String>>,
    /// The columns.
    #[serde(deserialize_with = "null_default")]
    pub titles: Vec<String>,
}

/// The body of an update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateRequest {
    /// New limits; zero leaves one as it is.
    #[serde(flatten)]
    pub resources: Resources,
    /// The new policy; empty leaves it as it is.
    #[serde(deserialize_with = "null_default")]
    pub restart_policy: RestartPolicy,
}

/// The answer to an update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateResponse {
    /// What the user should know.
    pub warnings: Option<Vec<String>>,
}

/// The answer to a prune of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PruneReport {
    /// Removed containers; `null` where there were none.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// The body of `POST /containers/{id}/exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecConfig {
    /// `user[:group]`; empty for the container's.
    pub user: String,
    /// Whether with all capabilities.
    pub privileged: bool,
    /// Whether the standard streams are a terminal.
    pub tty: bool,
    /// The terminal's first size, rows and columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
    /// Whether standard input is connected.
    pub attach_stdin: bool,
    /// Whether standard error is connected.
    pub attach_stderr: bool,
    /// Whether standard output is connected.
    pub attach_stdout: bool,
    /// Whether nobody waits.
    pub detach: bool,
    /// The keys that detach.
    pub detach_keys: String,
    /// Environment above the container's.
    pub env: Option<Vec<String>>,
    /// The working directory; empty for the container's.
    pub working_dir: String,
    /// The program and its arguments.
    #[serde(deserialize_with = "string_list")]
    pub cmd: Option<Vec<String>>,
}

/// The answer to `POST /containers/{id}/exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecCreated {
    /// The exec's id.
    pub id: String,
}

/// The body of `POST /exec/{id}/start`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecStart {
    /// Whether to answer at once and leave the program alone.
    pub detach: bool,
    /// Whether the client believes it is a terminal.
    pub tty: bool,
    /// The terminal's first size, rows and columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
}

/// `GET /exec/{id}/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecInspect {
    /// The exec.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether it runs.
    #[serde(rename = "Running")]
    pub running: bool,
    /// Once it has ended.
    #[serde(rename = "ExitCode")]
    pub exit_code: Option<i64>,
    /// What runs.
    #[serde(rename = "ProcessConfig")]
    pub process_config: ExecProcess,
    /// Whether standard input is connected.
    #[serde(rename = "OpenStdin")]
    pub open_stdin: bool,
    /// Whether standard error is connected.
    #[serde(rename = "OpenStderr")]
    pub open_stderr: bool,
    /// Whether standard output is connected.
    #[serde(rename = "OpenStdout")]
    pub open_stdout: bool,
    /// Whether it may be removed.
    #[serde(rename = "CanRemove")]
    pub can_remove: bool,
    /// The container.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// The keys that detach, as bytes in base64.
    #[serde(rename = "DetachKeys")]
    pub detach_keys: String,
    /// On the host.
    #[serde(rename = "Pid")]
    pub pid: i64,
}

/// The program of an exec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecProcess {
    /// Whether a terminal.
    pub tty: bool,
    /// The program.
    pub entrypoint: String,
    /// Its arguments.
    #[serde(deserialize_with = "null_default")]
    pub arguments: Vec<String>,
    /// Whether with all capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// `user[:group]`.
    #[serde(skip_serializing_if = "is_zero")]
    pub user: String,
}
