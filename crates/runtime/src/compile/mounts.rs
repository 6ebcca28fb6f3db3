//! Mount entries: fstab's words to kernel bits.

use super::id_map;
use crate::plan::{BindIds, Mount, MountAttributes, MountKind};
use rorqual_error::{Error, Result};
use rorqual_linux::mount::{attr, propagation as bits};
use rorqual_oci::runtime as oci;

/// Options that set or clear one attribute, without `r` for the mounts below.
const ATTRIBUTES: [(&str, u64, u64); 16] = [
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("noatime", attr::NOATIME, attr::ATIME),
    ("relatime", 0, attr::ATIME),
    ("strictatime", attr::STRICTATIME, attr::ATIME),
    ("atime", 0, attr::ATIME),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW),
];

/// Words of fstab that mean nothing here: the default, or what the kernel decides.
const IGNORED: [&str; 15] = [
    "defaults",
    "async",
    "mand",
    "nomand",
    "norelatime",
    "nostrictatime",
    "silent",
    "loud",
    "iversion",
    "noiversion",
    "acl",
    "noacl",
    "remount",
    "rnorelatime",
    "rnostrictatime",
];

/// The mounts of a document, in its order.
pub(super) fn compile(mounts: &[oci::Mount], ours: bool) -> Result<Vec<Mount>> {
    mounts.iter().map(|mount| one(mount, ours)).collect()
}

/// Bits of a propagation word, and whether it is for the mounts below too.
pub(super) fn propagation(word: &str) -> Option<(u64, bool)> {
    let kind = |word: &str| match word {
        "private" => Some(bits::PRIVATE),
        "slave" => Some(bits::SLAVE),
        "shared" => Some(bits::SHARED),
        "unbindable" => Some(bits::UNBINDABLE),
        _ => None,
    };
    kind(word).map(|found| (found, false)).or_else(|| Some((kind(word.strip_prefix('r')?)?, true)))
}

#[derive(Default)]
struct Words {
    attributes: MountAttributes,
    bind: bool,
    recursive: bool,
    copy_up: bool,
    idmap: Option<bool>,
    data: Vec<(String, String)>,
}

fn one(mount: &oci::Mount, ours: bool) -> Result<Mount> {
    if mount.destination.is_empty() {
        return Err(Error::invalid("a mount has no destination"));
    }
    let words = read(&mount.options);
    let target =
        if mount.destination.starts_with('/') { mount.destination.clone() } else { format!("/{}", mount.destination) };
    let kind = match mount.kind.as_str() {
        _ if words.bind => bind(mount, &words, ours)?,
        "bind" | "none" | "" => bind(mount, &words, ours)?,
        "proc" => MountKind::Proc { options: words.data },
        "cgroup" | "cgroup2" => MountKind::Cgroup,
        "tmpfs" if target.trim_end_matches('/') == "/dev" => MountKind::Dev { options: words.data },
        kind => MountKind::Filesystem {
            kind: kind.to_owned(),
            source: if mount.source.is_empty() { kind.to_owned() } else { mount.source.clone() },
            options: words.data,
            copy_up: words.copy_up && kind == "tmpfs",
        },
    };
    Ok(Mount { target, kind, attributes: words.attributes })
}

fn bind(mount: &oci::Mount, words: &Words, ours: bool) -> Result<MountKind> {
    let ids = match (words.idmap, id_map(&mount.uid_mappings, &mount.gid_mappings)) {
        (recursive, Some(map)) => BindIds::Mapped { map, recursive: recursive == Some(true) },
        (Some(_), None) => BindIds::Container,
        (None, None) if ours => BindIds::Container,
        (None, None) => BindIds::Host,
    };
    Ok(MountKind::Bind { source: mount.source.clone().into(), recursive: words.recursive, ids })
}

fn read(options: &[String]) -> Words {
    let mut words = Words::default();
    for option in options {
        let word = option.as_str();
        let attribute = |word: &str| ATTRIBUTES.iter().find(|(name, ..)| *name == word);
        let all = &mut words.attributes;
        if let Some((_, set, clear)) = attribute(word) {
            apply(&mut all.set, &mut all.clear, *set, *clear);
        } else if let Some((_, set, clear)) = word.strip_prefix('r').and_then(attribute) {
            apply(&mut all.set_recursive, &mut all.clear_recursive, *set, *clear);
        } else if let Some((bits, recursive)) = propagation(word) {
            if recursive { all.propagation_recursive = bits } else { all.propagation = bits }
        } else {
            match word {
                "bind" => words.bind = true,
                "rbind" => (words.bind, words.recursive) = (true, true),
                "tmpcopyup" => words.copy_up = true,
                "idmap" => words.idmap = Some(false),
                "ridmap" => words.idmap = Some(true),
                word if IGNORED.contains(&word) || word.is_empty() => {}
                word => {
                    let (key, value) = word.split_once('=').unwrap_or((word, ""));
                    words.data.push((key.to_owned(), value.to_owned()));
                }
            }
        }
    }
    words
}

/// A later word undoes an earlier one.
fn apply(set: &mut u64, clear: &mut u64, more: u64, less: u64) {
    *set = *set & !less | more;
    *clear = *clear & !more | less;
}
