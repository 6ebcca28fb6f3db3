//! Mounts in the long form (`--mount`).

use crate::{codec::is_zero, container::StringMap};
use serde::{Deserialize, Serialize};

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `npipe`, `cluster` or `image`.
    #[serde(rename = "Type", skip_serializing_if = "is_zero")]
    pub kind: String,
    /// A path on the host, a volume's name or an image.
    #[serde(skip_serializing_if = "is_zero")]
    pub source: String,
    /// The absolute path inside.
    #[serde(skip_serializing_if = "is_zero")]
    pub target: String,
    /// Whether it is read-only (recursively, unless the bind options say otherwise).
    #[serde(skip_serializing_if = "is_zero")]
    pub read_only: bool,
    /// macOS only; no effect here.
    #[serde(skip_serializing_if = "is_zero")]
    pub consistency: String,
    /// Of a bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// Of a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// Of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    /// Of a tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
    /// Of a cluster volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_options: Option<ClusterOptions>,
}

/// Options of a bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    /// `[r]private`, `[r]shared` or `[r]slave`.
    #[serde(skip_serializing_if = "is_zero")]
    pub propagation: String,
    /// Whether submounts stay out.
    #[serde(skip_serializing_if = "is_zero")]
    pub non_recursive: bool,
    /// Whether a missing source becomes a directory.
    #[serde(skip_serializing_if = "is_zero")]
    pub create_mountpoint: bool,
    /// Whether submounts of a read-only bind stay writable.
    #[serde(skip_serializing_if = "is_zero")]
    pub read_only_non_recursive: bool,
    /// Whether it is an error if submounts cannot be made read-only.
    #[serde(skip_serializing_if = "is_zero")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    /// Whether the image's content stays out of a new volume.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_copy: bool,
    /// Labels of a volume created by the mount.
    #[serde(skip_serializing_if = "is_zero")]
    pub labels: Option<StringMap>,
    /// A path inside the volume.
    #[serde(skip_serializing_if = "is_zero")]
    pub subpath: String,
    /// The driver of a volume created by the mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<Driver>,
}

/// A volume driver and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Driver {
    /// By name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// Its options.
    #[serde(skip_serializing_if = "is_zero")]
    pub options: Option<StringMap>,
}

/// Options of an image mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageOptions {
    /// A path inside the image.
    #[serde(skip_serializing_if = "is_zero")]
    pub subpath: String,
}

/// Options of a tmpfs mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    /// Bytes; zero for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: i64,
    /// The root's mode; zero for 1777.
    #[serde(skip_serializing_if = "is_zero")]
    pub mode: u32,
    /// Further mount options, `[name]` or `[name, value]`.
    #[serde(skip_serializing_if = "is_zero")]
    pub options: Option<Vec<Vec<String>>>,
}

/// Options of a cluster volume mount; none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterOptions {}
