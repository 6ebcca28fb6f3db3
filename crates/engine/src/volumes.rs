//! Volumes: the component that callers hold. The work is `rorqual_volume`'s; here it is run on blocking threads and its
//! events are published.

use crate::{
    events::Scope,
    parts::{Parts, blocking},
};
use rorqual_api_types::volume::{CreateRequest, PruneReport, UsageData, Volume};
use rorqual_error::Result;
use rorqual_types::{Filters, VolumeName};
use rorqual_volume::CreateVolume;
use std::{collections::BTreeMap, sync::Arc};

/// The volumes of this node. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Volumes {
    pub(crate) parts: Arc<Parts>,
}

impl Volumes {
    /// Makes a volume, or finds the one of that name.
    pub async fn create(&self, request: CreateRequest) -> Result<Volume> {
        self.run(move |parts| {
            let (volume, new) = parts.volumes.create(&CreateVolume {
                name: Some(request.name).filter(|name| !name.is_empty()),
                driver: request.driver,
                options: request.driver_opts.unwrap_or_default(),
                labels: request.labels.unwrap_or_default(),
            })?;
            if new {
                parts.volume_event("create", volume.name.as_str(), &volume.driver, BTreeMap::new());
            }
            Ok(present(&volume))
        })
        .await
    }

    /// Those that match the filters, by name.
    pub async fn list(&self, filters: Filters) -> Result<Vec<Volume>> {
        self.run(move |parts| Ok(parts.volumes.list(&filters)?.iter().map(present).collect())).await
    }

    /// One of them.
    pub async fn inspect(&self, name: &str) -> Result<Volume> {
        let name = name.to_owned();
        self.run(move |parts| Ok(present(&parts.volumes.get(&name)?))).await
    }

    /// Removes it.
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let name = name.to_owned();
        self.run(move |parts| {
            if parts.volumes.remove(&name, force)? {
                parts.volume_event("destroy", &name, "local", BTreeMap::new());
            }
            Ok(())
        })
        .await
    }

    /// Removes those that no container uses.
    pub async fn prune(&self, filters: Filters) -> Result<PruneReport> {
        self.run(move |parts| {
            let pruned = parts.volumes.prune(&filters)?;
            for name in &pruned.names {
                parts.volume_event("destroy", name, "local", BTreeMap::new());
            }
            let reclaimed = pruned.reclaimed.to_string();
            parts.events.publish(Scope::Volume, "prune", "", [("reclaimed".to_owned(), reclaimed)].into());
            Ok(PruneReport { volumes_deleted: pruned.names, space_reclaimed: pruned.reclaimed })
        })
        .await
    }

    /// All of them with their users and these sizes, for `system df`.
    pub(crate) async fn usage(&self, sizes: BTreeMap<VolumeName, u64>) -> Result<Vec<Volume>> {
        self.run(move |parts| {
            let volumes = parts.volumes.list(&Filters::default())?;
            Ok(volumes
                .iter()
                .map(|volume| {
                    let size = sizes.get(&volume.name).map_or(-1, |bytes| bytes.cast_signed());
                    let ref_count = parts.volumes.users(volume.name.as_str()).len() as i64;
                    Volume { usage_data: Some(UsageData { ref_count, size }), ..present(volume) }
                })
                .collect())
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Parts) -> Result<T> + Send + 'static) -> Result<T> {
        let parts = self.parts.clone();
        blocking(move || work(&parts)).await
    }
}

fn present(volume: &rorqual_volume::Volume) -> Volume {
    Volume {
        created_at: crate::time::rfc3339_seconds(volume.created),
        driver: volume.driver.clone(),
        labels: Some(volume.labels.clone()).filter(|labels| !labels.is_empty()),
        mountpoint: volume.mountpoint.to_string_lossy().into_owned(),
        name: volume.name.to_string(),
        options: Some(volume.options.clone()).filter(|options| !options.is_empty()),
        scope: "local".into(),
        ..Volume::default()
    }
}
