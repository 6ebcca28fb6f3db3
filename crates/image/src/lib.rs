//! Names to manifests to layers; load, import, save, tag, delete, prune, inspect, history.
//!
//! Behaves as docker 28.5 does with the containerd image store: an image's ID is the digest its name points to
//! (of an index or of a manifest), blobs are kept as received, several platforms live under one name.

#![forbid(unsafe_code)]

mod model;

pub use model::*;
pub use rorqual_oci::image as oci;

use rorqual_error::Result;
use rorqual_metadata::{Store, Transaction};
use rorqual_snapshot::Snapshots;
use rorqual_types::{ContainerId, Digest, Filters, Platform, Reference};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

/// The images of one data root. All calls block; the engine runs the slow ones apart.
#[derive(Debug)]
pub struct Images {}

impl Images {
    /// Opens the images of `data_root`; finishes or undoes what a crash interrupted.
    pub fn open(data_root: &Path, store: Store, snapshots: Arc<Snapshots>) -> Result<Self> {
        let _ = (data_root, store, snapshots);
        todo!()
    }

    /// The image that `name` means for a container: name, `name:tag`, `name@digest`, ID or ID prefix.
    ///
    /// # Errors
    /// `NotFound` with dockerd's text `No such image: …`; also where no manifest fits `platform`.
    pub fn resolve(&self, name: &str, platform: Option<&Platform>) -> Result<Resolved> {
        let _ = (name, platform);
        todo!()
    }

    /// Says that container `id` uses the image: its layers stay until [`Images::release`], even if the image is
    /// deleted by force. Part of the transaction that creates the container.
    pub fn hold(&self, transaction: &mut Transaction, id: &ContainerId, image: &Resolved) -> Result<()> {
        let _ = (transaction, id, image);
        todo!()
    }

    /// Undoes [`Images::hold`] in the transaction that removes the container (or after a failed commit of `hold`).
    pub fn release(&self, transaction: &mut Transaction, id: &ContainerId) {
        let _ = (transaction, id);
        todo!()
    }

    /// The image a container was made from, as it was held; for start after the image itself was deleted.
    pub fn held(&self, id: &ContainerId) -> Result<Option<Held>> {
        let _ = id;
        todo!()
    }

    /// Forgets holds of containers that are not in `live`; called once after the containers are known.
    pub fn retain_holds(&self, live: &BTreeSet<ContainerId>) -> Result<()> {
        let _ = live;
        todo!()
    }

    /// `docker images`. Filters: dangling, label, before, since, until, reference.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<Summary>> {
        let _ = options;
        todo!()
    }

    /// `docker image inspect`.
    pub fn inspect(&self, name: &str, platform: Option<&Platform>, manifests: bool) -> Result<Inspect> {
        let _ = (name, platform, manifests);
        todo!()
    }

    /// `docker history`, newest first.
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryEntry>> {
        let _ = (name, platform);
        todo!()
    }

    /// `docker tag`.
    pub fn tag(&self, name: &str, target: &Reference) -> Result<Vec<ImageEvent>> {
        let _ = (name, target);
        todo!()
    }

    /// `docker rmi`. `users` tells which containers use which image.
    pub fn delete(&self, name: &str, options: DeleteOptions, users: &dyn Users) -> Result<Deleted> {
        let _ = (name, options, users);
        todo!()
    }

    /// `docker image prune`. Filters: dangling, until, label.
    pub fn prune(&self, filters: &Filters, users: &dyn Users) -> Result<Pruned> {
        let _ = (filters, users);
        todo!()
    }

    /// `docker load`: a docker-archive or OCI archive, plain, gzip or zstd. Messages go to `progress` as they happen.
    pub fn load(
        &self,
        archive: &mut (dyn Read + Send),
        platform: Option<&Platform>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<ImageEvent>> {
        let _ = (archive, platform, progress);
        todo!()
    }

    /// `docker save` of one or many names.
    pub fn save(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        out: &mut (dyn Write + Send),
    ) -> Result<Vec<ImageEvent>> {
        let _ = (names, platform, out);
        todo!()
    }

    /// `docker import`: one layer from a tarball, with configuration `changes` (Dockerfile instructions).
    pub fn import(
        &self,
        archive: &mut (dyn Read + Send),
        options: ImportOptions,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(Digest, Vec<ImageEvent>)> {
        let _ = (archive, options, progress);
        todo!()
    }

    /// How many images there are (`info`), without touching the disk.
    pub fn count(&self) -> usize {
        todo!()
    }

    /// Bytes that all image blobs and unpacked layers take (`system df`, `LayersSize`), without touching the disk.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        todo!()
    }
}
