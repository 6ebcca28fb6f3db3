//! What is known of all images, in memory and in the store.

use crate::{Held, oci::Descriptor, referrers::BySubject};
use rorqual_snapshot::LayerInfo;
use rorqual_types::{ChainId, ContainerId, Digest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Everything, mirrored from the tables; written only together with them.
#[derive(Debug)]
pub(crate) struct State {
    /// By full name: `docker.io/library/busybox:latest`, or `moby-dangling@sha256:…` for an image without a name.
    pub(crate) names: BTreeMap<String, NameRecord>,
    /// Blobs that belong to images, and their lengths.
    pub(crate) blobs: HashMap<Digest, u64>,
    /// Unpacked layers.
    pub(crate) layers: HashMap<ChainId, LayerRecord>,
    /// Layers that are on the disk and have no record yet or any more: an operation under way has unpacked them, or
    /// their removal is about to begin. Who leases one may record it.
    pub(crate) unrecorded: HashMap<ChainId, LayerRecord>,
    /// What containers use.
    pub(crate) holds: BTreeMap<ContainerId, HoldRecord>,
    /// What refers to manifests and indexes of images.
    pub(crate) referrers: BySubject,
    /// Blobs and layers of operations under way, counted.
    pub(crate) leases: HashMap<Digest, u32>,
}

/// Where a name points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) target: Descriptor,
    /// When it was last set, nanoseconds since 1970.
    pub(crate) updated_ns: i64,
}

/// An unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) info: LayerInfo,
    /// Chain ID of the layer below.
    pub(crate) parent: Option<ChainId>,
    /// The boot in which it was unpacked, until it is known to survive a power cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unsynced: Option<String>,
}

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldRecord {
    pub(crate) held: Held,
    /// Chain IDs, lowest first.
    pub(crate) chain: Vec<ChainId>,
}
