//! What only our daemon says: where the disk space went, what was collected, what a check found.

use serde::{Deserialize, Serialize};

/// What the data root takes on disk, as `du` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DataRoot {
    /// All of it.
    pub total: i64,
    /// Blobs, layers, and what is left of interrupted pulls.
    pub images: i64,
    /// The containers' directories with their logs.
    pub containers: i64,
    /// The volumes' directories.
    pub volumes: i64,
    /// The store of records.
    pub records: i64,
    /// What is going away, the directories that hold all this, and what is nobody's.
    pub other: i64,
}

/// What `POST /rorqual/images/gc` did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImagesCollected {
    /// The images that went, least recently used first.
    pub images: Vec<CollectedImage>,
    /// Bytes of all images before.
    pub size: u64,
    /// Bytes given back.
    pub space_reclaimed: u64,
    /// Bytes that should have gone too: the other images are in use, pinned or young.
    pub missed: u64,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CollectedImage {
    /// Its ID.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
    /// When it was last of use, seconds since 1970.
    pub last_used: i64,
    /// Bytes it leads to, shared or not.
    pub size: u64,
}

/// One line of the answer to `POST /rorqual/system/fsck`; the last has the summary or an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckLine {
    /// Where records and files disagree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<CheckFinding>,
    /// How much was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<CheckSummary>,
    /// Why the check could not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// See [`CheckLine`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckFinding {
    /// What it is about.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What was, can or should be done.
    pub remedy: String,
    /// `repaired`, `repairable` or `lost`.
    pub state: String,
}

/// See [`CheckLine`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckSummary {
    /// Blobs whose digest was computed.
    pub blobs: u64,
    /// Layers whose digest was computed.
    pub layers: u64,
    /// Layers that are directories, which have none.
    pub directories: u64,
    /// Containers.
    pub containers: u64,
    /// Volumes.
    pub volumes: u64,
    /// Bytes read.
    pub bytes: u64,
}
