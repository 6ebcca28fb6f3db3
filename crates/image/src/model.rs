//! What the calls of [`Images`](crate::Images) take and return.

use rorqual_oci::image::{Descriptor, ImageConfig};
use rorqual_types::{ContainerId, Digest, Filters, Platform, Reference};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// An image ready for a container.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The image's ID: the digest that its name points to.
    pub id: Digest,
    /// What its name points to.
    pub target: Descriptor,
    /// The manifest of the chosen platform.
    pub manifest: Descriptor,
    /// The configuration's digest.
    pub config_digest: Digest,
    /// The configuration.
    pub config: Arc<ImageConfig>,
    /// The chosen platform.
    pub platform: Platform,
    /// Directory names under the layers directory (each with `fs/`), topmost first.
    pub lowers: Vec<String>,
    /// The highest user or group id that owns something in the image.
    pub max_owner_id: u32,
}

impl Resolved {
    /// Directory names under [`rorqual_snapshot::Snapshots::layers_dir`], each with `fs/`, topmost first.
    pub fn lowers(&self) -> Vec<String> {
        self.lowers.clone()
    }
}

/// What a container holds of its image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// The image's ID.
    pub id: Digest,
    /// The manifest of the chosen platform.
    pub manifest: Digest,
    /// Directory names under the layers directory, topmost first.
    pub lowers: Vec<String>,
    /// The highest user or group id that owns something in the image.
    pub max_owner_id: u32,
}

/// A container that uses an image.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: ContainerId,
    /// Whether it runs.
    pub running: bool,
    /// The ID of the image it was made from.
    pub image: Digest,
    /// The image name as it was given at creation.
    pub reference: String,
}

/// Which containers there are; asked once per call.
pub trait Users {
    /// All containers, running or not.
    fn users(&self) -> Vec<User>;
}

impl<F: Fn() -> Vec<User>> Users for F {
    fn users(&self) -> Vec<User> {
        self()
    }
}

/// Something that happened to an image, for `/events` (type `image`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEvent {
    /// `load`, `import`, `save`, `tag`, `untag`, `delete`, `prune`, `create`.
    pub action: &'static str,
    /// The actor's ID: the image's ID, or the name for actions that have a name there.
    pub id: String,
    /// The actor's attributes: `name` and labels.
    pub attributes: BTreeMap<String, String>,
}

/// Options of `docker images`.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also images without a name that are no dangling leftovers.
    pub all: bool,
    /// dangling, label, before, since, until, reference.
    pub filters: Filters,
    /// Fill [`Summary::shared_size`].
    pub shared_size: bool,
    /// Fill [`Summary::manifests`].
    pub manifests: bool,
}

/// One image in a list.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The ID.
    pub id: Digest,
    /// `busybox:latest`.
    pub repo_tags: Vec<String>,
    /// `busybox@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Seconds since 1970 from the configuration; 0 where it says nothing.
    pub created: i64,
    /// Bytes of content and unpacked layers.
    pub size: i64,
    /// Bytes shared with other images; -1 where not asked for.
    pub shared_size: i64,
    /// Labels of the configuration; `None` is null.
    pub labels: Option<BTreeMap<String, String>>,
    /// What the name points to.
    pub target: Descriptor,
    /// The manifests behind it, where asked for.
    pub manifests: Option<Vec<ManifestSummary>>,
}

/// One manifest behind an image.
#[derive(Clone, Debug)]
pub struct ManifestSummary {
    /// Its digest.
    pub id: Digest,
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Whether all of its content is here.
    pub available: bool,
    /// Bytes of its content here.
    pub content_size: i64,
    /// Content and unpacked layers.
    pub total_size: i64,
    /// What it is.
    pub kind: ManifestKind,
}

/// An artifact that refers to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// The manifest or index that it is about.
    pub subject: Digest,
    /// Its own manifest, with the type and annotations that stand in it.
    pub descriptor: Descriptor,
}

/// What a manifest is.
#[derive(Clone, Debug)]
pub enum ManifestKind {
    /// An image for a platform.
    Image {
        /// The platform, as in the configuration.
        platform: rorqual_oci::image::PlatformEntry,
        /// Bytes of its unpacked layers.
        unpacked_size: i64,
    },
    /// An attestation for another manifest.
    Attestation {
        /// That manifest.
        of: Option<Digest>,
    },
    /// Something else.
    Unknown,
}

/// Everything `docker image inspect` shows.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// The ID.
    pub id: Digest,
    /// `busybox:latest`.
    pub repo_tags: Vec<String>,
    /// `busybox@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Bytes of content and unpacked layers.
    pub size: i64,
    /// The configuration; `None` where the image has none for any platform.
    pub config: Option<Arc<ImageConfig>>,
    /// The configuration's own bytes, from which unknown fields can be shown.
    pub raw_config: Option<Arc<Vec<u8>>>,
    /// What refers to it: signatures, bills of materials.
    pub referrers: Vec<Referrer>,
    /// When it was last tagged here, nanoseconds since 1970.
    pub last_tagged: Option<i128>,
    /// What the name points to.
    pub target: Descriptor,
    /// The manifests behind it, where asked for.
    pub manifests: Option<Vec<ManifestSummary>>,
}

/// One line of `docker history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's ID on the newest line, `<missing>` on others.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// Names of the image on the newest line; `None` is null.
    pub tags: Option<Vec<String>>,
    /// Bytes of the layer.
    pub size: i64,
    /// Comment.
    pub comment: String,
}

/// Options of `docker rmi`.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Delete although containers use it or several names point to it.
    pub force: bool,
    /// Keep untagged parents.
    pub no_prune: bool,
    /// Only these platforms.
    pub platforms: Vec<Platform>,
}

/// One line of the answer to `docker rmi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletedItem {
    /// A name went away.
    Untagged(String),
    /// An image went away.
    Deleted(String),
}

/// What a deletion did.
#[derive(Clone, Debug, Default)]
pub struct Deleted {
    /// In order.
    pub items: Vec<DeletedItem>,
    /// Events to send.
    pub events: Vec<ImageEvent>,
}

/// What a prune did.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// In order.
    pub items: Vec<DeletedItem>,
    /// Bytes freed.
    pub reclaimed: u64,
    /// Events to send.
    pub events: Vec<ImageEvent>,
}

/// A message of a progress stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// `{"stream": …}`.
    Stream(String),
    /// `{"status": …, "id": …}` with progress numbers where known.
    Status {
        /// The layer's short id; empty where the line is about the whole.
        id: String,
        /// `Loading layer`, …
        status: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all; 0 where unknown.
        total: u64,
    },
    /// What happens to one layer of a pull or push.
    Layer {
        /// The layer's short id.
        id: String,
        /// What happens to it.
        step: LayerStep,
    },
}

/// What happens to a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerStep {
    /// It will be fetched.
    Waiting,
    /// It is being fetched.
    Downloading {
        /// Bytes here.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// It was fetched and has the right digest.
    Downloaded,
    /// It is being unpacked.
    Extracting {
        /// For how long, rounded up.
        seconds: u64,
    },
    /// It is fetched and unpacked.
    Pulled,
    /// It was here before.
    Present,
    /// It is being sent.
    Pushing {
        /// Bytes sent.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// It was sent.
    Pushed,
    /// It was there before.
    Exists,
    /// It was linked from another repository of the registry.
    Mounted {
        /// That repository.
        from: String,
    },
}

/// Options of `docker import`.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name to give it.
    pub reference: Option<Reference>,
    /// The platform; the host's where not given.
    pub platform: Option<Platform>,
    /// The message.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
}

impl fmt::Display for DeletedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged(name) => write!(f, "Untagged: {name}"),
            Self::Deleted(id) => write!(f, "Deleted: {id}"),
        }
    }
}
