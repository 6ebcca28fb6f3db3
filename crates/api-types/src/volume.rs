//! Volumes.

use crate::{
    codec::{is_zero, null_default},
    container::StringMap,
};
use serde::{Deserialize, Serialize};

/// One volume, as create, inspect and list print it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    /// RFC 3339.
    #[serde(skip_serializing_if = "is_zero")]
    pub created_at: String,
    /// The driver.
    pub driver: String,
    /// The user's labels; `null` for a volume made by a mount.
    pub labels: Option<StringMap>,
    /// The path on the host.
    pub mountpoint: String,
    /// The name.
    pub name: String,
    /// Driver options; `null` where none were given.
    pub options: Option<StringMap>,
    /// `local` or `global`.
    pub scope: String,
    /// What a driver tells besides.
    #[serde(skip_serializing_if = "is_zero")]
    pub status: Option<serde_json::Map<String, serde_json::Value>>,
    /// In `system df` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<UsageData>,
}

/// What a volume takes, and who uses it; `-1` for unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UsageData {
    /// Containers that use it.
    pub ref_count: i64,
    /// Bytes.
    pub size: i64,
}

/// The body of `POST /volumes/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateRequest {
    /// The driver; empty for `local`.
    #[serde(skip_serializing_if = "is_zero")]
    pub driver: String,
    /// Its options.
    #[serde(skip_serializing_if = "is_zero")]
    pub driver_opts: Option<StringMap>,
    /// The user's labels.
    #[serde(skip_serializing_if = "is_zero")]
    pub labels: Option<StringMap>,
    /// The name; empty for a random one.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// Of a cluster volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_volume_spec: Option<serde_json::Value>,
}

/// `GET /volumes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ListResponse {
    /// The volumes.
    #[serde(deserialize_with = "null_default")]
    pub volumes: Vec<Volume>,
    /// What went wrong with a driver.
    pub warnings: Option<Vec<String>>,
}

/// The answer to a prune.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PruneReport {
    /// Removed volumes; `[]` where there were none.
    #[serde(deserialize_with = "null_default")]
    pub volumes_deleted: Vec<String>,
    /// Bytes.
    pub space_reclaimed: u64,
}
