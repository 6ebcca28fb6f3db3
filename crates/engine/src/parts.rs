//! What every component of the engine shares: the parts below it, opened once, and the index of containers.

use crate::{
    config::{EngineConfig, Reloadable},
    containers::{Handle, Index},
    events::{Events, Scope},
};
use rorqual_error::{Error, Result};
use rorqual_image::User;
use rorqual_linux::cgroup::Cgroups;
use rorqual_metadata::Store;
use rorqual_runtime::spawn::ShimProgram;
use rorqual_snapshot::Snapshots;
use rorqual_types::ContainerId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The parts below the engine.
#[derive(Debug)]
pub(crate) struct Parts {
    pub config: EngineConfig,
    /// What SIGHUP has changed since.
    pub reloaded: watch::Sender<Reloadable>,
    pub store: Store,
    pub snapshots: Arc<Snapshots>,
    pub images: rorqual_image::Images,
    pub volumes: rorqual_volume::Volumes,
    pub networks: rorqual_network::Networks,
    pub cgroups: Cgroups,
    pub shim: ShimProgram,
    pub events: Events,
    pub containers: Mutex<Index<Arc<Handle>>>,
    /// Cancelled when the engine closes; containers run on.
    pub closing: CancellationToken,
    /// Every task of the engine.
    pub tasks: TaskTracker,
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("a worker of the engine failed").caused_by(error)),
    }
}

impl Parts {
    /// The index of containers, for a moment: never held across an `await`.
    pub fn index(&self) -> std::sync::MutexGuard<'_, Index<Arc<Handle>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an event of a volume.
    pub fn volume_event(&self, action: &str, name: &str, driver: &str, mut attributes: BTreeMap<String, String>) {
        attributes.insert("driver".into(), driver.into());
        self.events.publish(Scope::Volume, action, name, attributes);
    }

    /// Every container with the image it was made from.
    pub fn image_users(&self) -> Vec<User> {
        self.index().all().map(|handle| handle.image_user()).collect()
    }

    /// The name of a container, if it is there.
    pub fn container_name(&self, id: &ContainerId) -> Option<String> {
        self.index().find(id.as_str()).ok().map(|handle| handle.view().record.name.to_string())
    }
}
