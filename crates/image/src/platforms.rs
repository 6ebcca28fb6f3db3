//! `docker rmi --platform`: what is here for some platforms goes, the image and its names stay.

use crate::{DeleteOptions, Deleted, DeletedItem, Images, User, name::short, resolve::Target};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::Durability;
use rorqual_types::{Digest, Platform};
use std::collections::BTreeSet;

impl Images {
    /// Removes the manifests of the platforms with all that only they lead to. The caller holds the lock of
    /// [`Images::change`].
    ///
    /// # Errors
    /// `NotFound` where a platform is not here; `Conflict` where a container or another image needs it. Nothing was
    /// removed then.
    pub(crate) fn delete_platforms(&self, target: &Target, options: &DeleteOptions, users: &[User]) -> Result<Deleted> {
        let mut documents = Vec::new();
        let mut deleted = Deleted::default();
        for platform in &options.platforms {
            let failed = || format!("failed to delete platform {platform} for image {}", target.id());
            let manifest = self.deletable(target, platform, options, users).with_context(failed)?;
            let about = manifest.to_string();
            let found = self.manifests(&target.descriptor, &mut |_| {})?.into_iter().map(|found| found.descriptor);
            // Its attestations say nothing of what is left.
            documents.extend(found.filter(|entry| {
                let of = entry.annotations.get("vnd.docker.reference.digest");
                entry.digest == manifest || of.is_some_and(|of| *of == about)
            }));
            deleted.items.push(DeletedItem::Deleted(about));
        }
        let documents: BTreeSet<Digest> = documents.iter().map(|document| document.digest).collect();
        self.forget(&documents)?;
        self.remove_names(&[], &[])?;
        Ok(deleted)
    }

    /// The manifest of a platform that nothing else needs.
    fn deletable(
        &self,
        target: &Target,
        platform: &Platform,
        options: &DeleteOptions,
        users: &[User],
    ) -> Result<Digest> {
        let chosen = self.choose(&target.descriptor, Some(platform))?;
        let manifest = chosen.ok_or_else(|| Error::not_found("it is not here"))?.found.descriptor.digest;
        let id = short(&target.id());
        if manifest == target.id() {
            return Err(Error::conflict(format!(
                "conflict: unable to delete {id} (cannot be forced) - it is all of the image; remove it without a platform"
            )));
        }
        let (others, held) = {
            let state = self.state();
            let others: Vec<_> = state.names.values().map(|record| record.target.clone()).collect();
            let holds = |user: &&User| state.holds.get(&user.id).is_some_and(|hold| hold.held.manifest == manifest);
            (others, users.iter().filter(holds).cloned().collect::<Vec<User>>())
        };
        if let Some(user) = held.iter().find(|user| user.running || !options.force) {
            let (kind, forced) = if user.running { ("running", "cannot") } else { ("stopped", "must") };
            return Err(Error::conflict(format!(
                "conflict: unable to delete {id} ({forced} be forced) - image is being used by {kind} container {}",
                user.id.short()
            )));
        }
        for other in others.iter().filter(|other| other.digest != target.id()) {
            let found = self.manifests(other, &mut |_| {})?;
            if found.iter().any(|found| found.descriptor.digest == manifest) {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {id} (cannot be forced) - image {} has the same manifest",
                    short(&other.digest)
                )));
            }
        }
        Ok(manifest)
    }

    /// Removes documents that names lead to. After a crash their files go at the next start.
    fn forget(&self, documents: &BTreeSet<Digest>) -> Result<()> {
        {
            let mut state = self.state();
            if documents.iter().any(|digest| state.leases.contains_key(digest)) {
                return Err(Error::conflict("the image is being pulled, pushed or saved; try again"));
            }
            let mut transaction = self.store.begin();
            for digest in documents {
                transaction.delete(&self.tables.blobs, digest);
            }
            transaction.commit(Durability::Grouped)?;
            for digest in documents {
                state.blobs.remove(digest);
            }
        }
        self.store.sync()?;
        for digest in documents {
            let state = self.state();
            if !state.blobs.contains_key(digest) && !state.leases.contains_key(digest) {
                self.content.delete(digest)?;
            }
        }
        Ok(())
    }
}
