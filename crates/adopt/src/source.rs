//! A data root as a whole: whether it is one, whether somebody uses it, and what it holds.

use crate::{
    Container, Found, Image, Volume,
    container::{self, Changes},
    containerd, overlay,
    root::Root,
    volume,
};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_types::Digest;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{collections::BTreeSet, ffi::OsStr, fs::File, path::Path, sync::Arc};

/// Where dockerd keeps the containerd it starts itself.
const OWN_CONTAINERD: &str = "containerd/daemon";
/// Files that a running dockerd, or its containerd, holds locked.
const LOCKED: [&str; 4] =
    [volume::METADATA, "network/files/local-kv.db", "buildkit/cache.db", "buildkit/metadata_v2.db"];

/// The data root of a dockerd that does not run. While this lives, none can start on it.
#[derive(Debug)]
pub struct Source {
    root: Arc<Root>,
    /// containerd's store, where there is one.
    store: Option<Arc<Root>>,
    /// Locked as a reader of bolt files locks them: a writer waits, and gives up.
    _held: Vec<File>,
}

impl Source {
    /// Opens the data root at `directory`. `containerd` is the root of the containerd that dockerd used, where it did not
    /// start one of its own.
    ///
    /// # Errors
    /// `InvalidArgument` where it is no data root, `Conflict` where a dockerd or a containerd uses it.
    pub fn open(directory: &Path, containerd: Option<&Path>) -> Result<Self> {
        let root = Root::open(directory)?;
        let store = match containerd {
            Some(directory) => Some(Root::open(directory)?),
            None => root.directory(OWN_CONTAINERD)?,
        };
        let shown = directory.display();
        if root.directory("containers")?.is_none() || root.directory("volumes")?.is_none() {
            return Err(Error::invalid(format!(
                "{shown} is not dockerd's data root: it has no containers or no volumes"
            )));
        }
        // The name may be hidden behind a link: what counts is where it leads.
        let real = std::fs::canonicalize(directory).with_context(|| format!("find {shown}"))?;
        if real.file_name().is_some_and(is_remapped) {
            return Err(Error::new(
                Kind::NotImplemented,
                format!(
                    "{shown} is the data root of remapped user namespaces (userns-remap): its files belong to shifted \
                     ids, and cannot be taken; save the images and copy the volumes with that dockerd"
                ),
            ));
        }
        let mut held = Vec::new();
        for path in LOCKED {
            held.extend(hold(&root, path, &format!("a dockerd uses {shown}"))?);
        }
        for path in [containerd::METADATA, containerd::SNAPSHOTS] {
            if let Some(store) = &store {
                held.extend(hold(store, path, "a containerd uses dockerd's images")?);
            }
        }
        Ok(Self { root: Arc::new(root), store: store.map(Arc::new), _held: held })
    }

    /// Its images: those with names, those that containers use, and those that no other image is built upon.
    pub fn images(&self) -> Result<Vec<Found<Image>>> {
        let mut images = Vec::new();
        if overlay::present(&self.root)? {
            let containers = self.containers()?;
            let used =
                containers.iter().filter_map(|found| found.object.as_ref().ok()).map(|container| container.image);
            let used: BTreeSet<Digest> = used.collect();
            images.extend(overlay::images(&self.root, &used).context("read the images")?);
        }
        if let Some(store) = &self.store {
            images.extend(containerd::images(store).context("read containerd's images")?);
        }
        Ok(images)
    }

    /// Its volumes, by name.
    pub fn volumes(&self) -> Result<Vec<Found<Volume>>> {
        volume::volumes(&self.root).context("read the volumes")
    }

    /// Its containers.
    pub fn containers(&self) -> Result<Vec<Found<Container>>> {
        container::containers(&self.root).context("read the containers")
    }

    /// How many files a container has changed, apart from the directories and files that its mounts needed.
    pub fn changed_files(&self, container: &Container) -> Result<u64> {
        let directory = match (container.driver.as_str(), &self.store) {
            ("overlay2", _) => self.root.directory(overlay::changes(&self.root, &container.id)?)?,
            ("overlayfs", Some(store)) => match containerd::changes(store, &container.id)? {
                Some(path) => store.directory(path)?,
                None => None,
            },
            ("overlayfs", None) => return Err(Error::not_found("the containerd that keeps its files was not given")),
            (driver, _) => return Err(Error::invalid(format!("the storage driver {driver:?} is not known"))),
        };
        let directory = directory.ok_or_else(|| Error::not_found("its directory is missing"))?;
        Changes::of(container).count(&directory)
    }

    /// What is here that no other call tells of, and that cannot be taken.
    pub fn left_behind(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let names = |path: &str| -> Result<Vec<String>> {
            Ok(self.root.names(path)?.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
        };
        for driver in names("image")? {
            if driver != "overlay2" {
                left.push(format!("images of the graph driver {driver}: only overlay2 is known"));
            }
        }
        for plugin in names("plugins")? {
            if plugin.len() == 64 {
                let id: String = plugin.chars().take(12).collect();
                left.push(format!("plugin {id}: plugins cannot be taken; install it again"));
            }
        }
        for name in self.root.names(".")?.iter().filter(|name| is_remapped(name)) {
            left.push(format!(
                "{}: the data root of remapped user namespaces (userns-remap), whose files belong to shifted ids",
                name.to_string_lossy()
            ));
        }
        if self.root.file("swarm/docker-state.json")?.is_some() {
            left.push("the swarm: this node must join again".to_owned());
        }
        Ok(left)
    }
}

/// Whether dockerd keeps the data of remapped user namespaces under this name, `UID.GID`.
fn is_remapped(name: &OsStr) -> bool {
    let is_id = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.to_str().and_then(|name| name.split_once('.')).is_some_and(|(user, group)| is_id(user) && is_id(group))
}

fn hold(root: &Root, path: &str, who: &str) -> Result<Option<File>> {
    let Some(file) = root.file(path)? else { return Ok(None) };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Err(Error::conflict(format!("{who}: {path} is locked; stop it first"))),
        Err(errno) => Err(errno).with_context(|| format!("lock {path}")),
    }
}
