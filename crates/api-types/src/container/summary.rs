//! `GET /containers/json`.

use super::{Descriptor, MountPoint, StringMap};
use crate::{
    codec::{is_zero, null_default},
    network::EndpointSettings,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Summary {
    /// 64 digits.
    pub id: String,
    /// Each with its leading slash.
    #[serde(deserialize_with = "null_default")]
    pub names: Vec<String>,
    /// The image as the user named it, or its id where the name means another now.
    pub image: String,
    /// The image's id.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// The manifest of the image's platform that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<Descriptor>,
    /// The program and its arguments in one line.
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Exposed and published ports.
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<Port>,
    /// Bytes written above the image, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of the whole root, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// The labels.
    #[serde(deserialize_with = "null_default")]
    pub labels: StringMap,
    /// As in inspect.
    pub state: String,
    /// As `Up 5 minutes`.
    pub status: String,
    /// A few fields of the host configuration.
    pub host_config: SummaryHostConfig,
    /// The endpoints.
    pub network_settings: SummaryNetworkSettings,
    /// The mounts.
    #[serde(deserialize_with = "null_default")]
    pub mounts: Vec<MountPoint>,
}

/// What a list prints of the host configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SummaryHostConfig {
    /// The network mode.
    #[serde(skip_serializing_if = "is_zero")]
    pub network_mode: String,
    /// Annotations.
    #[serde(skip_serializing_if = "is_zero")]
    pub annotations: Option<StringMap>,
}

/// What a list prints of the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SummaryNetworkSettings {
    /// Endpoints by network name.
    #[serde(deserialize_with = "null_default")]
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// One port of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Port {
    /// The host's address.
    #[serde(rename = "IP", skip_serializing_if = "is_zero")]
    pub ip: String,
    /// Inside.
    pub private_port: u16,
    /// On the host.
    #[serde(skip_serializing_if = "is_zero")]
    pub public_port: u16,
    /// `tcp`, `udp` or `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}
