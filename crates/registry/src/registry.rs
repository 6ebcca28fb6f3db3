//! What all requests share, and the locks that keep pushes and removals apart.
//!
//! Two kinds of lock, in this order. A repository's: pushes share it, removals (by a client or by the collector) have it
//! alone. The content's: whatever makes a repository refer to a blob shares it; the collector has it alone while it
//! deletes blobs. Pulls take neither: blobs and manifests never change.

use crate::{
    access::Access,
    cache::Cache,
    config::{AccessConfig, Config},
    leases::Leases,
    limits::MANIFEST_CACHE,
    metrics::Metrics,
    name::Repository,
    records::Records,
    storage::{Local, Node, Objects, Storage},
    uploads::Uploads,
    upstream::Upstream,
};
use rorqual_error::Result;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};
use tokio::sync::RwLock;

/// Locks of repositories; two names that share one wait for each other needlessly, and that is all.
const LOCKS: usize = 256;

/// A registry.
#[derive(Debug)]
pub struct Registry {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) access: Access,
    pub(crate) leases: Leases,
    pub(crate) manifests: Cache,
    pub(crate) uploads: Uploads,
    pub(crate) metrics: Metrics,
    /// Where everything comes from, where this is a cache.
    pub(crate) upstream: Option<Upstream>,
    /// Whether untagged manifests are kept.
    pub(crate) keep_untagged: bool,
    repositories: Vec<RwLock<()>>,
    /// Held while a repository comes to refer to a blob.
    pub(crate) content: RwLock<()>,
    /// One collection at a time.
    pub(crate) collecting: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Opens what `config` names.
    ///
    /// # Errors
    /// `Conflict` where another process serves the same directory.
    pub fn open(config: &Config) -> Result<Arc<Self>> {
        let storage: Arc<dyn Storage> = match (&config.node, &config.objects) {
            (Some(content), _) => Arc::new(Node(content.clone())),
            (None, Some(objects)) => Arc::new(Objects::open(objects, &config.root)?),
            (None, None) => Arc::new(Local::open(&config.root)?),
        };
        // A cache has what upstream has, a node what it pulled and built, and nothing else.
        let read_only = config.access.read_only || config.proxy.is_some() || config.node.is_some();
        let access = Access::new(&AccessConfig { read_only, ..config.access.clone() })?;
        let upstream = config.proxy.as_ref().map(|proxy| Upstream::open(proxy, config.root.clone())).transpose()?;
        let uploads = Uploads::default();
        Ok(Arc::new(Self {
            storage,
            access,
            leases: Leases::new(config.collect.grace, config.collect.grace_at_start),
            manifests: Cache::new(MANIFEST_CACHE),
            uploads,
            metrics: Metrics::default(),
            upstream,
            keep_untagged: config.collect.keep_untagged,
            repositories: (0..LOCKS).map(|_| RwLock::default()).collect(),
            content: RwLock::default(),
            collecting: tokio::sync::Mutex::default(),
        }))
    }

    pub(crate) fn records(&self) -> Records<'_> {
        Records(&*self.storage)
    }

    /// The lock of a repository.
    pub(crate) fn lock(&self, name: &Repository) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        &self.repositories[place]
    }
}
