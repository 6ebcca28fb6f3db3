//! The portable part of a container's configuration, and the body of `POST /containers/create`.

use super::{HostConfig, NameSet, StringMap};
use crate::{
    codec::{is_zero, string_list},
    network::EndpointSettings,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the program of a container is, as the image and the client say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// The host name inside; empty means the first 12 digits of the id.
    pub hostname: String,
    /// The domain name inside.
    pub domainname: String,
    /// `user[:group]`, by name or number.
    pub user: String,
    /// Whether the creating client attaches to standard input.
    pub attach_stdin: bool,
    /// Whether the creating client attaches to standard output.
    pub attach_stdout: bool,
    /// Whether the creating client attaches to standard error.
    pub attach_stderr: bool,
    /// Ports the program listens on, as `80/tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<NameSet>,
    /// Whether the standard streams are a terminal.
    pub tty: bool,
    /// Whether standard input stays open.
    pub open_stdin: bool,
    /// Whether standard input closes when the first attached client leaves.
    pub stdin_once: bool,
    /// `NAME=value`, or `NAME` to remove.
    pub env: Option<Vec<String>>,
    /// Arguments, after the entry point's.
    #[serde(deserialize_with = "string_list")]
    pub cmd: Option<Vec<String>>,
    /// How health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Windows only.
    #[serde(skip_serializing_if = "is_zero")]
    pub args_escaped: bool,
    /// The image as the client named it.
    pub image: String,
    /// Mount points that get an anonymous volume each.
    pub volumes: Option<NameSet>,
    /// The working directory.
    pub working_dir: String,
    /// The program and its first arguments.
    #[serde(deserialize_with = "string_list")]
    pub entrypoint: Option<Vec<String>>,
    /// Whether networking is off altogether.
    #[serde(skip_serializing_if = "is_zero")]
    pub network_disabled: bool,
    /// The MAC address, in its place before API 1.44.
    #[serde(skip_serializing_if = "is_zero")]
    pub mac_address: String,
    /// Instructions for a child build.
    pub on_build: Option<Vec<String>>,
    /// The user's labels.
    pub labels: Option<StringMap>,
    /// The signal of `stop`.
    #[serde(skip_serializing_if = "is_zero")]
    pub stop_signal: String,
    /// Seconds `stop` waits before it kills; `-1` for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of the shell form.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "string_list")]
    pub shell: Option<Vec<String>>,
}

/// A health check: durations in nanoseconds, zero to inherit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// Empty to inherit, `["NONE"]` for off, `["CMD", …]` or `["CMD-SHELL", …]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Grace at the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks during the grace.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row until unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The networks a container joins when it starts, by name or id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkingConfig {
    /// Endpoint settings by network.
    pub endpoints_config: Option<BTreeMap<String, Option<EndpointSettings>>>,
}

/// The body of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateRequest {
    /// The portable part.
    #[serde(flatten)]
    pub config: Config,
    /// The part bound to this host.
    pub host_config: Option<HostConfig>,
    /// Networks to join.
    pub networking_config: Option<NetworkingConfig>,
}

/// The answer to a create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateResponse {
    /// The new container.
    pub id: String,
    /// What the user should know; `[]` where there is nothing.
    #[serde(deserialize_with = "crate::null_default")]
    pub warnings: Vec<String>,
}
