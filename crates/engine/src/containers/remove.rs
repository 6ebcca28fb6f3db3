//! The removal of a container that does not run: its files are renamed away, then one transaction makes it not exist.

use super::{mounts::Kind, record::View};
use crate::parts::Parts;
use rorqual_error::Result;
use rorqual_metadata::{Durability, failpoint};

/// Removes files, records and, where asked, the anonymous volumes; returns those with their drivers. Its status says
/// `Removing` on disk already, so that a crash in here is taken up by recovery, which calls this again.
pub(super) fn remove_files(parts: &Parts, view: &View) -> Result<Vec<(String, String)>> {
    let record = &view.record;
    failpoint!("remove.begun")?;
    parts.snapshots.discard(&parts.container_dir(&record.id))?;
    failpoint!("remove.files")?;
    parts.volumes.release(&record.id);
    let mut destroyed = Vec::new();
    if view.status.remove_volumes {
        let own = record.mounts.iter().filter(|mount| mount.kind == Kind::Volume && mount.anonymous);
        for mount in own {
            match parts.volumes.remove(&mount.name, true) {
                Ok(true) => destroyed.push((mount.name.clone(), mount.driver.clone())),
                Ok(false) => {}
                // Another container took it by `--volumes-from`: it stays, as in dockerd.
                Err(error) if error.kind() == rorqual_error::Kind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        failpoint!("remove.volumes")?;
    }
    let key = record.id.to_string();
    let mut transaction = parts.store.begin();
    transaction.delete(&parts.tables.records, &key);
    transaction.delete(&parts.tables.statuses, &key);
    let last_use = parts.images.release(&mut transaction, &record.id);
    transaction.commit(Durability::Grouped)?;
    // The container is gone; what a fail point says now changes nothing any more.
    let _ = failpoint!("remove.committed");
    // The image was deleted by force before its last container: its layers go now.
    if last_use && let Err(error) = parts.images.collect_garbage() {
        tracing::warn!(%error, "an unused image's layers stay until the next start");
    }
    Ok(destroyed)
}
