//! Devices of the host for a container. Looks at the host's `/dev`; everything else here is pure.

use rorqual_api_types::container::{DeviceMapping, HostConfig, Resources, ThrottleDevice};
use rorqual_error::{Error, Result};
use rorqual_oci::runtime::{self as oci, BlockIo, DeviceRule};
use rustix::fs::{major, minor};
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// A directory of devices with more entries than this is refused.
const DIRECTORY_MAX: usize = 4096;

/// A device node to make, and how it may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, inside.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner on the host.
    pub uid: u32,
    /// Group on the host.
    pub gid: u32,
    /// Some of `rwm`.
    pub access: String,
}

impl Device {
    /// The node as the document has it.
    pub fn node(&self) -> oci::Device {
        oci::Device {
            path: self.path.clone(),
            kind: self.kind.to_string(),
            major: i64::from(self.major),
            minor: i64::from(self.minor),
            file_mode: Some(self.mode),
            uid: Some(self.uid),
            gid: Some(self.gid),
        }
    }

    /// The rule that lets it be opened.
    pub fn rule(&self) -> DeviceRule {
        DeviceRule {
            allow: true,
            kind: self.kind.to_string(),
            major: Some(i64::from(self.major)),
            minor: Some(i64::from(self.minor)),
            access: self.access.clone(),
        }
    }

    fn read(host: &Path, path: String, access: &str) -> io::Result<Option<Self>> {
        let found = fs::metadata(host)?;
        let kind = match found.file_type() {
            kind if kind.is_char_device() => 'c',
            kind if kind.is_block_device() => 'b',
            _ => return Ok(None),
        };
        let number = found.rdev();
        Ok(Some(Self {
            path,
            kind,
            major: major(number),
            minor: minor(number),
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            access: access.to_owned(),
        }))
    }
}

/// The devices of `--device`, directories expanded, and of `--privileged` all of the host's.
pub fn resolve(host_config: &HostConfig) -> Result<Vec<Device>> {
    let mappings = host_config.resources.devices.as_deref().unwrap_or_default();
    if !host_config.privileged {
        return mappings.iter().map(resolve_one).collect::<Result<Vec<_>>>().map(|lists| lists.concat());
    }
    let mut devices = all();
    for mapping in mappings.iter().filter(|mapping| mapping.path_in_container != mapping.path_on_host) {
        devices.extend(resolve_one(mapping)?);
    }
    Ok(devices)
}

fn resolve_one(mapping: &DeviceMapping) -> Result<Vec<Device>> {
    let shown: String = mapping.path_on_host.chars().take(256).collect();
    let attempt = format!("error gathering device information while adding custom device \"{shown}\"");
    let inside = if mapping.path_in_container.is_empty() { &mapping.path_on_host } else { &mapping.path_in_container };
    let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
    if !access.chars().all(|letter| "rwm".contains(letter)) || !inside.starts_with('/') {
        return Err(Error::invalid(format!("{attempt}: invalid device mapping")));
    }
    let failed = |error: io::Error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => error.to_string(),
        };
        Error::invalid(format!("{attempt}: {message}"))
    };
    let host = fs::canonicalize(&mapping.path_on_host).map_err(failed)?;
    if let Some(device) = Device::read(&host, inside.clone(), access).map_err(failed)? {
        return Ok(vec![device]);
    }
    let mut devices = Vec::new();
    if host.is_dir() {
        walk(&host, &mut |path| {
            let below = path.strip_prefix(&host).unwrap_or(path);
            let inside = Path::new(inside).join(below).display().to_string();
            devices.extend(Device::read(path, inside, access).ok().flatten());
        });
    }
    if devices.is_empty() || devices.len() > DIRECTORY_MAX {
        return Err(Error::invalid(format!("{attempt}: not a device node")));
    }
    Ok(devices)
}

/// Every device of the host's `/dev`, without what each container has of its own.
fn all() -> Vec<Device> {
    let mut devices = Vec::new();
    walk(Path::new("/dev"), &mut |path| {
        let inside = path.display().to_string();
        devices.extend(Device::read(path, inside, "rwm").ok().flatten());
    });
    devices.retain(|device| device.path != "/dev/console");
    devices
}

/// Calls `visit` with every file below that is no link, in order of names; directories of other kinds are left out.
fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    const LEFT_OUT: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(kind) = fs::symlink_metadata(&path).map(|found| found.file_type()) else { continue };
        let left_out = path.file_name().is_some_and(|name| LEFT_OUT.iter().any(|other| name == *other));
        if kind.is_dir() && !left_out {
            walk(&path, visit);
        } else if !kind.is_dir() && !kind.is_symlink() {
            visit(&path);
        }
    }
}

/// A rule of `--device-cgroup-rule`: `c 1:3 rwm`.
pub fn parse_rule(text: &str) -> Result<DeviceRule> {
    let parsed = || {
        let mut words = text.split(' ');
        let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
        let (major, minor) = numbers.split_once(':')?;
        let number = |word: &str| if word == "*" { Some(-1) } else { word.parse::<u32>().ok().map(i64::from) };
        let letters = !access.is_empty() && access.len() <= 3 && access.chars().all(|letter| "rwm".contains(letter));
        let known = ["a", "b", "c"].contains(&kind) && letters && words.next().is_none();
        known.then_some(DeviceRule {
            allow: true,
            kind: kind.to_owned(),
            major: Some(number(major)?),
            minor: Some(number(minor)?),
            access: access.to_owned(),
        })
    };
    let shown: String = text.chars().take(256).collect();
    parsed().ok_or_else(|| Error::invalid(format!("invalid device cgroup rule format: '{shown}'")))
}

/// Rates and weights by device number.
pub fn block_io(resources: &Resources) -> Result<Option<BlockIo>> {
    let weight_device = resources.blkio_weight_device.iter().flatten().map(|one| {
        let (major, minor) = block_number(&one.path)?;
        Ok(oci::WeightDevice { major, minor, weight: Some(one.weight), leaf_weight: None })
    });
    let block = BlockIo {
        weight: (resources.blkio_weight != 0).then_some(resources.blkio_weight),
        leaf_weight: None,
        weight_device: weight_device.collect::<Result<_>>()?,
        throttle_read_bps_device: throttle(&resources.blkio_device_read_bps)?,
        throttle_write_bps_device: throttle(&resources.blkio_device_write_bps)?,
        throttle_read_iops_device: throttle(&resources.blkio_device_read_iops)?,
        throttle_write_iops_device: throttle(&resources.blkio_device_write_iops)?,
    };
    Ok((block != BlockIo::default()).then_some(block))
}

fn throttle(devices: &Option<Vec<ThrottleDevice>>) -> Result<Vec<oci::ThrottleDevice>> {
    let one = |device: &ThrottleDevice| {
        let (major, minor) = block_number(&device.path)?;
        Ok(oci::ThrottleDevice { major, minor, rate: device.rate })
    };
    devices.iter().flatten().map(one).collect()
}

fn block_number(path: &str) -> Result<(i64, i64)> {
    let shown: String = path.chars().take(256).collect();
    let found = fs::metadata(path).map_err(|error| Error::invalid(format!("stat {shown}")).caused_by(error))?;
    Ok((i64::from(major(found.rdev())), i64::from(minor(found.rdev()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host: &str, inside: &str, access: &str) -> DeviceMapping {
        DeviceMapping {
            path_on_host: host.to_owned(),
            path_in_container: inside.to_owned(),
            cgroup_permissions: access.to_owned(),
        }
    }

    #[test]
    fn a_device_by_another_name() {
        let devices = resolve_one(&mapping("/dev/null", "/dev/x", "r")).unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!((devices[0].kind, devices[0].major, devices[0].minor), ('c', 1, 3));
        assert_eq!((devices[0].path.as_str(), devices[0].access.as_str()), ("/dev/x", "r"));
        assert_eq!(devices[0].rule().access, "r");
    }

    #[test]
    fn what_is_no_device_is_refused_in_dockers_words() {
        for (path, message) in [
            (
                "/dev/nope",
                "error gathering device information while adding custom device \"/dev/nope\": no such file or directory",
            ),
            (
                "/proc/self/status",
                "error gathering device information while adding custom device \"/proc/self/status\": not a device node",
            ),
        ] {
            assert_eq!(resolve_one(&mapping(path, "", "")).unwrap_err().to_string(), message);
        }
        assert!(resolve_one(&mapping("/dev/null", "/dev/x", "z")).is_err());
        assert!(resolve_one(&mapping("/dev/null", "x", "r")).is_err());
    }

    #[test]
    fn a_directory_is_its_devices() {
        let devices = resolve_one(&mapping("/dev/net", "/dev/other", "rw"));
        if Path::new("/dev/net/tun").exists() {
            assert!(devices.unwrap().iter().any(|device| device.path == "/dev/other/tun"));
        }
        assert!(all().iter().any(|device| device.path == "/dev/null"));
        assert!(all().iter().all(|device| !device.path.starts_with("/dev/pts/")));
    }

    #[test]
    fn rules() {
        let rule = parse_rule("c 42:* rmw").unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_str()), (Some(42), Some(-1), "rmw"));
        for bad in ["x", "x 1:3 r", "c 1 r", "c 1:3 q", "c 1:3 rwmr", "c 1:3 r x", "c -1:3 r"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }
}
