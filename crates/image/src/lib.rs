//! Names to manifests to layers; load, import, save, tag, delete, prune, inspect, history.
//!
//! Behaves as docker 28.5 does with the containerd image store: an image's ID is the digest its name points to
//! (of an index or of a manifest), blobs are kept as received, several platforms live under one name. Unlike there,
//! an image whose content is not what it says is refused when it is loaded.

#![forbid(unsafe_code)]

mod archive;
mod changes;
mod commit;
mod delete;
mod documents;
mod download;
mod evict;
mod filters;
mod hold;
mod import;
mod inspect;
mod list;
mod load;
mod model;
mod name;
mod platforms;
mod prune;
mod pull;
mod push;
mod referrers;
mod remote;
mod resolve;
mod save;
mod settle;
mod state;
mod sweep;
mod tag;
#[cfg(test)]
mod tests;
mod unpack;
mod verify;

pub use changes::apply_changes;
pub use evict::{Piece, Tenant};
pub use model::*;
pub use pull::{Policy, PullOptions, Pulled};
pub use push::{PushOptions, PushedImage};
pub use remote::{Destination, Pushed, Sink, Source};
pub use rorqual_oci::image as oci;
pub use verify::Checked;

use documents::Documents;
use rorqual_content::Content;
use rorqual_error::{Context, Result};
use rorqual_metadata::{Store, Table};
use rorqual_snapshot::Snapshots;
use rorqual_types::{ChainId, ContainerId, Digest};
use settle::Settler;
use state::{HoldRecord, LayerRecord, NameRecord, State};
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The images of one data root. All calls block; the engine runs the slow ones apart.
#[derive(Debug)]
pub struct Images {
    store: Store,
    content: Arc<Content>,
    snapshots: Arc<Snapshots>,
    tables: Tables,
    documents: Documents,
    state: Arc<Mutex<State>>,
    /// This boot of the kernel.
    boot: String,
    settler: Settler,
    downloads: download::Downloads,
    /// How long a slow download of another operation is waited for.
    patience: Duration,
    /// Held by whoever changes names or removes content; never while a load reads or unpacks.
    changing: Mutex<()>,
}

#[derive(Debug)]
struct Tables {
    names: Table<String, NameRecord>,
    blobs: Table<Digest, u64>,
    layers: Table<ChainId, LayerRecord>,
    holds: Table<ContainerId, HoldRecord>,
    referrers: Table<Digest, Vec<oci::Descriptor>>,
    used: Table<Digest, i64>,
}

impl Images {
    /// Opens the images of `data_root`; removes what an interrupted load or deletion left. Reads the records and two
    /// directory listings, no trees.
    pub fn open(data_root: &Path, store: Store, snapshots: Arc<Snapshots>) -> Result<Self> {
        let content = Content::open(&data_root.join("content"))?;
        let images = Self::read(content, store, snapshots)?;
        settle::forget_unsettled(&images.store, &images.tables.layers, &mut images.state(), &images.boot)?;
        images.recover().context("recover the images")?;
        images.sweep_partials(download::PARTIAL_KEPT).context("remove old downloads")?;
        images.restore_held();
        images.settle();
        Ok(images)
    }

    /// As [`Images::open`], but all is left as it is: for [`Images::check`] of a data root that no daemon uses.
    pub fn open_as_is(data_root: &Path, store: Store, snapshots: Arc<Snapshots>) -> Result<Self> {
        Self::read(Content::open_as_is(&data_root.join("content"))?, store, snapshots)
    }

    fn read(content: Content, store: Store, snapshots: Arc<Snapshots>) -> Result<Self> {
        let tables = Tables {
            names: store.table("image.names"),
            blobs: store.table("image.blobs"),
            layers: store.table("image.layers"),
            holds: store.table("image.holds"),
            referrers: store.table("image.referrers"),
            used: store.table("image.used"),
        };
        let state = State {
            names: tables.names.list()?.into_iter().collect(),
            blobs: tables.blobs.list()?.into_iter().collect(),
            layers: tables.layers.list()?.into_iter().collect(),
            unrecorded: Default::default(),
            holds: tables.holds.list()?.into_iter().collect(),
            referrers: tables.referrers.list()?.into_iter().collect(),
            used: tables.used.list()?.into_iter().collect(),
            leases: Default::default(),
        };
        let boot = settle::this_boot()?;
        let state = Arc::new(Mutex::new(state));
        let settler = Settler::new(store.clone(), tables.layers.clone(), state.clone());
        Ok(Self {
            store,
            content: Arc::new(content),
            snapshots,
            tables,
            documents: Documents::default(),
            state,
            boot,
            settler,
            downloads: Mutex::default(),
            patience: download::PATIENCE,
            changing: Mutex::new(()),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files without a record are of a load that was not acknowledged, or of a deletion that was.
    fn recover(&self) -> Result<()> {
        let state = self.state();
        let mut missing: std::collections::HashSet<&Digest> = state.blobs.keys().collect();
        for (digest, _) in self.content.list()? {
            if !missing.remove(&digest) {
                tracing::info!(%digest, "removing a blob of an interrupted operation");
                self.content.delete(&digest)?;
            }
        }
        for digest in missing {
            tracing::error!(%digest, "a blob is missing from the disk; load its image again");
        }
        for chain in self.snapshots.layers()? {
            if !state.layers.contains_key(&chain) {
                tracing::info!(%chain, "removing a layer of an interrupted operation");
                self.snapshots.remove_layer(&chain)?;
            }
        }
        Ok(())
    }

    /// How many images there are (`info`), without touching the disk.
    pub fn count(&self) -> usize {
        let state = self.state();
        let targets: std::collections::HashSet<&Digest> =
            state.names.values().map(|name| &name.target.digest).collect();
        targets.len()
    }

    /// Bytes that the blobs and layers of all images take, by their records.
    pub fn size(&self) -> u64 {
        self.state().size()
    }

    /// What the images consist of, by digest: for whoever gives it to others. It comes and goes with the images.
    pub fn content(&self) -> Arc<Content> {
        self.content.clone()
    }
}
