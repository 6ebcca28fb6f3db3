//! What a container has mounted: the user's `Binds`, `Mounts`, `Tmpfs`, `VolumesFrom` and the image's volumes, brought to
//! one form. Parsing is pure; volumes and directories are made by `create`.

use crate::spec;
use rorqual_api_types::{
    container::{Config, HostConfig, MountPoint},
    mount::Mount,
};
use rorqual_error::{Context, Error, Result};
use rorqual_types::VolumeName;
use serde::{Deserialize, Serialize};

/// One mount of a container, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountRecord {
    /// What it is.
    pub kind: Kind,
    /// The volume's name; empty for an anonymous volume that is still to be made, and for the other kinds.
    pub name: String,
    /// The path on the host (of a volume once it is there).
    pub source: String,
    /// The path in the container.
    pub destination: String,
    /// The options as inspect shows them.
    pub mode: String,
    /// Whether it may not be written.
    pub read_only: bool,
    /// Of a bind: `rprivate`, `rshared` and so on.
    pub propagation: String,
    /// Of a volume: the driver asked for.
    pub driver: String,
    /// Of a volume: made for this container without a name.
    pub anonymous: bool,
    /// Of a volume: the image's content stays out.
    pub no_copy: bool,
    /// Of a volume: a path inside it.
    pub subpath: String,
    /// Of a volume: the driver's options when it is made.
    pub driver_options: std::collections::BTreeMap<String, String>,
    /// Of a volume: labels when it is made.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Of a bind: submounts stay out.
    pub non_recursive: bool,
    /// Of a read-only bind: submounts stay writable.
    pub read_only_non_recursive: bool,
    /// Of a read-only bind: it is an error if a submount cannot be made read-only.
    pub read_only_force_recursive: bool,
    /// Of a bind: a missing source becomes a directory.
    pub create_source: bool,
    /// Of a tmpfs: its mount options.
    pub tmpfs_options: Vec<String>,
    /// Whether it came from `Tmpfs` (`--tmpfs`), which inspect does not list among the mounts.
    pub hidden: bool,
}

/// What a mount is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A path of the host.
    #[default]
    Bind,
    /// A volume.
    Volume,
    /// A file system in memory.
    Tmpfs,
}

impl Kind {
    /// As in `Mounts[].Type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
        }
    }
}

impl MountRecord {
    /// As inspect shows it.
    pub fn present(&self) -> MountPoint {
        MountPoint {
            kind: self.kind.as_str().into(),
            name: self.name.clone(),
            source: self.source.clone(),
            destination: self.destination.clone(),
            driver: if self.kind == Kind::Volume { self.driver.clone() } else { String::new() },
            mode: self.mode.clone(),
            rw: !self.read_only,
            propagation: self.propagation.clone(),
        }
    }
}

/// The mounts a container asks for, in order: inherited ones, binds, long-form mounts, tmpfs, the volumes of the image and
/// of `-v /path`. A later one of the same destination replaces an inherited one; twice the same is an error.
pub fn resolve(config: &Config, host: &HostConfig, inherited: Vec<MountRecord>) -> Result<Vec<MountRecord>> {
    let mut mounts: Vec<MountRecord> = Vec::new();
    for bind in host.binds.iter().flatten() {
        add(&mut mounts, parse_bind(bind, &host.volume_driver)?)?;
    }
    for mount in host.mounts.iter().flatten() {
        add(&mut mounts, parse_mount(mount)?)?;
    }
    for (destination, options) in host.tmpfs.iter().flatten() {
        let mount = MountRecord {
            kind: Kind::Tmpfs,
            destination: clean(destination)?,
            tmpfs_options: spec::mounts::tmpfs_options(options)?,
            hidden: true,
            ..MountRecord::default()
        };
        add(&mut mounts, mount)?;
    }
    for mount in inherited {
        if !mounts.iter().any(|own| own.destination == mount.destination) {
            mounts.push(mount);
        }
    }
    for destination in config.volumes.iter().flat_map(|volumes| volumes.keys()) {
        let destination = clean(destination)?;
        if !mounts.iter().any(|mount| mount.destination == destination) {
            mounts.push(MountRecord {
                kind: Kind::Volume,
                destination,
                driver: or_local(&host.volume_driver),
                anonymous: true,
                ..MountRecord::default()
            });
        }
    }
    Ok(mounts)
}

fn or_local(driver: &str) -> String {
    if driver.is_empty() { "local".into() } else { driver.into() }
}

fn add(mounts: &mut Vec<MountRecord>, mount: MountRecord) -> Result<()> {
    if mounts.iter().any(|other| other.destination == mount.destination) {
        return Err(Error::invalid(format!("Duplicate mount point: {}", mount.destination)));
    }
    mounts.push(mount);
    Ok(())
}

/// An absolute path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{path}' mount path must be absolute")));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    if parts.is_empty() {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{path}': invalid mount config for type \"volume\": invalid specification: destination can't be '/'"
        )));
    }
    Ok(format!("/{}", parts.join("/")))
}

fn shown_name(name: &str) -> String {
    name.chars().take(256).collect()
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// `source:destination[:options]`, or a destination alone.
fn parse_bind(text: &str, volume_driver: &str) -> Result<MountRecord> {
    let shown: String = text.chars().take(256).collect();
    let invalid = |why: &str| Error::invalid(format!("invalid volume specification: '{shown}'{why}"));
    let fields: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match fields.as_slice() {
        [destination] => ("", *destination, ""),
        [source, destination] => (*source, *destination, ""),
        [source, destination, mode] => (*source, *destination, *mode),
        _ => return Err(invalid("")),
    };
    if destination.is_empty() || (fields.len() > 1 && source.is_empty()) {
        return Err(invalid(""));
    }
    if !destination.starts_with('/') {
        return Err(invalid(&format!(
            ": invalid mount config for type \"{}\": invalid mount path: '{destination}' mount path must be absolute",
            if source.starts_with('/') { "bind" } else { "volume" }
        )));
    }
    let is_path = source.starts_with('/');
    let kind = if is_path { "bind" } else { "volume" };
    if clean(destination).is_err() {
        return Err(invalid(&format!(
            ": invalid mount config for type \"{kind}\": invalid specification: destination can't be '/'"
        )));
    }
    let mut mount = MountRecord {
        kind: if is_path { Kind::Bind } else { Kind::Volume },
        destination: clean(destination)?,
        mode: mode.to_owned(),
        create_source: is_path,
        ..MountRecord::default()
    };
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => mount.read_only = true,
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" if !is_path => mount.no_copy = true,
            name if is_path && PROPAGATIONS.contains(&name) => mount.propagation = name.to_owned(),
            _ => return Err(Error::invalid(format!("invalid mode: {}", mode.chars().take(256).collect::<String>()))),
        }
    }
    if is_path {
        mount.source = clean(source).unwrap_or_else(|_| "/".into());
        if mount.propagation.is_empty() {
            mount.propagation = "rprivate".into();
        }
    } else {
        mount.driver = or_local(volume_driver);
        if source.is_empty() {
            mount.anonymous = true;
        } else {
            let named = source.parse::<VolumeName>();
            mount.name = named.with_context(|| format!("create {}", shown_name(source)))?.to_string();
            // dockerd shows the SELinux default of named volumes, whether or not it means anything.
            if mount.mode.is_empty() {
                mount.mode = "z".into();
            }
        }
    }
    Ok(mount)
}

/// A mount in the long form.
fn parse_mount(mount: &Mount) -> Result<MountRecord> {
    let refuse = |why: &str| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    if mount.target.is_empty() {
        return Err(refuse("field Target must not be empty"));
    }
    if !mount.target.starts_with('/') {
        return Err(refuse(&format!("invalid mount path: '{}' mount path must be absolute", mount.target)));
    }
    let destination = clean(&mount.target).map_err(|_| refuse("invalid specification: destination can't be '/'"))?;
    let mut record = MountRecord { destination, read_only: mount.read_only, ..MountRecord::default() };
    let extraneous = |name: &str| refuse(&format!("field {name} must not be specified"));
    if mount.kind != "bind" && mount.bind_options.is_some() {
        return Err(extraneous("BindOptions"));
    }
    if mount.kind != "volume" && mount.volume_options.is_some() {
        return Err(extraneous("VolumeOptions"));
    }
    if mount.kind != "tmpfs" && mount.tmpfs_options.is_some() {
        return Err(extraneous("TmpfsOptions"));
    }
    match mount.kind.as_str() {
        "bind" => bind_mount(mount, &mut record).map(|()| record),
        "volume" => volume_mount(mount, &mut record).map(|()| record),
        "tmpfs" => tmpfs_mount(mount, &mut record).map(|()| record),
        "image" | "cluster" | "npipe" => {
            Err(Error::not_implemented(format!("not supported yet: mounts of type {}", mount.kind)))
        }
        _ => Err(refuse("mount type unknown")),
    }
}

fn bind_mount(mount: &Mount, record: &mut MountRecord) -> Result<()> {
    let refuse = |why: String| Error::invalid(format!("invalid mount config for type \"bind\": {why}"));
    if mount.source.is_empty() {
        return Err(refuse("field Source must not be empty".into()));
    }
    if !mount.source.starts_with('/') {
        return Err(refuse(format!("invalid mount path: '{}' mount path must be absolute", mount.source)));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if !options.propagation.is_empty() && !PROPAGATIONS.contains(&options.propagation.as_str()) {
        return Err(refuse(format!("invalid propagation mode: {}", options.propagation)));
    }
    record.kind = Kind::Bind;
    record.source = clean(&mount.source).unwrap_or_else(|_| "/".into());
    record.propagation = if options.propagation.is_empty() { "rprivate".into() } else { options.propagation };
    record.non_recursive = options.non_recursive;
    record.read_only_non_recursive = options.read_only_non_recursive;
    record.read_only_force_recursive = options.read_only_force_recursive;
    record.create_source = options.create_mountpoint;
    Ok(())
}

fn volume_mount(mount: &Mount, record: &mut MountRecord) -> Result<()> {
    let options = mount.volume_options.clone().unwrap_or_default();
    record.kind = Kind::Volume;
    if mount.source.is_empty() {
        record.anonymous = true;
        if mount.read_only {
            return Err(Error::invalid(
                "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
            ));
        }
    } else {
        let name: VolumeName = mount.source.parse()?;
        record.name = name.to_string();
    }
    // As dockerd shows it.
    record.mode = "z".into();
    record.no_copy = options.no_copy;
    record.labels = options.labels.unwrap_or_default();
    if options.subpath.starts_with('/') || options.subpath.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume: {}",
            options.subpath
        )));
    }
    record.subpath = options.subpath;
    let driver = options.driver_config.unwrap_or_default();
    record.driver = or_local(&driver.name);
    record.driver_options = driver.options.unwrap_or_default();
    Ok(())
}

fn tmpfs_mount(mount: &Mount, record: &mut MountRecord) -> Result<()> {
    if !mount.source.is_empty() {
        return Err(Error::invalid("invalid mount config for type \"tmpfs\": field Source must not be specified"));
    }
    record.kind = Kind::Tmpfs;
    record.tmpfs_options = spec::mounts::tmpfs_mount_options(mount.tmpfs_options.as_ref(), mount.read_only)?;
    Ok(())
}

/// `id[:mode]` of `VolumesFrom`: the container and whether its mounts become read-only.
pub fn parse_volumes_from(text: &str) -> Result<(&str, bool)> {
    match text.split_once(':') {
        None => Ok((text, false)),
        Some((container, mode)) if !container.is_empty() => {
            let mut read_only = false;
            for option in mode.split(',') {
                match option {
                    "ro" => read_only = true,
                    "rw" | "z" | "Z" | "" => {}
                    _ => return Err(Error::invalid(format!("invalid mode: {mode}"))),
                }
            }
            Ok((container, read_only))
        }
        Some(_) => Err(Error::invalid("malformed volumes-from specification")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Result<MountRecord> {
        parse_bind(text, "")
    }

    #[test]
    fn binds_name_a_path_or_a_volume() {
        let path = bind("/src:/dst:ro,rshared").unwrap();
        assert_eq!((path.kind, path.source.as_str(), path.read_only), (Kind::Bind, "/src", true));
        assert_eq!(path.propagation, "rshared");
        let named = bind("data:/dst/./x//y:nocopy").unwrap();
        assert_eq!((named.kind, named.name.as_str(), named.no_copy), (Kind::Volume, "data", true));
        assert_eq!(named.destination, "/dst/x/y");
        assert_eq!(bind("data:/d").unwrap().mode, "z");
        assert!(bind("/only").unwrap().anonymous);
        assert_eq!(bind("/:/host").unwrap().source, "/");
        for bad in ["", ":/x", "/a:", "a:b", "/a:/", "/a:/b:bad", "/a:/b:ro:x", "../x:/y"] {
            assert!(bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_mounts_of_one_place_are_refused() {
        let host = HostConfig { binds: Some(vec!["/a:/x".into(), "/b:/x".into()]), ..HostConfig::default() };
        let error = resolve(&Config::default(), &host, Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "Duplicate mount point: /x");
    }

    #[test]
    fn an_images_volume_gives_way_to_the_users_mount() {
        let config = Config {
            volumes: Some([("/data".to_owned(), Default::default()), ("/x".to_owned(), Default::default())].into()),
            ..Config::default()
        };
        let host = HostConfig { binds: Some(vec!["/a:/x".into()]), ..HostConfig::default() };
        let mounts = resolve(&config, &host, Vec::new()).unwrap();
        let kinds: Vec<_> = mounts.iter().map(|mount| (mount.destination.as_str(), mount.anonymous)).collect();
        assert_eq!(kinds, [("/x", false), ("/data", true)]);
    }

    #[test]
    fn volumes_from_has_a_mode() {
        assert_eq!(parse_volumes_from("web:ro").unwrap(), ("web", true));
        assert_eq!(parse_volumes_from("web").unwrap(), ("web", false));
        assert!(parse_volumes_from("web:x").is_err());
    }
}
