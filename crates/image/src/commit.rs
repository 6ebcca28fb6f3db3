//! How new content becomes part of the store: leased while it comes in, synced, then recorded with its names.

use crate::{
    Images,
    name::{dangling, is_dangling},
    oci::Descriptor,
    referrers::{self, BySubject},
    state::NameRecord,
    unpack::NewLayers,
};
use rorqual_error::Result;
use rorqual_metadata::{Durability, failpoint};
use rorqual_types::{ChainId, Digest};
use std::collections::HashSet;

/// Keeps content of an operation under way from being removed. Dropped before [`Images::commit`], what came in under
/// it and belongs to nothing else goes away.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    images: &'a Images,
    blobs: HashSet<Digest>,
    layers: HashSet<ChainId>,
    /// What the operation found to refer to the image; recorded with it.
    referrers: BySubject,
}

impl Lease<'_> {
    /// Leases a blob, before it is looked for or put in its place.
    pub(crate) fn blob(&mut self, digest: Digest) {
        if self.blobs.insert(digest) {
            *self.images.state().leases.entry(digest).or_default() += 1;
        }
    }

    /// Leases a layer, before it is looked for or unpacked.
    pub(crate) fn layer(&mut self, chain: ChainId) {
        if self.layers.insert(chain) {
            *self.images.state().leases.entry(chain).or_default() += 1;
        }
    }
}

impl Lease<'_> {
    /// Notes a referrer, whose blobs are leased and come with the commit.
    pub(crate) fn refer(&mut self, subject: Digest, referrer: Descriptor) {
        referrers::add(&mut self.referrers, subject, referrer);
    }

    /// Whether there is something to record besides names, layers and blobs.
    pub(crate) fn refers(&self) -> bool {
        !self.referrers.is_empty()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.images.state();
        for digest in self.blobs.iter().chain(&self.layers) {
            if let Some(count) = state.leases.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.leases.remove(digest);
                }
            }
        }
        // Under the lock, so that nobody leases what is being removed.
        for digest in self.blobs.iter().filter(|digest| !state.leases.contains_key(*digest)) {
            if !state.blobs.contains_key(digest) {
                log(self.images.content.delete(digest));
            }
        }
        for chain in &self.layers {
            if !state.leases.contains_key(chain) && !state.layers.contains_key(chain) {
                state.unrecorded.remove(chain);
                log(self.images.snapshots.remove_layer(chain));
            }
        }
    }
}

fn log(result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "content of a failed operation could not be removed; the next start does so");
    }
}

/// Now, nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

impl Images {
    pub(crate) fn lease(&self) -> Lease<'_> {
        Lease { images: self, blobs: HashSet::new(), layers: HashSet::new(), referrers: BySubject::new() }
    }

    /// Records names, layers and blobs. Names and blobs are on the disk before this returns; layers follow, and are
    /// unpacked again from their blobs if a power cut comes first. A name that pointed elsewhere leaves an
    /// image without a name behind; an image that gets a name loses the one that stood for none.
    pub(crate) fn commit(
        &self,
        lease: &mut Lease<'_>,
        names: &[(String, Descriptor)],
        layers: NewLayers,
        blobs: &[(Digest, u64)],
    ) -> Result<()> {
        if !blobs.is_empty() {
            self.content.sync(blobs.iter().map(|(digest, _)| *digest))?;
            failpoint!("image.synced")?;
        }
        let unpacked = !layers.is_empty();
        debug_assert!(blobs.iter().all(|(digest, _)| lease.blobs.contains(digest)), "content is leased first");
        {
            let _change = self.change();
            let mut state = self.state();
            let mut next = state.names.clone();
            let updated_ns = now_ns();
            for (name, target) in names {
                let old = next.insert(name.clone(), NameRecord { target: target.clone(), updated_ns });
                if !is_dangling(name) {
                    next.remove(&dangling(&target.digest));
                }
                let orphan = old.filter(|old| next.values().all(|record| record.target.digest != old.target.digest));
                if let Some(old) = orphan {
                    next.insert(dangling(&old.target.digest), old);
                }
            }
            let mut transaction = self.store.begin();
            for name in state.names.keys().filter(|name| !next.contains_key(*name)) {
                transaction.delete(&self.tables.names, name);
            }
            for (name, record) in next.iter().filter(|(name, record)| state.names.get(*name) != Some(*record)) {
                transaction.put(&self.tables.names, name, record)?;
            }
            for (digest, length) in blobs.iter().filter(|(digest, _)| !state.blobs.contains_key(digest)) {
                transaction.put(&self.tables.blobs, digest, length)?;
            }
            let mut referrers = BySubject::new();
            for (subject, found) in &lease.referrers {
                let known = state.referrers.get(subject).cloned().unwrap_or_default();
                referrers.insert(*subject, known);
                for referrer in found {
                    referrers::add(&mut referrers, *subject, referrer.clone());
                }
            }
            for (subject, list) in &referrers {
                transaction.put(&self.tables.referrers, subject, list)?;
            }
            for (chain, record) in &layers {
                transaction.put(&self.tables.layers, chain, record)?;
            }
            transaction.commit(Durability::Grouped)?;
            state.names = next;
            state.blobs.extend(blobs.iter().copied());
            state.referrers.extend(referrers);
            for (chain, record) in layers {
                state.unrecorded.remove(&chain);
                state.layers.insert(chain, record);
            }
        }
        failpoint!("image.recorded")?;
        self.store.sync()?;
        if unpacked {
            self.settle();
        }
        Ok(())
    }
}
