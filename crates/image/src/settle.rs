//! Layers settle on the disk after they are acknowledged: an image's blobs are what is made durable first, and a layer
//! that a power cut may have left half written is unpacked from them again.

use crate::{
    Images,
    documents::{Found, Node},
    oci::{DOCUMENT_BYTES_MAX, Descriptor, Document},
    resolve::Chosen,
    state::{HoldRecord, LayerRecord, State},
};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::{Durability, Store, Table};
use rorqual_snapshot::Snapshots;
use rorqual_types::{ChainId, Digest};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread::JoinHandle,
};

/// The thread that waits for layers to reach the disk, and what it records that with. The thread holds the latter
/// weakly: a daemon that ends does not wait for the disk, and the layers it leaves behind settle after the next open.
#[derive(Debug)]
pub(crate) struct Settler {
    records: Arc<Records>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Records {
    store: Store,
    table: Table<ChainId, LayerRecord>,
    state: Arc<Mutex<State>>,
}

impl Settler {
    pub(crate) fn new(store: Store, table: Table<ChainId, LayerRecord>, state: Arc<Mutex<State>>) -> Self {
        Self { records: Arc::new(Records { store, table, state }), thread: Mutex::default() }
    }
}

/// The kernel's name for this boot.
pub(crate) fn this_boot() -> Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot's id")?;
    Ok(id.trim().to_owned())
}

/// Drops the records of layers that had not settled when an earlier boot ended.
pub(crate) fn forget_unsettled(
    store: &Store,
    table: &Table<ChainId, LayerRecord>,
    state: &mut State,
    boot: &str,
) -> Result<()> {
    let lost = state.layers.iter().filter(|(_, layer)| layer.unsynced.as_ref().is_some_and(|own| own != boot));
    let lost: Vec<ChainId> = lost.map(|(chain, _)| *chain).collect();
    let mut transaction = store.begin();
    for chain in &lost {
        tracing::warn!(%chain, "a layer may be incomplete after a power cut; it will be unpacked again");
        transaction.delete(table, chain);
        state.layers.remove(chain);
    }
    transaction.commit(Durability::Grouped)
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsettled(&self) -> Vec<ChainId> {
        let state = self.lock();
        state.layers.iter().filter(|(_, layer)| layer.unsynced.is_some()).map(|(chain, _)| *chain).collect()
    }

    /// Records that these layers, which were there before the last sync, have settled.
    fn settled(&self, layers: &[ChainId]) -> Result<()> {
        let mut state = self.lock();
        let mut transaction = self.store.begin();
        for chain in layers {
            if let Some(layer) = state.layers.get_mut(chain) {
                layer.unsynced = None;
                transaction.put(&self.table, chain, layer)?;
            }
        }
        transaction.commit(Durability::Grouped)
    }
}

/// Waits until the file system has everything; does nothing for images that were closed meanwhile.
fn settle(records: &Weak<Records>, snapshots: &Snapshots) -> Result<()> {
    let Some(layers) = records.upgrade().map(|records| records.unsettled()) else { return Ok(()) };
    if layers.is_empty() {
        return Ok(());
    }
    snapshots.sync()?;
    records.upgrade().map_or(Ok(()), |records| records.settled(&layers))
}

impl Images {
    /// Begins to wait, in the background, for layers to settle.
    pub(crate) fn settle(&self) {
        let records = &self.settler.records;
        if records.unsettled().is_empty() {
            return;
        }
        let (records, snapshots) = (Arc::downgrade(records), self.snapshots.clone());
        let mut thread = self.settler.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let before = thread.take();
        let work = move || {
            if let Some(before) = before {
                let _ = before.join();
            }
            if let Err(error) = settle(&records, &snapshots) {
                tracing::warn!(%error, "layers could not be synced; they are unpacked again after a power cut");
            }
        };
        match std::thread::Builder::new().name("settle".into()).spawn(work) {
            Ok(handle) => *thread = Some(handle),
            Err(error) => tracing::warn!(%error, "no thread to sync layers; they are unpacked again after a power cut"),
        }
    }

    /// Waits until layers that containers use have settled: before blobs that they could be unpacked from may go.
    pub(crate) fn settle_held(&self) -> Result<()> {
        let needed = {
            let state = self.state();
            let mut held = state.holds.values().flat_map(|hold| &hold.chain);
            held.any(|chain| state.layers.get(chain).is_some_and(|layer| layer.unsynced.is_some()))
        };
        if needed {
            settle(&Arc::downgrade(&self.settler.records), &self.snapshots)?;
        }
        Ok(())
    }

    /// Unpacks again what containers use and a power cut took. A container whose layers cannot be had is reported.
    pub(crate) fn restore_held(&self) {
        let incomplete: Vec<HoldRecord> = {
            let state = self.state();
            let holds = state.holds.values();
            holds.filter(|hold| !hold.chain.iter().all(|chain| state.layers.contains_key(chain))).cloned().collect()
        };
        for hold in incomplete {
            if let Err(error) = self.unpack_manifest(&hold.held.manifest) {
                tracing::error!(manifest = %hold.held.manifest, %error, "a container's layers are lost");
            }
        }
    }

    fn unpack_manifest(&self, digest: &Digest) -> Result<()> {
        let bytes = self.content.read(digest, DOCUMENT_BYTES_MAX)?;
        let descriptor = Descriptor::new(Document::detect(&bytes)?, *digest, bytes.len() as u64);
        let Node::Manifest(manifest) = self.node(&descriptor)? else {
            return Err(Error::internal("a container's manifest is an index"));
        };
        let config = self.config(&manifest)?;
        let found = Found { descriptor, manifest: Some(manifest.clone()) };
        self.ensure_unpacked(&Chosen { found, manifest, config })
    }
}
