//! Images.

use crate::{
    codec::{is_zero, null_default},
    container::{Descriptor, DescriptorPlatform, GraphDriver, Healthcheck, NameSet, StringMap},
};
use serde::{Deserialize, Serialize};

/// One line of `GET /images/json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Summary {
    /// Containers made of it; `-1` where not counted.
    pub containers: i64,
    /// Seconds since 1970.
    pub created: i64,
    /// The id: the digest of the index or manifest.
    pub id: String,
    /// The labels of the image's configuration.
    pub labels: Option<StringMap>,
    /// The image it was built on, where known.
    pub parent_id: String,
    /// What the id names (API 1.48 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// Every manifest, where asked for (API 1.47 and later).
    #[serde(skip_serializing_if = "is_zero")]
    pub manifests: Option<Vec<ManifestSummary>>,
    /// As `busybox@sha256:…`.
    #[serde(deserialize_with = "null_default")]
    pub repo_digests: Vec<String>,
    /// As `busybox:latest`.
    #[serde(deserialize_with = "null_default")]
    pub repo_tags: Vec<String>,
    /// Bytes shared with other images; `-1` where not counted.
    pub shared_size: i64,
    /// Bytes.
    pub size: i64,
    /// The same again, before API 1.44.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
}

/// One manifest of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManifestSummary {
    /// Its digest.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its descriptor in the index.
    pub descriptor: Descriptor,
    /// Whether all its blobs are here.
    pub available: bool,
    /// Bytes.
    pub size: ManifestSize,
    /// `image`, `attestation` or `unknown`.
    pub kind: String,
    /// Of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ImageData>,
    /// Of an attestation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation_data: Option<AttestationData>,
}

/// Bytes of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManifestSize {
    /// Of its blobs.
    pub content: i64,
    /// Of its blobs and its unpacked layers.
    pub total: i64,
}

/// What a manifest of an image says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageData {
    /// The platform.
    pub platform: DescriptorPlatform,
    /// Bytes.
    pub size: ImageDataSize,
    /// Containers made of it.
    pub containers: Option<Vec<String>>,
}

/// Bytes of an image manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageDataSize {
    /// Of its unpacked layers.
    pub unpacked: i64,
}

/// What an attestation manifest is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttestationData {
    /// The digest of the image manifest.
    pub r#for: String,
}

/// `GET /images/{name}/json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspect {
    /// The id: the digest of the index or manifest.
    pub id: String,
    /// As `busybox:latest`.
    #[serde(deserialize_with = "null_default")]
    pub repo_tags: Vec<String>,
    /// As `busybox@sha256:…`.
    #[serde(deserialize_with = "null_default")]
    pub repo_digests: Vec<String>,
    /// The image it was built on, where known.
    pub parent: String,
    /// Of its last history entry.
    pub comment: String,
    /// RFC 3339; left out where the image does not say (API 1.44 and later).
    #[serde(skip_serializing_if = "is_zero")]
    pub created: String,
    /// The builder's version.
    pub docker_version: String,
    /// Who made it.
    pub author: String,
    /// As `amd64`.
    pub architecture: String,
    /// As `v7`.
    #[serde(skip_serializing_if = "is_zero")]
    pub variant: String,
    /// As `linux`.
    pub os: String,
    /// Windows only.
    #[serde(skip_serializing_if = "is_zero")]
    pub os_version: String,
    /// Bytes.
    pub size: i64,
    /// The same again, before API 1.44.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    /// The storage driver's data.
    pub graph_driver: GraphDriver,
    /// The layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// What this daemon knows besides.
    pub metadata: Metadata,
    /// What the id names (API 1.48 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// Every manifest, where asked for (API 1.48 and later).
    #[serde(skip_serializing_if = "is_zero")]
    pub manifests: Option<Vec<ManifestSummary>>,
    /// Signatures and other artifacts that refer to it; ours, left out where there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub referrers: Vec<Referrer>,
    /// What the image says of its containers.
    pub config: Option<ImageConfig>,
}

/// An artifact that refers to an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Referrer {
    /// The digest of the index or manifest that it is about.
    pub subject: String,
    /// Its manifest.
    pub descriptor: Descriptor,
}

/// The layers of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(skip_serializing_if = "is_zero")]
    pub layers: Option<Vec<String>>,
}

/// What the daemon knows of an image besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Metadata {
    /// RFC 3339; when a name was last given here.
    pub last_tag_time: String,
}

/// The configuration of an image, as inspect prints it: keys in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// Windows only.
    #[serde(skip_serializing_if = "is_zero")]
    pub args_escaped: bool,
    /// Arguments, after the entry point's.
    pub cmd: Option<Vec<String>>,
    /// The program and its first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// Ports the program listens on, as `80/tcp`.
    #[serde(skip_serializing_if = "is_zero")]
    pub exposed_ports: Option<NameSet>,
    /// How health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The image's labels.
    pub labels: Option<StringMap>,
    /// Instructions for a child build.
    pub on_build: Option<Vec<String>>,
    /// The shell of the shell form.
    #[serde(skip_serializing_if = "is_zero")]
    pub shell: Option<Vec<String>>,
    /// The signal of `stop`.
    #[serde(skip_serializing_if = "is_zero")]
    pub stop_signal: String,
    /// `user[:group]`, by name or number.
    pub user: String,
    /// Mount points that get an anonymous volume each.
    pub volumes: Option<NameSet>,
    /// The working directory.
    pub working_dir: String,
}

/// One line of `GET /images/{name}/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HistoryItem {
    /// The author's comment.
    pub comment: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The instruction.
    pub created_by: String,
    /// The image's id in the first line, `<missing>` below.
    pub id: String,
    /// Bytes of the layer.
    pub size: i64,
    /// Names of the image in the first line.
    pub tags: Option<Vec<String>>,
}

/// One line of the answer to a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteItem {
    /// A digest that is gone.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: String,
    /// A name that is gone.
    #[serde(skip_serializing_if = "is_zero")]
    pub untagged: String,
}

/// The answer to a prune.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PruneReport {
    /// What is gone; `null` where nothing is.
    pub images_deleted: Option<Vec<DeleteItem>>,
    /// Bytes.
    pub space_reclaimed: u64,
}
