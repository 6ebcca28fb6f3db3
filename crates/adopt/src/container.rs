//! Containers of the data root: who they are, whether they can be taken, what they changed.

use crate::{
    compare::DIRECTORY,
    found::Found,
    limits::{CHANGES_MAX, JSON_BYTES_MAX, TREE_DEPTH_MAX},
    root::{Root, missing},
};
use rorqual_api_types::{
    container::{Config, HostConfig},
    network::EndpointSettings,
};
use rorqual_error::{Context, Error, Result};
use rorqual_types::Digest;
use rustix::fs::{AtFlags, Dir, FileType, Mode, openat, statat};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

/// A stopped container, as dockerd wrote it down.
#[derive(Debug)]
pub struct Container {
    /// Its ID there.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// The ID of its image there.
    pub image: Digest,
    /// The program that it ran.
    pub path: String,
    /// The program's arguments.
    pub args: Vec<String>,
    pub(crate) config: Config,
    pub(crate) host_config: HostConfig,
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    pub(crate) mount_points: BTreeMap<String, MountPoint>,
    pub(crate) driver: String,
}

/// `config.v2.json`, the parts that matter.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    name: String,
    image: Digest,
    #[serde(default)]
    path: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    managed: bool,
    #[serde(default)]
    driver: String,
    #[serde(rename = "OS", default)]
    os: String,
    #[serde(default)]
    mount_points: Option<BTreeMap<String, MountPoint>>,
    #[serde(default)]
    network_settings: Option<NetworkSettings>,
    config: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    running: bool,
    paused: bool,
    restarting: bool,
    dead: bool,
    removal_in_progress: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoint {
    #[serde(flatten)]
    pub(crate) settings: EndpointSettings,
    /// The address that was asked for; the other one is what was given.
    #[serde(rename = "DesiredMacAddress")]
    pub(crate) desired_mac_address: String,
}

/// What is mounted somewhere in the container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct MountPoint {
    pub(crate) name: String,
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    #[serde(rename = "RW")]
    pub(crate) writable: bool,
}

/// All containers, by ID.
pub(crate) fn containers(root: &Root) -> Result<Vec<Found<Container>>> {
    let mut all = Vec::new();
    for directory in root.names("containers")? {
        let Some(id) = directory.to_str().filter(|id| is_id(id)) else { continue };
        let stored = stored(root, id);
        let what = match &stored {
            Ok(stored) if !stored.name.is_empty() => stored.name.trim_start_matches('/').to_owned(),
            _ => id[..12].to_owned(),
        };
        all.push(Found { what, object: stored.and_then(|stored| container(root, id, stored)) });
    }
    Ok(all)
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn json<T: for<'de> Deserialize<'de>>(root: &Root, id: &str, name: &str) -> Result<T> {
    let path = format!("containers/{id}/{name}");
    let bytes = root.read(&path, JSON_BYTES_MAX)?.ok_or_else(|| missing(Path::new(&path)))?;
    serde_json::from_slice(&bytes).with_context(|| format!("read {path}"))
}

fn stored(root: &Root, id: &str) -> Result<Stored> {
    let stored: Stored = json(root, id, "config.v2.json")?;
    if stored.id != id {
        return Err(Error::invalid("its record is of another container"));
    }
    Ok(stored)
}

fn container(root: &Root, id: &str, stored: Stored) -> Result<Container> {
    let state = &stored.state;
    let why = match &stored {
        _ if state.running || state.paused || state.restarting => {
            "it ran when dockerd ended: start dockerd, stop the container, stop dockerd"
        }
        _ if state.dead || state.removal_in_progress => "it was being removed",
        Stored { managed: true, .. } => "it belongs to a service of a swarm",
        Stored { os, .. } if !matches!(os.as_str(), "" | "linux") => "it is not for Linux",
        _ => "",
    };
    if !why.is_empty() {
        return Err(Error::conflict(why));
    }
    let networks = stored.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let endpoints = networks.into_iter().map(|(name, endpoint)| (name, endpoint.unwrap_or_default()));
    Ok(Container {
        id: id.to_owned(),
        name: stored.name.trim_start_matches('/').to_owned(),
        image: stored.image,
        path: stored.path,
        args: stored.args.unwrap_or_default(),
        config: typed("Config", stored.config)?,
        host_config: typed("HostConfig", json(root, id, "hostconfig.json")?)?,
        endpoints: endpoints.collect(),
        mount_points: stored.mount_points.unwrap_or_default(),
        driver: stored.driver,
    })
}

/// The typed form of a configuration. A field that the type does not have, with a value that says something, is refused by
/// name: nothing of a definition is lost silently.
fn typed<T: for<'de> Deserialize<'de> + Serialize>(name: &str, stored: Value) -> Result<T> {
    let typed: T = serde_json::from_value(stored.clone()).with_context(|| format!("read {name}"))?;
    let known = serde_json::to_value(&typed).with_context(|| format!("read {name}"))?;
    let unknown = stored.as_object().into_iter().flatten().find(|(key, value)| {
        let spelled = |known: &Value| known.get(key.as_str()).is_some();
        says_something(value) && !spelled(&known)
    });
    match unknown {
        Some((key, _)) => Err(Error::invalid(format!("{name}.{key} is not known here"))),
        None => Ok(typed),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Containers in an order in which each comes after those it refers to, as far as there is one.
pub fn in_order(containers: Vec<Found<Container>>) -> Vec<Found<Container>> {
    let names = |found: &Found<Container>| match &found.object {
        Ok(container) => vec![container.name.clone(), container.id.clone()],
        Err(_) => Vec::new(),
    };
    let mut open: BTreeSet<String> = containers.iter().flat_map(names).collect();
    let (mut waiting, mut ordered) = (containers, Vec::new());
    loop {
        let blocked = |found: &Found<Container>| {
            found.object.as_ref().is_ok_and(|container| container.needs().iter().any(|needed| open.contains(needed)))
        };
        let (left, free): (Vec<_>, Vec<_>) = waiting.into_iter().partition(blocked);
        for name in free.iter().flat_map(names) {
            open.remove(&name);
        }
        let stuck = free.is_empty();
        ordered.extend(free);
        waiting = left;
        if waiting.is_empty() || stuck {
            // Those that refer to each other cannot start either.
            ordered.extend(waiting);
            return ordered;
        }
    }
}

/// Where changes are none of the container's own: what a mount is put on.
pub(crate) struct Changes {
    mounts: BTreeSet<PathBuf>,
}

impl Changes {
    pub(crate) fn of(container: &Container) -> Self {
        let host = &container.host_config;
        let targets = host.mounts.iter().flatten().map(|mount| mount.target.as_str());
        let tmpfs = host.tmpfs.iter().flat_map(|map| map.keys()).map(String::as_str);
        let points = container.mount_points.keys().map(String::as_str);
        let all = points.chain(targets).chain(tmpfs).map(|path| PathBuf::from(path.trim_start_matches('/')));
        Self { mounts: all.collect() }
    }

    /// Files, links and removals below `directory`; more than [`CHANGES_MAX`] are not told apart.
    pub(crate) fn count(&self, directory: &impl AsFd) -> Result<u64> {
        let mut count = 0;
        self.add(directory, Path::new(""), &mut count, 0)?;
        Ok(count)
    }

    fn add(&self, directory: &impl AsFd, path: &Path, count: &mut u64, depth: usize) -> Result<()> {
        let context = || format!("read /{} of its changes", path.display());
        if depth > TREE_DEPTH_MAX {
            return Err(Error::invalid("its directories are nested too deeply"));
        }
        for entry in Dir::read_from(directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || *count > CHANGES_MAX {
                continue;
            }
            let at = path.join(OsStr::from_bytes(name.to_bytes()));
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).with_context(context)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = openat(directory, name, DIRECTORY, Mode::empty()).with_context(context)?;
                    self.add(&inner, &at, count, depth + 1)?;
                }
                FileType::RegularFile if stat.st_size == 0 && self.mounts.contains(&at) => {}
                _ => *count += 1,
            }
        }
        Ok(())
    }
}
