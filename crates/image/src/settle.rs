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
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

/// The thread that waits for layers to reach the disk.
#[derive(Debug, Default)]
pub(crate) struct Settler(Mutex<Option<JoinHandle<()>>>);

impl Drop for Settler {
    fn drop(&mut self) {
        let thread = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
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

/// Waits until the file system has everything, then records that the layers unpacked before have settled.
fn settle(
    store: &Store,
    table: &Table<ChainId, LayerRecord>,
    state: &Mutex<State>,
    snapshots: &Snapshots,
) -> Result<()> {
    let unsettled = |state: &State| -> Vec<ChainId> {
        state.layers.iter().filter(|(_, layer)| layer.unsynced.is_some()).map(|(chain, _)| *chain).collect()
    };
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let layers = unsettled(&lock());
    if layers.is_empty() {
        return Ok(());
    }
    snapshots.sync()?;
    let mut state = lock();
    let mut transaction = store.begin();
    for chain in layers {
        if let Some(layer) = state.layers.get_mut(&chain) {
            layer.unsynced = None;
            transaction.put(table, &chain, layer)?;
        }
    }
    transaction.commit(Durability::Grouped)
}

impl Images {
    /// Begins to wait, in the background, for layers to settle.
    pub(crate) fn settle(&self) {
        let (store, table, state, snapshots) =
            (self.store.clone(), self.tables.layers.clone(), Arc::clone(&self.state), self.snapshots.clone());
        if self.state().layers.values().all(|layer| layer.unsynced.is_none()) {
            return;
        }
        let mut thread = self.settler.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = thread.take();
        let work = move || {
            if let Some(before) = before {
                let _ = before.join();
            }
            if let Err(error) = settle(&store, &table, &state, &snapshots) {
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
            settle(&self.store, &self.tables.layers, &self.state, &self.snapshots)?;
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
