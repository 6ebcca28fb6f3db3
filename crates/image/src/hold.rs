//! What containers hold of images.

use crate::{Held, Images, Resolved, commit::now_ns, documents::chain, state::HoldRecord};
use rorqual_error::{Error, Result};
use rorqual_metadata::{Durability, Transaction};
use rorqual_types::ContainerId;
use std::collections::BTreeSet;

impl Images {
    /// Says that container `id` uses the image: its layers stay until [`Images::release`], even if the image is
    /// deleted by force. Part of the transaction that creates the container.
    ///
    /// # Errors
    /// `NotFound` if the image was deleted since it was resolved.
    pub fn hold(&self, transaction: &mut Transaction, id: &ContainerId, image: &Resolved) -> Result<()> {
        let chain = chain(&image.config);
        let held = Held {
            id: image.id,
            manifest: image.manifest.digest,
            lowers: image.lowers(),
            max_owner_id: image.max_owner_id,
        };
        let mut state = self.state();
        if !chain.iter().all(|layer| state.layers.contains_key(layer)) {
            return Err(Error::not_found(format!("No such image: {}", image.id)));
        }
        let record = HoldRecord { held, chain };
        transaction.put(&self.tables.holds, id, &record)?;
        state.holds.insert(id.clone(), record);
        Ok(())
    }

    /// Undoes [`Images::hold`] in the transaction that removes the container (or after a failed commit of `hold`).
    /// `true` where the image has no name any more and no other container: its layers then wait for
    /// [`Images::collect_garbage`], to be called after the commit.
    pub fn release(&self, transaction: &mut Transaction, id: &ContainerId) -> bool {
        transaction.delete(&self.tables.holds, id);
        let mut state = self.state();
        let Some(released) = state.holds.remove(id) else { return false };
        let image = released.held.id;
        if state.names.values().any(|record| record.target.digest == image) {
            let now = now_ns();
            // An image whose last use is not known to the microsecond is no reason to keep its container.
            if transaction.put(&self.tables.used, &image, &now).is_ok() {
                state.used.insert(image, now);
            }
            return false;
        }
        state.holds.values().all(|hold| hold.held.id != image)
    }

    /// The image a container was made from, as it was held; for start after the image itself was deleted.
    pub fn held(&self, id: &ContainerId) -> Result<Option<Held>> {
        Ok(self.state().holds.get(id).map(|record| record.held.clone()))
    }

    /// Forgets holds of containers that are not in `live`; called once after the containers are known. Then removes
    /// content that nothing leads to.
    pub fn retain_holds(&self, live: &BTreeSet<ContainerId>) -> Result<()> {
        let stale: Vec<ContainerId> = self.state().holds.keys().filter(|id| !live.contains(*id)).cloned().collect();
        if !stale.is_empty() {
            let mut transaction = self.store.begin();
            for id in &stale {
                self.release(&mut transaction, id);
            }
            transaction.commit(Durability::Grouped)?;
        }
        self.collect_garbage()
    }

    /// Removes content that neither a name nor a container leads to, such as layers whose last container went after
    /// its image. Cheap where there is none.
    pub fn collect_garbage(&self) -> Result<()> {
        let _change = self.change();
        self.remove_names(&[], &[]).map(|_| ())
    }
}
