//! What is known of all images, in memory and in the store.

use crate::{Held, oci::Descriptor, referrers::BySubject};
use rorqual_snapshot::LayerInfo;
use rorqual_types::{ChainId, ContainerId, Digest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// When the last container of an image was removed, nanoseconds since 1970, by the image's ID.
    pub(crate) used: HashMap<Digest, i64>,
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
    /// The blob whose file is the layer's archive too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blob: Option<Digest>,
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

impl State {
    /// Bytes that all blobs and layers take.
    pub(crate) fn size(&self) -> u64 {
        self.blobs.values().sum::<u64>() + self.layers.keys().map(|chain| self.added(chain)).sum::<u64>()
    }

    /// The records of layers that lose the other name of their archive when these blobs go.
    pub(crate) fn parted(&self, blobs: &HashSet<Digest>) -> Vec<(ChainId, LayerRecord)> {
        let parted = self.layers.iter().filter(|(_, layer)| layer.blob.is_some_and(|blob| blobs.contains(&blob)));
        parted.map(|(chain, layer)| (*chain, LayerRecord { blob: None, ..layer.clone() })).collect()
    }

    /// Bytes that a layer takes besides its blob.
    pub(crate) fn added(&self, chain: &ChainId) -> u64 {
        let Some(layer) = self.layers.get(chain) else { return 0 };
        let shared = layer.blob.is_some_and(|blob| self.blobs.contains_key(&blob));
        layer.info.size - if shared { layer.info.shared.min(layer.info.size) } else { 0 }
    }
}
