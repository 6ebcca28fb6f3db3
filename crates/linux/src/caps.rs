//! Capabilities by name and number, and the set a container gets from docker's flags.

use rorqual_error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Names by number, without `CAP_` (capability.h of Linux 6.x).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities, bit N for number N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const NONE: Self = Self(0);
    /// Every capability we have a name for.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);
    /// The 14 a container holds unless asked otherwise, as Docker's.
    pub const CONTAINER: Self = Self(
        1 << 0
            | 1 << 1
            | 1 << 3
            | 1 << 4
            | 1 << 5
            | 1 << 6
            | 1 << 7
            | 1 << 8
            | 1 << 10
            | 1 << 13
            | 1 << 18
            | 1 << 27
            | 1 << 29
            | 1 << 31,
    );

    /// The set of these names, with or without `CAP_`, in any case; an unknown name is an error.
    pub fn from_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self> {
        names.into_iter().try_fold(Self::NONE, |set, name| {
            let bit = number(name.as_ref()).ok_or_else(|| unknown(name.as_ref()))?;
            Ok(Self(set.0 | 1 << bit))
        })
    }

    /// The names, `CAP_CHOWN` first.
    pub fn names(self) -> Vec<String> {
        NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| format!("CAP_{name}"))
            .collect()
    }

    /// Whether the capability of this number is in the set.
    pub fn has(self, bit: u8) -> bool {
        bit < 64 && self.0 >> bit & 1 == 1
    }

    /// Whether the named capability (`SYS_ADMIN`) is in the set; false for an unknown name.
    pub fn has_name(self, name: &str) -> bool {
        number(name).is_some_and(|bit| self.has(bit))
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What `--cap-add`, `--cap-drop` and `--privileged` make of the default set. `ALL` in `add` starts from `available`
    /// and drops; `ALL` in `drop` starts from nothing and adds; a name in both lists is added, as docker does.
    pub fn select(add: &[String], drop: &[String], privileged: bool, available: Self) -> Result<Self> {
        let (add_all, add) = parse_list(add)?;
        let (drop_all, drop) = parse_list(drop)?;
        Ok(match (privileged, add_all, drop_all) {
            (true, ..) => available,
            (false, true, _) => available.without(drop),
            (false, false, true) => add,
            (false, false, false) => Self::CONTAINER.without(drop).union(add),
        })
    }
}

/// The number of a capability by name, with or without `CAP_`, in any case.
pub fn number(name: &str) -> Option<u8> {
    let name = strip_prefix(name);
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)).map(|index| index as u8)
}

/// The name of a number with `CAP_`.
pub fn name(bit: u8) -> Option<String> {
    NAMES.get(usize::from(bit)).map(|name| format!("CAP_{name}"))
}

/// The capabilities this process could still hand to a child (its bounding set).
pub fn available() -> CapSet {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.map_or(CapSet::ALL, CapSet).intersection(CapSet::ALL)
}

fn strip_prefix(name: &str) -> &str {
    match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
        _ => name,
    }
}

fn parse_list(names: &[String]) -> Result<(bool, CapSet)> {
    let is_all = |name: &&String| strip_prefix(name.trim()).eq_ignore_ascii_case("ALL");
    let named = names.iter().filter(|name| !is_all(name)).map(|name| name.trim());
    Ok((names.iter().any(|name| is_all(&name)), CapSet::from_names(named)?))
}

fn unknown(name: &str) -> Error {
    let upper: String = name.chars().take(128).collect::<String>().to_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    Error::invalid(format!("unknown capability: {full:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    fn select(add: &str, drop: &str) -> CapSet {
        CapSet::select(&list(add), &list(drop), false, CapSet::ALL).unwrap()
    }

    #[test]
    fn the_default_is_dockers_14() {
        let names = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE \
                     SYS_CHROOT KILL AUDIT_WRITE";
        assert_eq!(CapSet::CONTAINER, CapSet::from_names(names.split_whitespace()).unwrap());
        assert_eq!(CapSet::CONTAINER.0, 0xa80425fb);
        assert_eq!(CapSet::CONTAINER.names().len(), 14);
    }

    #[test]
    fn added_and_dropped() {
        assert_eq!(select("", ""), CapSet::CONTAINER);
        assert_eq!(select("cap_sys_admin", "chown").0, CapSet::CONTAINER.0 & !1 | 1 << 21);
        assert_eq!(select("NET_RAW", "NET_RAW"), CapSet::CONTAINER);
        assert_eq!(select("ALL", "CAP_CHOWN"), CapSet(CapSet::ALL.0 & !1));
        assert_eq!(select("KILL", "all"), CapSet(1 << 5));
        assert_eq!(select("ALL", "ALL"), CapSet::ALL);
        let error = CapSet::select(&list("BOGUS"), &[], false, CapSet::ALL).unwrap_err();
        assert_eq!(error.to_string(), "unknown capability: \"CAP_BOGUS\"");
    }

    #[test]
    fn names_and_numbers_agree() {
        for bit in 0..41 {
            assert_eq!(number(&name(bit).unwrap()), Some(bit));
        }
        assert_eq!(name(41), None);
        assert_eq!(number("BPF"), Some(39));
        assert!(CapSet::ALL.has_name("CAP_CHECKPOINT_RESTORE"));
        assert!(!available().has(63));
    }
}
