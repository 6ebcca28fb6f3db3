//! Garbage collection, while clients push and pull.
//!
//! Repository by repository, and while pushes to that repository wait: what no tag leads to goes (untagged manifests
//! only where they are not kept), and what no manifest names. Then, while pushes go on, blobs that no repository has:
//! found from one walk of all records, and deleted in small batches, each after a look at what was pushed since the walk
//! began. In both, what is leased to a push counts as needed.

use crate::{
    leases::Protected,
    limits::{SWEEP_BATCH, WALK},
    name::Repository,
    records::{self, Manifest},
    registry::Registry,
    storage::Change,
    upstream,
};
use rorqual_error::Result;
use rorqual_metadata::failpoint;
use rorqual_types::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Manifests.
    pub manifests: u64,
    /// Blobs that a repository no longer has.
    pub links: u64,
    /// Blobs that no repository has.
    pub blobs: u64,
    /// The bytes of the latter.
    pub bytes: u64,
}

impl Registry {
    /// Collects garbage, once; a second call waits for the first.
    pub async fn collect(&self) -> Result<Collected> {
        let _one = self.collecting.lock().await;
        let mut collected = Collected::default();
        let mut after = None::<Repository>;
        loop {
            let some = self.records().repositories(after.as_ref().map(Repository::as_str), WALK).await?;
            let Some(last) = some.last() else { break };
            after = Some(last.clone());
            for name in &some {
                self.collect_repository(name, &mut collected).await?;
            }
        }
        self.collect_blobs(&mut collected).await?;
        self.metrics.collected(collected.manifests, collected.blobs, collected.bytes);
        Ok(collected)
    }

    /// One repository, alone with it.
    async fn collect_repository(&self, name: &Repository, collected: &mut Collected) -> Result<()> {
        let _alone = self.lock(name).write().await;
        let Protected::These(leased) = self.leases.of(name) else { return Ok(()) };
        let records = self.records();
        let manifests: HashMap<Digest, Manifest> = records.all_manifests(name).await?.into_iter().collect();
        let mut live: HashSet<Digest> = match self.keep_untagged {
            true => manifests.keys().copied().collect(),
            false => {
                let tagged = records.all_tags(name).await?.into_iter().map(|(_, digest)| digest);
                reachable(tagged.chain(leased.iter().copied()), &manifests)
            }
        };
        let mut changes = Vec::new();
        if self.upstream.is_some() {
            changes = self.expire(name, &mut live).await?;
        }
        for (digest, manifest) in manifests.iter().filter(|(digest, _)| !live.contains(*digest)) {
            changes.extend(records::delete_manifest(name, digest, manifest));
            collected.manifests += 1;
        }
        let needed = live.iter().filter_map(|digest| manifests.get(digest)).flat_map(|manifest| &manifest.blobs);
        let needed: HashSet<&Digest> = needed.chain(&leased).collect();
        let blobs = records.all_blobs(name).await?;
        let unneeded = blobs.iter().filter(|digest| !needed.contains(digest));
        let before = changes.len();
        // Manifests before their blobs: whatever a crash leaves, no manifest is without its blobs.
        changes.extend(unneeded.map(|digest| records::delete_blob(name, digest)));
        collected.links += (changes.len() - before) as u64;
        let empty = live.is_empty() && changes.len() - before == blobs.len() && leased.is_empty();
        if empty {
            changes.push(records::delete_repository(name));
        }
        for batch in changes.chunks(WALK) {
            self.storage.apply(batch.to_vec()).await?;
            failpoint!("registry.links-collected")?;
        }
        Ok(())
    }

    /// Takes from `live` what nobody asks this cache for any more; returns the removal of its tags, which comes first, and
    /// of the notes of its use.
    async fn expire(&self, name: &Repository, live: &mut HashSet<Digest>) -> Result<Vec<Change>> {
        let mut expired = HashSet::new();
        for digest in live.iter() {
            if upstream::is_expired(self, name, digest).await? {
                expired.insert(*digest);
            }
        }
        live.retain(|digest| !expired.contains(digest));
        let tags = self.records().all_tags(name).await?.into_iter();
        let tags = tags.filter(|(_, digest)| expired.contains(digest)).map(|(tag, _)| records::delete_tag(name, &tag));
        Ok(tags.chain(expired.iter().map(|digest| records::delete_used(name, digest))).collect())
    }

    /// Blobs that no repository has.
    async fn collect_blobs(&self, collected: &mut Collected) -> Result<()> {
        let watch = {
            // Whoever has touched a blob already has recorded it too by now, and the walk will see it.
            let _alone = self.content.write().await;
            self.leases.watch()
        };
        let Protected::These(leased) = self.leases.of_all() else { return Ok(()) };
        let mut had = leased;
        let records = self.records();
        let mut after = None::<Repository>;
        loop {
            let some = records.repositories(after.as_ref().map(Repository::as_str), WALK).await?;
            let Some(last) = some.last() else { break };
            after = Some(last.clone());
            for name in &some {
                had.extend(records.all_blobs(name).await?);
                had.extend(records.all_manifest_digests(name).await?);
            }
        }
        let unneeded: Vec<Digest> =
            self.storage.blobs().await?.into_iter().filter(|digest| !had.contains(digest)).collect();
        for batch in unneeded.chunks(SWEEP_BATCH) {
            let _alone = self.content.write().await;
            for digest in batch.iter().filter(|digest| !watch.saw(digest)) {
                let size = self.storage.blob_size(*digest).await?.unwrap_or_default();
                self.storage.delete_blob(*digest).await?;
                failpoint!("registry.blob-collected")?;
                collected.blobs += 1;
                collected.bytes += size;
            }
        }
        Ok(())
    }
}

/// The manifests that `roots` lead to: children of indexes, and whatever refers to what is kept.
fn reachable(roots: impl Iterator<Item = Digest>, manifests: &HashMap<Digest, Manifest>) -> HashSet<Digest> {
    let mut referrers: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for (digest, manifest) in manifests {
        if let Some(subject) = manifest.subject {
            referrers.entry(subject).or_default().push(*digest);
        }
    }
    let mut live = HashSet::new();
    let mut next: Vec<Digest> = roots.filter(|digest| manifests.contains_key(digest)).collect();
    while let Some(digest) = next.pop() {
        let Some(manifest) = manifests.get(&digest) else { continue };
        if live.insert(digest) {
            next.extend(manifest.manifests.iter().chain(referrers.get(&digest).into_iter().flatten()));
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_keeps_its_children_and_its_referrers() {
        let digest = |n: u8| Digest::from_bytes([n; 32]);
        let manifest = |subject: Option<u8>, children: &[u8]| Manifest {
            media_type: String::new(),
            size: 0,
            subject: subject.map(digest),
            blobs: Vec::new(),
            manifests: children.iter().copied().map(digest).collect(),
        };
        let manifests = HashMap::from([
            (digest(1), manifest(None, &[2, 3])),
            (digest(2), manifest(None, &[])),
            (digest(4), manifest(Some(2), &[])),
            (digest(5), manifest(Some(4), &[])),
            (digest(6), manifest(Some(3), &[])),
            (digest(7), manifest(Some(9), &[8])),
            (digest(8), manifest(None, &[])),
        ]);
        let live = |roots: &[u8]| {
            let mut live: Vec<u8> = reachable(roots.iter().copied().map(digest), &manifests)
                .iter()
                .map(|digest| digest.bytes()[0])
                .collect();
            live.sort_unstable();
            live
        };
        assert_eq!(live(&[1]), [1, 2, 4, 5]);
        assert_eq!(live(&[7, 9]), [7, 8]);
        assert!(live(&[]).is_empty());
    }
}
