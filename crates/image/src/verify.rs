//! Whether records and files of images agree, and files with their digests.
//!
//! Works beside a running daemon: what an operation under way has leased is nobody's mistake, and each disagreement is
//! looked at again before it is believed.

use crate::{Images, oci::chain_ids};
use rorqual_content::digest;
use rorqual_error::{Kind, Result};
use rorqual_metadata::{Durability, check::Checker};
use rorqual_types::{ChainId, ContainerId, Digest};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    os::unix::fs::MetadataExt,
};

const AGAIN: &str = "pull or load its image again";

/// How much a check has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs whose digest was computed.
    pub blobs: u64,
    /// Layers whose digest was computed, or is that of a blob which is the same file.
    pub layers: u64,
    /// Layers that are directories: what they were unpacked from is not kept, and cannot be compared.
    pub directories: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Images {
    /// Compares everything with everything; reads all blobs and layers. `containers` are those that there are.
    pub fn verify(&self, containers: &BTreeSet<ContainerId>, checker: &mut Checker<'_>) -> Result<Checked> {
        let mut checked = Checked::default();
        let intact = self.check_blobs(checker, &mut checked)?;
        self.check_layers(&intact, checker, &mut checked)?;
        self.check_holds(containers, checker)?;
        self.check_names(checker)?;
        self.check_counts(checker)?;
        Ok(checked)
    }

    fn is_leased(&self, digest: &Digest) -> bool {
        self.state().leases.contains_key(digest)
    }

    /// Gives the blobs that are what they should be.
    fn check_blobs(&self, checker: &mut Checker<'_>, checked: &mut Checked) -> Result<HashSet<Digest>> {
        let mut intact = HashSet::new();
        let mut missing: BTreeSet<Digest> = self.state().blobs.keys().copied().collect();
        for (blob, length) in self.content.list()? {
            missing.remove(&blob);
            let recorded = self.state().blobs.get(&blob).copied();
            if recorded.is_none() {
                if !self.is_leased(&blob) && self.content.size(&blob)?.is_some() {
                    let mend = || self.content.delete(&blob);
                    checker.found(format!("blob {blob}"), "belongs to nothing", "delete it", mend)?;
                }
                continue;
            }
            checked.blobs += 1;
            checked.bytes += length;
            let found = match self.content.digest_of(&blob) {
                Err(error) if error.kind() == Kind::NotFound => continue,
                found => found?,
            };
            if found == blob {
                intact.insert(blob);
            } else {
                let mend = || self.forget_blob(&blob);
                let problem = format!("has the digest {found}");
                checker.found(format!("blob {blob}"), problem, &format!("delete it; {AGAIN}"), mend)?;
            }
        }
        for blob in missing {
            if self.state().blobs.contains_key(&blob) && self.content.size(&blob)?.is_none() {
                let mend = || self.forget_blob(&blob);
                checker.found(format!("blob {blob}"), "is missing", &format!("forget it; {AGAIN}"), mend)?;
            }
        }
        Ok(intact)
    }

    /// Deletes a blob that is not what it should be, and its record. Under the lock, so that nobody puts a good one there
    /// meanwhile.
    fn forget_blob(&self, blob: &Digest) -> Result<()> {
        let mut state = self.state();
        let parted = state.parted(&HashSet::from([*blob]));
        let mut transaction = self.store.begin();
        transaction.delete(&self.tables.blobs, blob);
        for (chain, record) in &parted {
            transaction.put(&self.tables.layers, chain, record)?;
        }
        transaction.commit(Durability::Synced)?;
        state.blobs.remove(blob);
        state.layers.extend(parted);
        self.content.delete(blob)
    }

    fn check_layers(&self, intact: &HashSet<Digest>, checker: &mut Checker<'_>, checked: &mut Checked) -> Result<()> {
        let how = "delete it; it is unpacked again from its blob when it is needed";
        let mut missing: BTreeSet<ChainId> = self.state().layers.keys().copied().collect();
        for chain in self.snapshots.layers()? {
            missing.remove(&chain);
            let Some(record) = self.state().layers.get(&chain).cloned() else {
                let mend = || self.snapshots.remove_layer(&chain);
                let unrecorded = self.state().unrecorded.contains_key(&chain);
                if !unrecorded && !self.is_leased(&chain) && self.snapshots.layers()?.contains(&chain) {
                    checker.found(format!("layer {chain}"), "belongs to nothing", "delete it", mend)?;
                }
                continue;
            };
            if record.info.archived && !self.snapshots.has_archive(&chain) && self.is_recorded(&chain) {
                let mend = || self.forget_layer(&chain);
                checker.found(format!("layer {chain}"), "has no archive or no index", how, mend)?;
                continue;
            }
            if record.blob.is_some_and(|blob| intact.contains(&blob) && self.is_same_file(&chain, &blob)) {
                checked.layers += 1;
                continue;
            }
            let Some(diff_id) = self.snapshots.diff_id(&chain)? else {
                checked.directories += u64::from(self.is_recorded(&chain));
                continue;
            };
            checked.layers += 1;
            checked.bytes += record.info.size;
            // The layer's name is made of what it stands on and of its digest.
            let found = match record.parent {
                Some(parent) => digest(format!("{parent} {diff_id}").as_bytes()),
                None => diff_id,
            };
            if found != chain {
                let mend = || self.forget_layer(&chain);
                checker.found(format!("layer {chain}"), format!("has the digest {diff_id}"), how, mend)?;
            }
        }
        for chain in missing {
            let is_gone = !self.snapshots.layers()?.contains(&chain);
            if is_gone && self.is_recorded(&chain) {
                let mend = || self.forget_layer(&chain);
                checker.found(format!("layer {chain}"), "is missing", how, mend)?;
            }
        }
        Ok(())
    }

    fn is_recorded(&self, chain: &ChainId) -> bool {
        self.state().layers.contains_key(chain)
    }

    fn is_same_file(&self, chain: &ChainId, blob: &Digest) -> bool {
        let inode = |file: std::fs::File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
        let layer = self.snapshots.tar(chain).ok().flatten().and_then(inode);
        layer.is_some() && layer == self.content.open_blob(blob).ok().and_then(inode)
    }

    fn forget_layer(&self, chain: &ChainId) -> Result<()> {
        let mut state = self.state();
        self.tables.layers.delete(chain, Durability::Synced)?;
        state.layers.remove(chain);
        self.snapshots.remove_layer(chain)
    }

    fn check_holds(&self, containers: &BTreeSet<ContainerId>, checker: &mut Checker<'_>) -> Result<()> {
        let holds = self.state().holds.clone();
        for (id, hold) in &holds {
            if !containers.contains(id) {
                let mend = || {
                    let mut transaction = self.store.begin();
                    self.release(&mut transaction, id);
                    transaction.commit(Durability::Grouped)
                };
                checker.found(format!("container {id}"), "does not exist and holds layers", "release them", mend)?;
                continue;
            }
            let lacks = hold.chain.iter().filter(|chain| !self.state().layers.contains_key(*chain)).count();
            if lacks > 0 && self.content.size(&hold.held.manifest)?.is_none() {
                checker.lost(format!("container {id}"), format!("lacks {lacks} of its image's layers"), AGAIN);
            }
        }
        for id in containers.iter().filter(|id| !holds.contains_key(*id)) {
            checker.lost(format!("container {id}"), "holds no layers of its image", "remove it and create it again");
        }
        Ok(())
    }

    /// Whether each name leads to an image that is here.
    fn check_names(&self, checker: &mut Checker<'_>) -> Result<()> {
        for image in self.by_target() {
            let object = format!("image {}", image.names.first().map_or("", String::as_str));
            let chosen = match self.choose(&image.target, None) {
                Ok(Some(chosen)) => chosen,
                // Of no platform, such as a signature: nothing more is known of it.
                Ok(None) if self.content.size(&image.target.digest)?.is_some() => continue,
                Ok(None) => {
                    checker.lost(object, "is not here", AGAIN);
                    continue;
                }
                Err(error) => {
                    checker.lost(object, format!("cannot be read: {error}"), AGAIN);
                    continue;
                }
            };
            let chain = chain_ids(&chosen.config.rootfs.diff_ids, digest);
            let mut lacking = BTreeMap::new();
            for (layer, chain) in chosen.manifest.layers.iter().zip(&chain) {
                if self.content.size(&layer.digest)?.is_none() {
                    lacking.insert(layer.digest, self.state().layers.contains_key(chain));
                }
            }
            if lacking.values().any(|is_unpacked| !is_unpacked) {
                checker.lost(object, format!("lacks {} of its layers", lacking.len()), AGAIN);
            } else if !lacking.is_empty() {
                let problem = format!("lacks {} of its blobs and can be run, but not saved or pushed", lacking.len());
                checker.lost(object, problem, AGAIN);
            }
        }
        Ok(())
    }

    /// Whether something is kept that nothing leads to.
    fn check_counts(&self, checker: &mut Checker<'_>) -> Result<()> {
        let leaked = {
            let _change = self.change();
            let names = self.state().names.clone();
            let reachable = self.reachable(&names)?;
            let state = self.state();
            let held: HashSet<&ChainId> = state.holds.values().flat_map(|hold| &hold.chain).collect();
            let blobs = state.blobs.keys().filter(|blob| !reachable.blobs.contains(blob));
            let layers = state.layers.keys().filter(|layer| !reachable.layers.contains(layer) && !held.contains(layer));
            blobs.chain(layers).filter(|digest| !state.leases.contains_key(digest)).count()
        };
        if leaked > 0 {
            let problem = format!("has {leaked} blobs and layers that no image and no container leads to");
            checker.found("the image store", problem, "delete them", || self.collect_garbage())?;
        }
        Ok(())
    }
}
