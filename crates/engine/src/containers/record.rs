//! What is stored of a container. [`Record`] is written at creation and by rename and update; [`Status`] at each step of
//! its life. They are two tables, so that a start or an exit writes little.

use super::{
    mounts::MountRecord,
    state::{LastRun, Phase},
    users::IdRange,
};
use jiff::Timestamp;
use rorqual_api_types::{
    container::{Config, HostConfig},
    network::EndpointSettings,
};
use rorqual_image::User;
use rorqual_metadata::{Store, Table};
use rorqual_network::Endpoint;
use rorqual_types::{ContainerId, ContainerName, Digest, Platform, Signal};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The part that hardly ever changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// When it was created.
    pub created: Timestamp,
    /// The user's settings with the image's filled in.
    pub config: Config,
    /// The user's host settings with the daemon's filled in.
    pub host_config: HostConfig,
    /// What the user asked of each network.
    #[serde(default)]
    pub networks: BTreeMap<String, EndpointSettings>,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The image.
    pub image: ImageRecord,
    /// Mounts in order.
    pub mounts: Vec<MountRecord>,
}

/// The image a container was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its id.
    pub id: Digest,
    /// As the user named it.
    pub name: String,
    /// The manifest of the chosen platform.
    pub manifest: rorqual_oci::image::Descriptor,
    /// The chosen platform.
    pub platform: Platform,
    /// Layer directories, topmost first.
    pub lowers: Vec<String>,
    /// The highest id that owns a file in it.
    pub max_owner_id: u32,
}

/// The part that changes with its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where it stands.
    pub phase: Phase,
    /// The last run.
    pub last: LastRun,
    /// Restarts the policy has made since the last start by hand.
    #[serde(default)]
    pub restart_count: u32,
    /// Whether a user ended it, and the restart policy must leave it alone.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// Its place on the network while it runs.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// The ids of its user namespace while it runs; `None` is the host's namespace.
    #[serde(default)]
    pub userns: Option<IdRange>,
    /// Its cgroup, set by the start.
    #[serde(default)]
    pub cgroup: String,
    /// Its anonymous volumes go with it; set when a removal begins.
    #[serde(default)]
    pub remove_volumes: bool,
}

impl Status {
    /// Of a container that was just made.
    pub fn created() -> Self {
        Self {
            phase: Phase::Created,
            last: LastRun::default(),
            restart_count: 0,
            stopped_by_user: false,
            endpoint: None,
            userns: None,
            cgroup: String::new(),
            remove_volumes: false,
        }
    }
}

/// The tables.
#[derive(Debug)]
pub struct Tables {
    /// Of [`Record`]s by id.
    pub records: Table<String, Record>,
    /// Of [`Status`]es by id.
    pub statuses: Table<String, Status>,
    /// Volumes made for containers whose creation has not been committed, by container id.
    pub pending: Table<String, Vec<String>>,
}

impl Tables {
    /// The tables in `store`.
    pub fn new(store: &Store) -> Self {
        Self {
            records: store.table("container"),
            statuses: store.table("container-status"),
            pending: store.table("container-pending"),
        }
    }
}

/// What readers see of a container as of one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The part that hardly ever changes.
    pub record: Arc<Record>,
    /// The part that changes.
    pub status: Status,
    /// How often it has come to rest: a run that ended without a restart, or a start that failed.
    pub stops: u64,
    /// How often a run has ended, whether or not a restart follows, or a start has failed.
    pub exits: u64,
    /// Whether it is gone.
    pub removed: bool,
    /// Why its last removal failed.
    pub removal_error: Option<String>,
}

impl View {
    /// For the images that must know their users.
    pub fn image_user(&self) -> User {
        User {
            id: self.record.id.clone(),
            running: self.status.phase.is_running(),
            image: self.record.image.id,
            reference: self.record.image.name.clone(),
        }
    }
}

impl Record {
    /// The signal of `stop`.
    pub fn stop_signal(&self) -> Signal {
        self.config.stop_signal.parse().unwrap_or(Signal::TERM)
    }

    /// Attributes of an event: image, name and the labels.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.config.labels.clone().unwrap_or_default();
        attributes.insert("image".into(), self.config.image.clone());
        attributes.insert("name".into(), self.name.to_string());
        attributes
    }
}
