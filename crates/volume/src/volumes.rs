//! The node's volumes.

use crate::{
    CreateVolume, Volume, copy,
    filter::{PruneSelection, Selection},
    options, tree,
};
use jiff::Timestamp;
use rorqual_error::{Context, Error, Result};
use rorqual_linux::usage::Usage;
use rorqual_metadata::{Durability, Store, Table, failpoint};
use rorqual_types::{ContainerId, Filters, VolumeName};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

mod check;

/// The only driver.
const LOCAL: &str = "local";
/// The directory of a volume's data.
const DATA: &str = "_data";
/// Where a volume is filled before anyone sees it.
const FILLING: &str = "_filling";
/// What begins the name of a directory that is to be deleted: no volume's name can.
const TRASH: &str = ".trash-";
/// The label dockerd puts on volumes without a name of their own.
const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// The node's volumes; all calls are safe from several threads, and those that touch files block.
#[derive(Debug)]
pub struct Volumes {
    root: PathBuf,
    table: Table<String, Record>,
    state: Mutex<State>,
}

/// A volume as it is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    created: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    anonymous: bool,
    /// Removal was decided: it is finished at the next start if it was not now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removing: bool,
}

#[derive(Debug, Default)]
struct State {
    volumes: BTreeMap<VolumeName, Entry>,
    trashed: u64,
}

#[derive(Debug)]
struct Entry {
    volume: Volume,
    /// The containers that refer to it, running or not.
    users: BTreeSet<ContainerId>,
    /// Those that have it mounted.
    mounts: BTreeSet<ContainerId>,
    /// What its options say is mounted.
    mounted: bool,
}

/// What `volume prune` removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The names.
    pub names: Vec<String>,
    /// Bytes of disk given back.
    pub reclaimed: u64,
}

impl Volumes {
    /// The volumes below `root` (`data-root/volumes`); finishes creations and removals that were interrupted. No volume is
    /// used yet: whoever owns containers tells ([`Volumes::acquire`], [`Volumes::mount`]).
    pub fn open(root: PathBuf, store: &Store) -> Result<Self> {
        make_private(&root).with_context(|| format!("make {}", root.display()))?;
        let volumes = Self { root, table: store.table("volumes"), state: Mutex::default() };
        let mounted = mounts_below(&volumes.root);
        for (name, record) in volumes.table.list()? {
            let Ok(name) = name.parse::<VolumeName>() else { continue };
            if record.removing {
                volumes.finish_removal(&name, 0)?;
                continue;
            }
            let data = volumes.data(&name);
            make_data(&data).with_context(|| format!("make {}", data.display()))?;
            let filling = volumes.directory(&name).join(FILLING);
            if filling.exists() {
                fs::remove_dir_all(&filling).with_context(|| format!("remove {}", filling.display()))?;
            }
            let mounted = mounted.contains(&data);
            volumes.lock().volumes.insert(name.clone(), Entry::new(volumes.volume(name, record), mounted));
        }
        volumes.sweep()?;
        Ok(volumes)
    }

    /// The volumes as they are recorded, for a check: nothing is finished or removed.
    pub fn open_as_is(root: PathBuf, store: &Store) -> Result<Self> {
        make_private(&root).with_context(|| format!("make {}", root.display()))?;
        let volumes = Self { root, table: store.table("volumes"), state: Mutex::default() };
        for (name, record) in volumes.table.list()?.into_iter().filter(|(_, record)| !record.removing) {
            let Ok(name) = name.parse::<VolumeName>() else { continue };
            volumes.lock().volumes.insert(name.clone(), Entry::new(volumes.volume(name, record), false));
        }
        Ok(volumes)
    }

    /// Deletes directories of removals that were interrupted, and of creations that no record tells of. A directory with
    /// data that nobody knows is left alone.
    fn sweep(&self) -> Result<()> {
        let mut trash = Vec::new();
        for entry in fs::read_dir(&self.root).with_context(|| format!("read {}", self.root.display()))? {
            let entry = entry.with_context(|| format!("read {}", self.root.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(TRASH) {
                trash.push(entry.path());
            } else if !self.lock().volumes.contains_key(name.as_str()) {
                // Only empty directories go.
                let _ = fs::remove_dir(entry.path().join(DATA));
                if fs::remove_dir(entry.path()).is_err() {
                    tracing::warn!(path = %entry.path().display(), "a directory among the volumes belongs to none");
                }
            }
        }
        delete_later(trash);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self, name: &VolumeName) -> PathBuf {
        self.root.join(name.as_str())
    }

    fn data(&self, name: &VolumeName) -> PathBuf {
        self.directory(name).join(DATA)
    }

    fn volume(&self, name: VolumeName, record: Record) -> Volume {
        Volume {
            driver: LOCAL.into(),
            mountpoint: self.data(&name),
            created: record.created,
            labels: record.labels,
            options: record.options,
            anonymous: record.anonymous,
            name,
        }
    }

    /// Makes a volume, or finds the one of that name. The flag says whether it was made (an event follows).
    pub fn create(&self, request: &CreateVolume) -> Result<(Volume, bool)> {
        self.create_and_use(request, None)
    }

    /// As [`Volumes::create`] and [`Volumes::acquire`] in one: nothing can remove it in between.
    pub fn create_for(&self, request: &CreateVolume, container: &ContainerId) -> Result<(Volume, bool)> {
        self.create_and_use(request, Some(container))
    }

    fn create_and_use(&self, request: &CreateVolume, user: Option<&ContainerId>) -> Result<(Volume, bool)> {
        let given = request.name.as_deref().filter(|name| !name.is_empty());
        let shown: String = given.unwrap_or_default().chars().take(256).collect();
        let what = || format!("create {shown}");
        if !matches!(request.driver.as_str(), "" | LOCAL) {
            let driver: String = request.driver.chars().take(256).collect();
            let text = format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found");
            return Err(Error::not_found(text)).with_context(what);
        }
        let name = match given {
            Some(name) => name.parse().with_context(what)?,
            None => VolumeName::from_random(random()?),
        };
        let mut state = self.lock();
        if let Some(entry) = state.volumes.get_mut(&name) {
            entry.users.extend(user.cloned());
            return Ok((entry.volume.clone(), false));
        }
        options::validate(&request.options).with_context(what)?;
        let mut labels = request.labels.clone();
        if given.is_none() {
            labels.insert(ANONYMOUS_LABEL.into(), String::new());
        }
        let record = Record {
            created: Timestamp::now(),
            labels,
            options: request.options.clone(),
            anonymous: given.is_none(),
            removing: false,
        };
        let data = self.data(&name);
        make_data(&data).with_context(|| format!("make {}", data.display()))?;
        failpoint!("volume.made")?;
        if let Err(error) = self.table.put(&name.to_string(), &record, Durability::Synced) {
            let _ = fs::remove_dir(&data);
            let _ = fs::remove_dir(self.directory(&name));
            return Err(error).with_context(what);
        }
        failpoint!("volume.recorded")?;
        let mut entry = Entry::new(self.volume(name.clone(), record), false);
        entry.users.extend(user.cloned());
        let volume = entry.volume.clone();
        state.volumes.insert(name, entry);
        Ok((volume, true))
    }

    /// One volume by its name.
    pub fn get(&self, name: &str) -> Result<Volume> {
        self.lock().volumes.get(name).map(|entry| entry.volume.clone()).ok_or_else(|| unknown(name))
    }

    /// All volumes that pass the filters `name`, `label`, `dangling` and `driver`, by name.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        let selection = Selection::of_list(filters)?;
        let state = self.lock();
        let chosen = state.volumes.values().filter(|entry| selection.matches(&entry.volume, !entry.users.is_empty()));
        Ok(chosen.map(|entry| entry.volume.clone()).collect())
    }

    /// Removes a volume that no container uses. With `force`, one that does not exist is no error. The flag says whether
    /// one was removed.
    pub fn remove(&self, name: &str, force: bool) -> Result<bool> {
        let mut state = self.lock();
        let Some((key, entry)) = state.volumes.get_key_value(name) else {
            return if force { Ok(false) } else { Err(unknown(name)) };
        };
        if !entry.users.is_empty() {
            let users: Vec<&str> = entry.users.iter().map(ContainerId::as_str).collect();
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        let key = key.clone();
        self.remove_locked(&mut state, &key).with_context(|| format!("remove {name}"))?;
        Ok(true)
    }

    /// Removes a volume nobody uses.
    fn remove_locked(&self, state: &mut State, name: &VolumeName) -> Result<()> {
        let Some(entry) = state.volumes.get(name) else { return Ok(()) };
        if entry.mounted {
            options::unmount(&entry.volume.mountpoint).context("unmount")?;
        }
        let volume = entry.volume.clone();
        let record = Record {
            created: volume.created,
            labels: volume.labels,
            options: volume.options,
            anonymous: volume.anonymous,
            removing: true,
        };
        self.table.put(&name.to_string(), &record, Durability::Grouped)?;
        failpoint!("volume.removing")?;
        state.volumes.remove(name);
        state.trashed += 1;
        self.finish_removal(name, state.trashed)
    }

    /// From the decision to remove to the end of it; the data itself is deleted in the background.
    fn finish_removal(&self, name: &VolumeName, number: u64) -> Result<()> {
        let trash = self.root.join(format!("{TRASH}{}-{number}-{name}", std::process::id()));
        match fs::rename(self.directory(name), &trash) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context("move the data away"),
            _ => {}
        }
        failpoint!("volume.renamed")?;
        self.table.delete(&name.to_string(), Durability::Synced)?;
        delete_later(vec![trash]);
        Ok(())
    }

    /// Removes unused volumes: anonymous ones, or with the filter `all=1` every one; `label` and `label!` narrow it.
    pub fn prune(&self, filters: &Filters) -> Result<Pruned> {
        let selection = PruneSelection::new(filters)?;
        let mut pruned = Pruned::default();
        let mut state = self.lock();
        let unused =
            state.volumes.iter().filter(|(_, entry)| entry.users.is_empty() && selection.matches(&entry.volume));
        let names: Vec<VolumeName> = unused.map(|(name, _)| name.clone()).collect();
        for name in names {
            let size = self.usage(&name).unwrap_or_default();
            match self.remove_locked(&mut state, &name) {
                Ok(()) => {
                    pruned.names.push(name.to_string());
                    pruned.reclaimed += size;
                }
                Err(error) => tracing::warn!(volume = %name, %error, "could not be pruned"),
            }
        }
        Ok(pruned)
    }

    /// Notes that `container` uses the volume: it cannot be removed until released.
    pub fn acquire(&self, name: &str, container: &ContainerId) -> Result<()> {
        let mut state = self.lock();
        let entry = state.volumes.get_mut(name).ok_or_else(|| unknown(name))?;
        entry.users.insert(container.clone());
        Ok(())
    }

    /// Notes that `container` is gone: it uses no volume any more. Returns the anonymous volumes that it was the last to
    /// use; they go with it where the request says so (`rm -v`, `--rm`).
    pub fn release(&self, container: &ContainerId) -> Vec<VolumeName> {
        let mut state = self.lock();
        let mut orphans = Vec::new();
        for entry in state.volumes.values_mut() {
            if entry.users.remove(container) && entry.users.is_empty() && entry.volume.anonymous {
                orphans.push(entry.volume.name.clone());
            }
            entry.unmount(container);
        }
        orphans
    }

    /// The containers that use the volume.
    pub fn users(&self, name: &str) -> Vec<ContainerId> {
        self.lock().volumes.get(name).map(|entry| entry.users.iter().cloned().collect()).unwrap_or_default()
    }

    /// The directory to bind into `container`, mounted first where the volume's options say what to mount. For a container
    /// found running at start-up it only notes that it has the volume mounted.
    pub fn mount(&self, name: &str, container: &ContainerId) -> Result<PathBuf> {
        let mut state = self.lock();
        let entry = state.volumes.get_mut(name).ok_or_else(|| unknown(name))?;
        if options::wants_mount(&entry.volume.options) && !entry.mounted {
            options::mount(&entry.volume.options, &entry.volume.mountpoint)?;
            entry.mounted = true;
        }
        entry.mounts.insert(container.clone());
        Ok(entry.volume.mountpoint.clone())
    }

    /// `container` has stopped: what [`Volumes::mount`] mounted for it is unmounted when it was the last user.
    pub fn unmount(&self, container: &ContainerId) {
        self.lock().volumes.values_mut().for_each(|entry| entry.unmount(container));
    }

    /// After start-up has told of every running container by [`Volumes::mount`]: unmounts what an earlier daemon left
    /// mounted for containers that ended meanwhile.
    pub fn unmount_unused(&self) {
        for entry in self.lock().volumes.values_mut() {
            entry.unmount_if_unused();
        }
    }

    /// Fills an empty volume with what the image has at `path`: owners, modes, attributes and links kept. `lowers` are the
    /// directories of the image's layers (`…/HEX/fs`), topmost first. A volume that has data, or an image that has nothing
    /// there, is left as is; the flag says whether anything was copied.
    ///
    /// # Errors
    /// `source PATH is not directory` where the image has a file there. The volume is unchanged, but for one whose
    /// options mount something or that is mounted by others, which may be partly filled.
    pub fn copy_up(&self, name: &str, lowers: &[PathBuf], path: &Path) -> Result<bool> {
        let (data, shared) = {
            let state = self.lock();
            let entry = state.volumes.get(name).ok_or_else(|| unknown(name))?;
            (entry.volume.mountpoint.clone(), entry.mounted || entry.mounts.len() > 1)
        };
        let target = tree::open_dir(&data).with_context(|| format!("open {}", data.display()))?;
        if lowers.is_empty() || !tree::is_empty(&target).with_context(|| format!("read {}", data.display()))? {
            return Ok(false);
        }
        let Some(source) = copy::open_source(lowers, path, &self.root.join(format!("{TRASH}layers-{name}")))? else {
            return Ok(false);
        };
        if shared {
            // Others see this directory: it must stay the one it is.
            copy::copy_tree(&source, &target)?;
            return Ok(true);
        }
        let filling = data.with_file_name(FILLING);
        let _ = fs::remove_dir_all(&filling);
        make_data(&filling).with_context(|| format!("make {}", filling.display()))?;
        let fill = || -> Result<()> {
            let target = tree::open_dir(&filling).with_context(|| format!("open {}", filling.display()))?;
            copy::copy_tree(&source, &target)?;
            failpoint!("volume.filled")?;
            // Over an empty directory only: what came there meanwhile wins.
            fs::rename(&filling, &data).with_context(|| format!("put the data of volume {name} in place"))
        };
        fill().inspect_err(|_| drop(fs::remove_dir_all(&filling)))?;
        Ok(true)
    }

    /// Bytes of disk a volume takes, its own directory among them.
    pub fn usage(&self, name: &VolumeName) -> Result<u64> {
        Usage::default().tree(&self.directory(name)).with_context(|| format!("measure volume {name}"))
    }
}

impl Entry {
    fn new(volume: Volume, mounted: bool) -> Self {
        Self { volume, users: BTreeSet::new(), mounts: BTreeSet::new(), mounted }
    }

    fn unmount(&mut self, container: &ContainerId) {
        if self.mounts.remove(container) {
            self.unmount_if_unused();
        }
    }

    fn unmount_if_unused(&mut self) {
        if self.mounted && self.mounts.is_empty() {
            match options::unmount(&self.volume.mountpoint) {
                Ok(()) => self.mounted = false,
                Err(errno) => tracing::warn!(volume = %self.volume.name, %errno, "could not be unmounted"),
            }
        }
    }
}

fn unknown(name: &str) -> Error {
    let shown: String = name.chars().take(256).collect();
    Error::not_found(format!("get {shown}: no such volume"))
}

/// A directory that only we enter: the volumes' names and data are reached by descriptors or mounts we hand out.
fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A volume's own directory, with the mode a container finds on a new one, whatever our umask.
fn make_data(data: &Path) -> io::Result<()> {
    if data.is_dir() {
        return Ok(());
    }
    data.parent().map_or(Ok(()), make_private)?;
    fs::DirBuilder::new().mode(0o755).create(data)?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o755))
}

/// Deletes trees on a thread of their own.
fn delete_later(paths: Vec<PathBuf>) {
    if paths.is_empty() {
        return;
    }
    let work = move || {
        for path in paths {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "deleted at the next start");
                }
                _ => {}
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("volume-trash".into()).spawn(work) {
        tracing::warn!(%error, "removed volumes are deleted at the next start");
    }
}

/// The mount points below `root`.
fn mounts_below(root: &Path) -> BTreeSet<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field)));
    points.filter(|point| point.starts_with(root)).collect()
}

/// Spaces and the like are octal in the kernel's table.
fn unescape(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    filled.context("get random bytes")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
