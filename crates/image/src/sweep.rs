//! Removal of names, and of the content that then belongs to nothing.

use crate::{Images, documents::chain, oci::Descriptor, state::NameRecord};
use rorqual_error::{Kind, Result};
use rorqual_metadata::{Durability, failpoint};
use rorqual_types::{ChainId, Digest};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What names and containers lead to.
#[derive(Debug, Default)]
pub(crate) struct Reachable {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) layers: HashSet<ChainId>,
}

impl Images {
    /// Removes names and sets others, and removes the content that nothing leads to any more. Returns the bytes freed.
    /// The caller holds the lock of [`Images::change`].
    pub(crate) fn remove_names(&self, removed: &[String], set: &[(String, NameRecord)]) -> Result<u64> {
        let mut names = self.state().names.clone();
        for name in removed {
            names.remove(name);
        }
        names.extend(set.iter().cloned());
        let reachable = self.reachable(&names)?;
        self.settle_held()?;

        let (blobs, layers, freed) = {
            let mut state = self.state();
            let unused = |digest: &Digest| !state.leases.contains_key(digest);
            let blobs: HashSet<Digest> =
                state.blobs.keys().filter(|d| !reachable.blobs.contains(d) && unused(d)).copied().collect();
            let held: HashSet<ChainId> = state.holds.values().flat_map(|hold| hold.chain.iter().copied()).collect();
            let layers =
                state.layers.keys().filter(|c| !reachable.layers.contains(c) && !held.contains(c) && unused(c));
            let layers: Vec<ChainId> = layers.copied().collect();
            let mut transaction = self.store.begin();
            for name in removed.iter().filter(|name| !names.contains_key(*name)) {
                transaction.delete(&self.tables.names, name);
            }
            for (name, record) in set {
                transaction.put(&self.tables.names, name, record)?;
            }
            for digest in &blobs {
                transaction.delete(&self.tables.blobs, digest);
            }
            let mut parted = state.parted(&blobs);
            parted.retain(|(chain, _)| !layers.contains(chain));
            for (chain, record) in &parted {
                transaction.put(&self.tables.layers, chain, record)?;
            }
            for chain in &layers {
                transaction.delete(&self.tables.layers, chain);
            }
            let lost: Vec<Digest> =
                state.referrers.keys().filter(|subject| !reachable.blobs.contains(subject)).copied().collect();
            for subject in &lost {
                transaction.delete(&self.tables.referrers, subject);
            }
            let named: HashSet<Digest> = names.values().map(|record| record.target.digest).collect();
            let unused: Vec<Digest> = state.used.keys().filter(|id| !named.contains(*id)).copied().collect();
            for id in &unused {
                transaction.delete(&self.tables.used, id);
            }
            transaction.commit(Durability::Grouped)?;
            state.used.retain(|id, _| named.contains(id));
            state.names = names;
            for subject in &lost {
                state.referrers.remove(subject);
            }
            let before = state.size();
            state.blobs.retain(|digest, _| !blobs.contains(digest));
            for chain in &layers {
                if let Some(record) = state.layers.remove(chain) {
                    state.unrecorded.insert(*chain, record);
                }
            }
            state.layers.extend(parted);
            let freed = before.saturating_sub(state.size());
            (blobs, layers, freed)
        };
        // Only now may files go: a record that came back after a power cut would point to nothing.
        failpoint!("image.unrecorded")?;
        self.store.sync()?;
        for digest in &blobs {
            let state = self.state();
            if !state.blobs.contains_key(digest) && !state.leases.contains_key(digest) {
                self.content.delete(digest)?;
            }
        }
        failpoint!("image.blobs-deleted")?;
        for layer in &layers {
            let mut state = self.state();
            if !state.layers.contains_key(layer) && !state.leases.contains_key(layer) {
                state.unrecorded.remove(layer);
                self.snapshots.remove_layer(layer)?;
            }
        }
        Ok(freed)
    }

    /// Everything that `names` lead to.
    ///
    /// # Errors
    /// Where a document cannot be read: then nothing may be removed, since it is not known what belongs to what.
    pub(crate) fn reachable(&self, names: &BTreeMap<String, NameRecord>) -> Result<Reachable> {
        let mut reachable = Reachable::default();
        let mut seen = HashSet::new();
        for record in names.values() {
            if seen.insert(record.target.digest) {
                self.mark(&record.target, &mut reachable)?;
            }
        }
        let subjects: BTreeSet<Digest> = reachable.blobs.iter().copied().collect();
        for referrer in self.referrers_of(&subjects) {
            self.mark(&referrer.descriptor, &mut reachable)?;
        }
        Ok(reachable)
    }

    fn mark(&self, target: &Descriptor, reachable: &mut Reachable) -> Result<()> {
        reachable.blobs.insert(target.digest);
        let mut indexes = Vec::new();
        let found = match self.manifests(target, &mut |index| indexes.push(index.digest)) {
            Ok(found) => found,
            // The target itself is missing from the disk (reported at start): there is nothing below it.
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            // A registry may list as a manifest what is none. That costs its own image, not the removal of others.
            Err(error) if error.kind() == Kind::InvalidArgument => {
                tracing::warn!(id = %target.digest, %error, "an image cannot be read; its content may be removed");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        reachable.blobs.extend(indexes);
        for found in found {
            reachable.blobs.insert(found.descriptor.digest);
            let Some(manifest) = found.manifest else { continue };
            reachable.blobs.insert(manifest.config.digest);
            reachable.blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
            if crate::oci::media::is_config(&manifest.config.media_type) {
                match self.config(&manifest) {
                    Ok(config) => reachable.layers.extend(chain(&config)),
                    Err(error) if matches!(error.kind(), Kind::NotFound | Kind::InvalidArgument) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
