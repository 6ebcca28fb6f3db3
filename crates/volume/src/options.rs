//! `DriverOpts` of the local driver: `type`, `o` and `device`, as of mount(8).

use rorqual_error::{Error, Result};
use rustix::mount::{MountFlags, UnmountFlags};
use std::{collections::BTreeMap, ffi::CString, net::ToSocketAddrs, path::Path};

/// Refuses options the driver does not have, and combinations that cannot be mounted, in dockerd's words.
pub(crate) fn validate(options: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in options {
        match name.as_str() {
            "type" | "o" | "device" => {}
            "size" => {
                rorqual_types::parse_bytes(value)?;
                return Err(Error::invalid("quota size requested but no quota support"));
            }
            _ => return Err(Error::invalid(format!("invalid option: \"{}\"", shown(name)))),
        }
    }
    let given = |name: &str| options.get(name).is_some_and(|value| !value.is_empty());
    let needs: [(&str, &[&str]); 3] = [("o", &["device", "type"]), ("type", &["device"]), ("device", &["type"])];
    for (name, others) in needs {
        if let (true, Some(missing)) = (given(name), others.iter().find(|other| !given(other))) {
            return Err(Error::invalid(format!("missing required option: \"{missing}\"")));
        }
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(256).collect()
}

/// Whether the options say what to mount.
pub(crate) fn wants_mount(options: &BTreeMap<String, String>) -> bool {
    options.get("device").is_some_and(|device| !device.is_empty())
}

/// `o`, split into what mount(2) takes as bits and what the file system reads.
fn parse_flags(text: &str) -> (MountFlags, Vec<&str>) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (bit, set) = match word {
            "defaults" => continue,
            "ro" => (MountFlags::RDONLY, true),
            "rw" => (MountFlags::RDONLY, false),
            "nosuid" => (MountFlags::NOSUID, true),
            "suid" => (MountFlags::NOSUID, false),
            "nodev" => (MountFlags::NODEV, true),
            "dev" => (MountFlags::NODEV, false),
            "noexec" => (MountFlags::NOEXEC, true),
            "exec" => (MountFlags::NOEXEC, false),
            "sync" => (MountFlags::SYNCHRONOUS, true),
            "async" => (MountFlags::SYNCHRONOUS, false),
            "dirsync" => (MountFlags::DIRSYNC, true),
            "noatime" => (MountFlags::NOATIME, true),
            "atime" => (MountFlags::NOATIME, false),
            "nodiratime" => (MountFlags::NODIRATIME, true),
            "relatime" => (MountFlags::RELATIME, true),
            "strictatime" => (MountFlags::STRICTATIME, true),
            "mand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
            "bind" => (MountFlags::BIND, true),
            "rbind" => (MountFlags::BIND | MountFlags::REC, true),
            other => {
                data.push(other);
                continue;
            }
        };
        flags.set(bit, set);
    }
    (flags, data)
}

/// The server's name in `addr=` becomes its address, which is all the kernel's NFS and CIFS understand.
fn resolve(kind: &str, data: &[&str]) -> Result<String> {
    let network = kind.starts_with("nfs") || kind == "cifs";
    let mut words = Vec::new();
    for word in data {
        match word.strip_prefix("addr=").filter(|_| network) {
            Some(name) if name.parse::<std::net::IpAddr>().is_err() => {
                let mut found = (name, 0u16).to_socket_addrs().map_err(|error| {
                    Error::unavailable(format!("error resolving passed in network volume address: {error}"))
                })?;
                let address =
                    found.next().ok_or_else(|| Error::unavailable(format!("{} has no address", shown(name))))?;
                words.push(format!("addr={}", address.ip()));
            }
            _ => words.push((*word).to_owned()),
        }
    }
    Ok(words.join(","))
}

/// Mounts what the options say at `target`.
pub(crate) fn mount(options: &BTreeMap<String, String>, target: &Path) -> Result<()> {
    let get = |name: &str| options.get(name).map_or("", String::as_str);
    let (device, kind) = (get("device"), get("type"));
    let (flags, data) = parse_flags(get("o"));
    let data = resolve(kind, &data)?;
    let nul = || Error::invalid("a mount option holds a NUL");
    let given = CString::new(data.as_bytes()).map_err(|_| nul())?;
    let read_only_bind = flags.contains(MountFlags::BIND | MountFlags::RDONLY);
    let outcome = rustix::mount::mount(device, target, kind, flags, (!data.is_empty()).then_some(given.as_c_str()));
    // A bind takes its other flags from a second call.
    let outcome =
        outcome.and_then(|()| if read_only_bind { rustix::mount::mount_remount(target, flags, c"") } else { Ok(()) });
    outcome.map_err(|errno| {
        let flags = if flags.is_empty() { String::new() } else { format!(", flags: {:#x}", flags.bits()) };
        let data = if data.is_empty() { String::new() } else { format!(", data: {data}") };
        let text = std::io::Error::from(errno).to_string().to_lowercase();
        let text = text.split(" (os error").next().unwrap_or_default();
        let at = target.display();
        Error::internal(format!(
            "error while mounting volume '{at}': failed to mount local volume: mount {device}:{at}{flags}{data}: {text}"
        ))
    })
}

/// Unmounts `target`; a busy one goes when its last user does.
pub(crate) fn unmount(target: &Path) -> rustix::io::Result<()> {
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)]) -> String {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        validate(&options).map_or_else(|error| error.to_string(), |()| "fine".into())
    }

    #[test]
    fn options_are_checked_in_dockers_words() {
        assert_eq!(check(&[]), "fine");
        assert_eq!(check(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")]), "fine");
        assert_eq!(check(&[("foo", "bar")]), "invalid option: \"foo\"");
        assert_eq!(check(&[("type", "tmpfs")]), "missing required option: \"device\"");
        assert_eq!(check(&[("o", "bind")]), "missing required option: \"device\"");
        assert_eq!(check(&[("device", "/x")]), "missing required option: \"type\"");
        assert_eq!(check(&[("size", "1m")]), "quota size requested but no quota support");
    }

    #[test]
    fn words_the_kernel_has_bits_for_are_not_passed_on() {
        let (flags, data) = parse_flags("ro,bind,size=1m,,uid=1000,rw");
        assert_eq!((flags, data), (MountFlags::BIND, vec!["size=1m", "uid=1000"]));
    }

    #[test]
    fn an_address_needs_no_resolver() {
        assert_eq!(resolve("nfs", &["addr=1.2.3.4", "rw"]).unwrap(), "addr=1.2.3.4,rw");
    }
}
