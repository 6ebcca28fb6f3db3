//! Which user namespace a container runs in: its own by default, the host's when it asks for what only works there.

use super::{Mount, validate};
use crate::config::UserNamespaces;
use rorqual_api_types::container::HostConfig;
use rorqual_error::Result;
use rorqual_linux::caps::CapSet;

/// Where a container's ids are on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The host's id of user 0.
    pub uid: u32,
    /// The host's id of group 0.
    pub gid: u32,
    /// How many.
    pub size: u32,
}

/// The user namespace a container is started in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserNamespace {
    /// The host's.
    Host,
    /// One of its own over this range.
    Own(IdRange),
    /// That of a container it joins, by a path the shim can open; and its range.
    Join(String, IdRange),
}

impl UserNamespace {
    /// Where its ids are; `None` for the host's.
    pub fn range(&self) -> Option<IdRange> {
        match self {
            Self::Host => None,
            Self::Own(range) | Self::Join(_, range) => Some(*range),
        }
    }
}

/// What a container is to get, before a range is leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The host's namespace.
    Host,
    /// A namespace of its own.
    Own,
    /// The namespace and range of the container with this id or name.
    Join(String),
}

/// [`Choice`], and what the user should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The namespace.
    pub choice: Choice,
    /// For the answer to create.
    pub warnings: Vec<String>,
}

/// What the host can do.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The daemon's setting.
    pub daemon: &'a UserNamespaces,
    /// Whether the kernel has user namespaces and idmapped mounts.
    pub supported: bool,
    /// Whether a runtime of others makes the container: those cannot mount our layers in a namespace.
    pub external_runtime: bool,
}

/// Capabilities the kernel asks for in the host's namespace only.
const HOST_ONLY: [&str; 9] =
    ["SYS_TIME", "SYS_MODULE", "SYS_RAWIO", "SYS_BOOT", "IPC_LOCK", "SYS_NICE", "SYS_RESOURCE", "SYSLOG", "MKNOD"];

/// As [`HOST_ONLY`], but rare: adding one does not give up the namespace, it only warns.
const WITHOUT_EFFECT: [&str; 10] = [
    "LINUX_IMMUTABLE",
    "SYS_PACCT",
    "SYS_TTY_CONFIG",
    "AUDIT_CONTROL",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "PERFMON",
    "BPF",
];

/// File systems whose mounts cannot be idmapped on common kernels.
const UNMAPPABLE: [&str; 9] = ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse", "fuseblk", "vboxsf"];

/// Whether a bind of this file system type (`/proc/self/mountinfo`) cannot be idmapped as a whole. Proc, sysfs and the like
/// are bound plain and are not meant here.
pub fn is_unmappable(kind: &str) -> bool {
    UNMAPPABLE.contains(&kind) || kind.starts_with("fuse.")
}

/// Decides. What the user asked for by name (`userns=host`, privileged, a host namespace) is done without words; what only
/// follows from something else is told.
pub fn decide(host_config: &HostConfig, mounts: &[Mount], facts: Facts<'_>) -> Result<Decision> {
    let quiet = |choice| Ok(Decision { choice, warnings: Vec::new() });
    let host_namespaces = [&host_config.pid_mode, &host_config.ipc_mode, &host_config.network_mode];
    let asked = host_config.userns_mode == "host"
        || host_config.privileged
        || host_namespaces.iter().any(|mode| *mode == "host")
        || *facts.daemon == UserNamespaces::Host;
    if asked {
        return quiet(Choice::Host);
    }
    let joined = host_namespaces.iter().find_map(|mode| mode.strip_prefix("container:"));
    if let Some(other) = joined {
        return quiet(Choice::Join(other.to_owned()));
    }
    if let Some(reason) = implied(host_config, mounts, facts)? {
        let warning = format!("The container runs in the host's user namespace: {reason}.");
        return Ok(Decision { choice: Choice::Host, warnings: vec![warning] });
    }
    let added = added(host_config)?;
    let idle: Vec<String> = CapSet::from_names(WITHOUT_EFFECT)?.intersection(added).names();
    let warnings = match idle.is_empty() {
        true => Vec::new(),
        false => vec![format!(
            "{} has no effect in the container's own user namespace; --userns=host gives it up.",
            idle.join(", ")
        )],
    };
    Ok(Decision { choice: Choice::Own, warnings })
}

/// Why the host's namespace is needed, if it is.
fn implied(host_config: &HostConfig, mounts: &[Mount], facts: Facts<'_>) -> Result<Option<String>> {
    if !facts.supported {
        return Ok(Some("this kernel has no idmapped mounts".to_owned()));
    }
    if facts.external_runtime {
        return Ok(Some(format!("runtime {} cannot use idmapped layers", host_config.runtime)));
    }
    let needed = CapSet::from_names(HOST_ONLY)?.intersection(added(host_config)?);
    if let Some(name) = needed.names().first() {
        return Ok(Some(format!("{name} only counts there")));
    }
    let shared = |mount: &&Mount| mount.propagation() == Some("rshared") || mount.propagation() == Some("shared");
    if let Some(mount) = mounts.iter().find(shared) {
        return Ok(Some(format!("{} shares its mounts with the host", mount.target())));
    }
    let unmappable = mounts.iter().find_map(|mount| match mount {
        Mount::Bind(bind) => bind.unmappable.as_ref().map(|kind| (bind, kind)),
        Mount::Tmpfs { .. } => None,
    });
    Ok(unmappable.map(|(bind, kind)| format!("{} is on {kind}, which cannot be idmapped", bind.target)))
}

/// What the user added; everything for `ALL`, without what was dropped again.
fn added(host_config: &HostConfig) -> Result<CapSet> {
    let add = host_config.cap_add.as_deref().unwrap_or_default();
    let named =
        |name: &&String| !name.trim().eq_ignore_ascii_case("ALL") && !name.trim().eq_ignore_ascii_case("CAP_ALL");
    if add.iter().all(|name| named(&name)) {
        return validate::named("CapAdd", add);
    }
    validate::capabilities(host_config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Bind;

    fn facts(daemon: &UserNamespaces) -> Facts<'_> {
        Facts { daemon, supported: true, external_runtime: false }
    }

    fn check(host_config: &HostConfig, mounts: &[Mount], choice: Choice, warning: &str) {
        let decision = decide(host_config, mounts, facts(&UserNamespaces::PerContainer)).unwrap();
        assert_eq!(decision.choice, choice, "{host_config:?}");
        assert_eq!(decision.warnings.join(" "), warning);
    }

    fn bind(propagation: Option<&str>, unmappable: Option<&str>) -> Mount {
        Mount::Bind(Bind {
            source: "/s".into(),
            target: "/t".into(),
            propagation: propagation.map(str::to_owned),
            unmappable: unmappable.map(str::to_owned),
            ..Bind::default()
        })
    }

    #[test]
    fn a_plain_container_has_its_own() {
        check(&HostConfig::default(), &[bind(Some("rslave"), None)], Choice::Own, "");
        let caps = HostConfig { cap_add: Some(vec!["SYS_ADMIN".into(), "net_admin".into()]), ..HostConfig::default() };
        check(&caps, &[], Choice::Own, "");
    }

    #[test]
    fn asked_for_by_name_is_not_told() {
        let default = HostConfig::default;
        for host_config in [
            HostConfig { userns_mode: "host".into(), ..default() },
            HostConfig { privileged: true, ..default() },
            HostConfig { pid_mode: "host".into(), ..default() },
            HostConfig { ipc_mode: "host".into(), ..default() },
            HostConfig { network_mode: "host".into(), ..default() },
        ] {
            check(&host_config, &[], Choice::Host, "");
        }
    }

    #[test]
    fn what_follows_from_something_else_is_told() {
        let caps = |names: &[&str]| HostConfig {
            cap_add: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..HostConfig::default()
        };
        let told = "The container runs in the host's user namespace: ";
        check(&caps(&["CAP_IPC_LOCK"]), &[], Choice::Host, &format!("{told}CAP_IPC_LOCK only counts there."));
        check(&caps(&["mknod"]), &[], Choice::Host, &format!("{told}CAP_MKNOD only counts there."));
        check(&caps(&["ALL"]), &[], Choice::Host, &format!("{told}CAP_IPC_LOCK only counts there."));
        check(
            &HostConfig::default(),
            &[bind(Some("rshared"), None)],
            Choice::Host,
            &format!("{told}/t shares its mounts with the host."),
        );
        check(
            &HostConfig::default(),
            &[bind(None, Some("nfs4"))],
            Choice::Host,
            &format!("{told}/t is on nfs4, which cannot be idmapped."),
        );
        check(
            &caps(&["BPF"]),
            &[],
            Choice::Own,
            "CAP_BPF has no effect in the container's own user namespace; --userns=host gives it up.",
        );
    }

    #[test]
    fn joining_a_namespace_joins_its_range() {
        let host_config = HostConfig { network_mode: "container:abc".into(), ..HostConfig::default() };
        check(&host_config, &[], Choice::Join("abc".into()), "");
        let host_config =
            HostConfig { userns_mode: "host".into(), pid_mode: "container:abc".into(), ..HostConfig::default() };
        check(&host_config, &[], Choice::Host, "");
    }

    #[test]
    fn the_daemon_may_have_turned_it_off() {
        let decision = decide(&HostConfig::default(), &[], facts(&UserNamespaces::Host)).unwrap();
        assert_eq!(decision.choice, Choice::Host);
    }

    #[test]
    fn file_systems() {
        assert!(is_unmappable("nfs4") && is_unmappable("fuse.sshfs"));
        assert!(!is_unmappable("ext4") && !is_unmappable("proc") && !is_unmappable("overlay"));
    }
}
