//! The mounts of a container, in the order they are made.

use super::{Ipc, NetworkFiles, SpecInput, defaults};
use rorqual_api_types::mount::TmpfsOptions;
use rorqual_error::{Error, Result};
use rorqual_oci::runtime as oci;
use std::path::PathBuf;

/// A mount the user asked for, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// A file or directory of the host, or a volume.
    Bind(Bind),
    /// Memory.
    Tmpfs {
        /// Where, inside.
        target: String,
        /// From [`tmpfs_options`] or [`tmpfs_mount_options`].
        options: Vec<String>,
    },
}

/// A bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// What, on the host.
    pub source: PathBuf,
    /// Where, inside.
    pub target: String,
    /// Whether it cannot be written.
    pub readonly: bool,
    /// Whether submounts stay writable all the same.
    pub readonly_non_recursive: bool,
    /// Whether submounts stay out.
    pub non_recursive: bool,
    /// `[r]private`, `[r]shared`, `[r]slave`; `None` is `rprivate`.
    pub propagation: Option<String>,
    /// The type of a file system that cannot be idmapped, where the source is on one ([`super::userns::is_unmappable`]).
    pub unmappable: Option<String>,
}

impl Mount {
    /// Where, inside.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind(bind) => &bind.target,
            Self::Tmpfs { target, .. } => target,
        }
    }

    /// The propagation asked for.
    pub fn propagation(&self) -> Option<&str> {
        match self {
            Self::Bind(bind) => bind.propagation.as_deref(),
            Self::Tmpfs { .. } => None,
        }
    }

    fn document(&self, recursive_readonly: bool) -> oci::Mount {
        match self {
            Self::Bind(bind) => bind.document(recursive_readonly),
            Self::Tmpfs { target, options } => {
                let mut mount = defaults::mount(target, "tmpfs", "tmpfs", &[]);
                mount.options.clone_from(options);
                mount
            }
        }
    }
}

impl Bind {
    fn document(&self, recursive_readonly: bool) -> oci::Mount {
        let mut options = vec![if self.non_recursive { "bind" } else { "rbind" }];
        if self.readonly {
            let deep = recursive_readonly && !self.non_recursive && !self.readonly_non_recursive;
            options.push(if deep { "rro" } else { "ro" });
        }
        options.push(self.propagation.as_deref().unwrap_or("rprivate"));
        defaults::mount(&self.target, "bind", &self.source.display().to_string(), &options)
    }
}

/// The default mounts that no mount of the user's replaces, `/dev/shm`, the user's by depth, then the files of `/etc`.
pub(super) fn all(input: &SpecInput<'_>) -> Result<Vec<oci::Mount>> {
    let mut user: Vec<&Mount> = input.mounts.iter().collect();
    // Stable, so that of two at the same depth the earlier is made first, as docker does.
    user.sort_by_key(|mount| super::working_dir(mount.target()).matches('/').count());
    if let Some(bad) = user.iter().find(|mount| super::working_dir(mount.target()) == "/") {
        return Err(Error::invalid(format!("invalid mount target {:?}: destination can't be '/'", bad.target())));
    }
    let taken = |path: &str| input.mounts.iter().any(|mount| super::working_dir(mount.target()) == path);
    let mut mounts = defaults::mounts();
    mounts.extend(shm(input));
    mounts.retain(|mount| {
        let below_dev = mount.destination.starts_with("/dev/") && taken("/dev");
        !below_dev && !taken(&mount.destination)
    });
    if input.host_config.privileged {
        let kernel = |mount: &&mut oci::Mount| ["sysfs", "cgroup"].contains(&mount.kind.as_str());
        mounts.iter_mut().filter(kernel).for_each(|mount| mount.options.retain(|option| option != "ro"));
    }
    mounts.extend(user.iter().map(|mount| mount.document(input.machine.recursive_readonly)));
    mounts.extend(files(&input.files, input.host_config.readonly_rootfs).filter(|mount| !taken(&mount.destination)));
    Ok(mounts)
}

fn shm(input: &SpecInput<'_>) -> Option<oci::Mount> {
    let bind = |path: &str| defaults::mount("/dev/shm", "bind", path, &["rbind", "rprivate"]);
    match &input.ipc {
        Ipc::Private => {
            let bytes = match input.host_config.shm_size {
                0 => defaults::SHM_BYTES,
                bytes => bytes,
            };
            let size = format!("size={bytes}");
            Some(defaults::mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]))
        }
        Ipc::None => None,
        Ipc::Host => Some(bind("/dev/shm")),
        Ipc::Shareable(path) => Some(bind(&path.display().to_string())),
        Ipc::Join(_, path) => path.as_ref().map(|path| bind(&path.display().to_string())),
    }
}

fn files(files: &NetworkFiles, readonly: bool) -> impl Iterator<Item = oci::Mount> {
    let list = [
        ("/etc/resolv.conf", files.resolv_conf.clone()),
        ("/etc/hostname", files.hostname.clone()),
        ("/etc/hosts", files.hosts.clone()),
    ];
    list.into_iter().filter_map(move |(target, source)| {
        let mut mount = defaults::mount(target, "bind", &source?.display().to_string(), &["rbind", "rprivate"]);
        if readonly {
            mount.options.push("ro".to_owned());
        }
        Some(mount)
    })
}

/// The propagation the root needs for the mounts in it.
pub(super) fn root_propagation(mounts: &[Mount]) -> String {
    let any = |names: [&str; 2]| mounts.iter().filter_map(Mount::propagation).any(|found| names.contains(&found));
    if any(["shared", "rshared"]) {
        "shared".to_owned()
    } else if any(["slave", "rslave"]) {
        "rslave".to_owned()
    } else {
        String::new()
    }
}

/// Whether the source of a bind may have this propagation, by the text of `/proc/self/mountinfo`; docker's messages.
pub fn check_propagation(mountinfo: &str, source: &str, propagation: &str) -> Result<()> {
    let wanted: &[&str] = match propagation {
        "shared" | "rshared" => &["shared:"],
        "slave" | "rslave" => &["shared:", "master:"],
        _ => return Ok(()),
    };
    let mut best: Option<(&str, &str)> = None;
    for line in mountinfo.lines() {
        let Some((fields, _)) = line.split_once(" - ") else { continue };
        let mut words = fields.splitn(7, ' ').skip(4);
        let (Some(point), optional) = (words.next(), words.nth(1).unwrap_or_default()) else { continue };
        let covers =
            point == "/" || source == point || source.strip_prefix(point).is_some_and(|rest| rest.starts_with('/'));
        // The later of two mounts on one point covers the earlier.
        if covers && best.is_none_or(|(known, _)| point.len() >= known.len()) {
            best = Some((point, optional));
        }
    }
    let (point, optional) = best.unwrap_or(("/", ""));
    if optional.split(' ').any(|word| wanted.iter().any(|prefix| word.starts_with(prefix))) {
        return Ok(());
    }
    let kind = if wanted.len() == 1 { "a shared mount" } else { "a shared or slave mount" };
    Err(Error::invalid(format!("path {source} is mounted on {point} but it is not {kind}")))
}

/// What a tmpfs has before the user's options.
const TMPFS: [&str; 4] = ["noexec", "nosuid", "nodev", "rprivate"];

/// Options that replace each other.
const GROUPS: [&[&str]; 13] = [
    &["ro", "rw"],
    &["suid", "nosuid"],
    &["dev", "nodev"],
    &["exec", "noexec"],
    &["sync", "async"],
    &["dirsync"],
    &["mand", "nomand"],
    &["atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime"],
    &["diratime", "nodiratime"],
    &["bind", "rbind"],
    &["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"],
    &["remount"],
    &["defaults"],
];

/// Options with a value.
const VALUES: [&str; 8] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];

/// The options of `--tmpfs PATH:OPTIONS`: docker's, each replaced by a later one of its kind.
pub fn tmpfs_options(text: &str) -> Result<Vec<String>> {
    merge_tmpfs(text.split(',').filter(|option| !option.is_empty()))
}

fn merge_tmpfs<'a>(given: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let mut merged: Vec<(&str, &str)> = Vec::new();
    for option in TMPFS.into_iter().chain(given) {
        let group = group(option).ok_or_else(|| {
            let shown: String = option.chars().take(128).collect();
            Error::invalid(format!("invalid tmpfs option {shown:?}"))
        })?;
        merged.retain(|(other, _)| *other != group);
        merged.push((group, option));
    }
    Ok(merged.into_iter().map(|(_, option)| option).filter(|option| *option != "defaults").map(str::to_owned).collect())
}

/// A name for all options that replace this one; `None` when it is no option of a tmpfs.
fn group(option: &str) -> Option<&'static str> {
    if let Some((name, _)) = option.split_once('=') {
        return VALUES.iter().find(|known| **known == name).copied();
    }
    GROUPS.iter().find(|group| group.contains(&option)).map(|group| group[0])
}

/// The options of `--mount type=tmpfs`.
pub fn tmpfs_mount_options(options: Option<&TmpfsOptions>, readonly: bool) -> Result<Vec<String>> {
    let mut given: Vec<String> = Vec::new();
    if readonly {
        given.push("ro".to_owned());
    }
    if let Some(options) = options {
        if options.mode != 0 {
            given.push(format!("mode={:o}", options.mode));
        }
        match options.size_bytes {
            0 => {}
            size if size < 0 => return Err(Error::invalid("invalid tmpfs size: must not be negative")),
            size => given.push(format!("size={}", short_size(size))),
        }
        for option in options.options.iter().flatten() {
            match option.as_slice() {
                [name] => given.push(name.clone()),
                [name, value] => given.push(format!("{name}={value}")),
                _ => return Err(Error::invalid("invalid tmpfs option array length, must be 1 or 2")),
            }
        }
    }
    merge_tmpfs(given.iter().map(String::as_str))
}

/// `4k` for 4096, as docker writes it.
fn short_size(size: i64) -> String {
    let scales = [(30, "g"), (20, "m"), (10, "k")];
    let fits = |scale: &&(u32, &str)| size % (1 << scale.0) == 0;
    scales.iter().find(fits).map_or(size.to_string(), |(bits, unit)| format!("{}{unit}", size >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tmpfs_options_replace_each_other() {
        for (text, options) in [
            ("", "noexec,nosuid,nodev,rprivate"),
            ("size=1m,mode=700", "noexec,nosuid,nodev,rprivate,size=1m,mode=700"),
            ("exec,rw,size=1m,size=2m", "nosuid,nodev,rprivate,exec,rw,size=2m"),
        ] {
            assert_eq!(tmpfs_options(text).unwrap().join(","), options, "{text}");
        }
        assert_eq!(tmpfs_options("bogus").unwrap_err().to_string(), "invalid tmpfs option \"bogus\"");
        assert!(tmpfs_options("bogus=1").is_err());
        let long = TmpfsOptions { size_bytes: 4096, mode: 0o700, options: Some(vec![vec!["exec".into()]]) };
        let options = tmpfs_mount_options(Some(&long), true).unwrap();
        assert_eq!(options.join(","), "nosuid,nodev,rprivate,ro,mode=700,size=4k,exec");
    }

    #[test]
    fn propagation_needs_a_source_that_has_it() {
        let mounts = "23 1 254:0 / / rw - ext4 /dev/root rw\n\
                      24 23 0:5 / /shared rw shared:7 - tmpfs none rw\n\
                      25 23 0:6 / /slave rw,nosuid master:3 - tmpfs none rw\n";
        for (source, propagation, message) in [
            ("/tmp", "rprivate", ""),
            ("/tmp", "rslave", "path /tmp is mounted on / but it is not a shared or slave mount"),
            ("/tmp", "rshared", "path /tmp is mounted on / but it is not a shared mount"),
            ("/shared/x", "shared", ""),
            ("/sharedx", "shared", "path /sharedx is mounted on / but it is not a shared mount"),
            ("/slave", "slave", ""),
            ("/slave", "shared", "path /slave is mounted on /slave but it is not a shared mount"),
        ] {
            let result = check_propagation(mounts, source, propagation);
            assert_eq!(result.map_or_else(|error| error.to_string(), |()| String::new()), message);
        }
    }
}
