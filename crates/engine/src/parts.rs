//! What every component of the engine shares: the parts below it, opened once, and the index of containers.

use crate::{
    budget::Budget,
    config::{EngineConfig, ExternalRuntime, Reloadable},
    containers::{Execs, Handle, IdRanges, Index, Record, Tables},
    events::{Events, Scope},
    policy::PullPolicy,
    seccomp::Filters,
    spec::Machine,
};
use rorqual_distribution::Registries;
use rorqual_error::{Error, Result};
use rorqual_image::{ManifestKind, User};
use rorqual_linux::cgroup::Cgroups;
use rorqual_metadata::Store;
use rorqual_runtime::spawn::ShimProgram;
use rorqual_snapshot::Snapshots;
use rorqual_types::{ContainerId, Digest};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The parts below the engine.
#[derive(Debug)]
pub(crate) struct Parts {
    pub config: EngineConfig,
    /// The node's id, made at the first opening.
    pub node_id: String,
    /// What SIGHUP has changed since.
    pub reloaded: watch::Sender<Reloadable>,
    pub store: Store,
    pub tables: Tables,
    pub snapshots: Arc<Snapshots>,
    pub images: rorqual_image::Images,
    /// Changed by SIGHUP.
    pub registries: watch::Sender<Registries>,
    /// Changed by SIGHUP.
    pub pull_policy: watch::Sender<PullPolicy>,
    pub volumes: rorqual_volume::Volumes,
    pub networks: rorqual_network::Networks,
    pub cgroups: Cgroups,
    pub machine: Machine,
    /// Whether the kernel can map ids of mounts.
    pub idmapped_mounts: bool,
    pub seccomp: Filters,
    pub shim: ShimProgram,
    pub events: Events,
    pub containers: Mutex<Index<Arc<Handle>>>,
    pub execs: Execs,
    pub id_ranges: IdRanges,
    /// Notified when images came.
    pub grown: Notify,
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

    /// The registries as they are configured now.
    pub fn registries(&self) -> Registries {
        self.registries.borrow().clone()
    }

    /// What may be pulled, as it is configured now.
    pub fn pull_policy(&self) -> PullPolicy {
        self.pull_policy.borrow().clone()
    }

    /// The disk budget as it is configured now.
    pub fn budget(&self) -> Option<Budget> {
        let reloaded = self.reloaded.borrow();
        reloaded.budget.clone().unwrap_or_else(|| self.config.budget.clone())
    }

    /// A container's files: `containers/ID` in the data root.
    pub fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.config.data_root.join("containers").join(id.as_str())
    }

    /// A container's log.
    pub fn log_path(&self, id: &ContainerId) -> PathBuf {
        self.container_dir(id).join(format!("{id}-json.log"))
    }

    /// Where the runs are: `c` in the exec root.
    pub fn runs_dir(&self) -> PathBuf {
        self.config.exec_root.join("c")
    }

    /// The directory of a container's present run.
    pub fn run_dir(&self, id: &ContainerId) -> PathBuf {
        self.runs_dir().join(id.as_str())
    }

    /// A container's cgroup, by its own parent, the daemon's, or ours.
    pub fn cgroup_path(&self, record: &Record) -> String {
        let own = record.host_config.resources.cgroup_parent.as_str();
        match own {
            "" => self.default_cgroup_path(&record.id),
            parent => join_cgroup(parent, &record.id),
        }
    }

    /// A container's cgroup where it names no parent.
    pub fn default_cgroup_path(&self, id: &ContainerId) -> String {
        join_cgroup(self.config.cgroup_parent.as_deref().unwrap_or("rorqual"), id)
    }

    /// The runtimes by name, as last configured.
    pub fn runtimes(&self) -> BTreeMap<String, ExternalRuntime> {
        let reloaded = self.reloaded.borrow();
        reloaded.runtimes.clone().unwrap_or_else(|| self.config.runtimes.clone())
    }

    /// The runtime of containers that name none.
    pub fn default_runtime(&self) -> String {
        let reloaded = self.reloaded.borrow();
        reloaded.default_runtime.clone().unwrap_or_else(|| self.config.default_runtime.clone())
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

    /// The id of the image that a name means now.
    pub fn image_id(&self, name: &str) -> Option<Digest> {
        self.images.resolve(name, None).ok().map(|image| image.id)
    }

    /// Bytes of an image's unpacked layers; 0 where the image is gone.
    pub fn unpacked_size(&self, image: &Digest, manifest: &Digest) -> i64 {
        let found = self.images.inspect(&image.to_string(), None, true);
        let manifests = found.ok().and_then(|image| image.manifests).unwrap_or_default();
        let size = manifests.iter().filter(|found| found.id == *manifest).find_map(|found| match found.kind {
            ManifestKind::Image { unpacked_size, .. } => Some(unpacked_size),
            ManifestKind::Attestation { .. } | ManifestKind::Unknown => None,
        });
        size.unwrap_or(0)
    }

    /// The name of a container, if it is there.
    pub fn container_name(&self, id: &ContainerId) -> Option<String> {
        self.index().find(id.as_str()).ok().map(|handle| handle.view().record.name.to_string())
    }

    /// The id of a network.
    pub fn network_id(&self, name: &str) -> Option<String> {
        self.networks.inspect(name).ok().map(|network| network.id)
    }
}

fn join_cgroup(parent: &str, id: &ContainerId) -> String {
    format!("{}/{id}", parent.trim_end_matches('/'))
}
