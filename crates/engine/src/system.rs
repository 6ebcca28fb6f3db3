//! What concerns the whole node: counters, facts of the host, disk usage, reload.

use crate::{config::Reloadable, parts::Parts};
use rorqual_api_types::system::{DiskUsage, Info};
use rorqual_error::Result;
use std::sync::Arc;

/// The node. A clone is another handle.
#[derive(Clone, Debug)]
pub struct System {
    pub(crate) parts: Arc<Parts>,
}

/// What `GET /system/df` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUsageOptions {
    /// Containers and their sizes.
    pub containers: bool,
    /// Images.
    pub images: bool,
    /// Volumes and their sizes.
    pub volumes: bool,
}

impl System {
    /// What the engine knows for `GET /info`; proxies, registries and the like are the caller's to add.
    pub fn info(&self) -> Info {
        todo!()
    }

    /// What objects take on disk; `images` is left to the caller.
    pub async fn disk_usage(&self, _options: DiskUsageOptions) -> Result<DiskUsage> {
        todo!()
    }

    /// Takes over what SIGHUP may change and publishes the `reload` event.
    pub fn reload(&self, changes: Reloadable) {
        let _ = (&self.parts, changes);
        todo!()
    }
}
