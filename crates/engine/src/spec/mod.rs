//! From what the user asked for to the OCI document of a container, with docker's defaults; pure.
//!
//! [`validate`] is for `create`, [`build`] for `start`. What needs the machine is looked up before and comes in as data:
//! [`Machine`], [`Device`]s, [`Mount`]s, namespaces to join. The image's user and groups are looked up by the shim.

pub mod defaults;
pub mod devices;
pub mod machine;
pub mod mounts;
pub mod resources;
pub mod security;
pub mod unsupported;
pub mod userns;
pub mod validate;

pub use devices::Device;
pub use machine::Machine;
pub use mounts::{Bind, Mount};
pub use security::{SeccompChoice, Security};
pub use userns::{IdRange, UserNamespace};
pub use validate::{normalize, validate};

use rorqual_api_types::container::{Config, HostConfig};
use rorqual_error::{Error, Result};
use rorqual_linux::caps::CapSet;
use rorqual_oci::runtime::{
    Capabilities, ConsoleSize, IdMapping, Linux, Namespace as OciNamespace, NamespaceKind, Process, Rlimit, Root,
    Seccomp, Spec, User,
};
use std::{collections::BTreeMap, path::PathBuf};

/// Everything a container's document is made of.
#[derive(Clone, Debug)]
pub struct SpecInput<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The configuration, merged with the image's.
    pub config: &'a Config,
    /// The configuration bound to the host, after [`normalize`].
    pub host_config: &'a HostConfig,
    /// The machine.
    pub machine: &'a Machine,
    /// The root as the document names it; our own shim has it from its options.
    pub root: PathBuf,
    /// The user's mounts, resolved to paths of the host.
    pub mounts: Vec<Mount>,
    /// `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts` of the container; those absent are not mounted.
    pub files: NetworkFiles,
    /// The network namespace.
    pub network: Namespace,
    /// The IPC namespace.
    pub ipc: Ipc,
    /// The PID namespace.
    pub pid: Namespace,
    /// The user namespace, as [`userns::decide`] chose it.
    pub userns: UserNamespace,
    /// The cgroup, relative to the daemon's own or absolute.
    pub cgroup_path: String,
    /// Devices to make, from [`devices::resolve`] or [`devices::all`].
    pub devices: Vec<Device>,
    /// Rates and weights of block devices, from [`devices::block_io`].
    pub block_io: Option<rorqual_oci::runtime::BlockIo>,
    /// Environment of legacy links.
    pub link_env: Vec<String>,
    /// `--default-ulimit`: soft and hard by name.
    pub default_ulimits: &'a BTreeMap<String, (i64, i64)>,
    /// `--no-new-privileges` of the daemon.
    pub no_new_privileges: bool,
    /// The filter for a runtime of others; our own gets it compiled.
    pub seccomp: Option<Seccomp>,
}

/// Files the engine keeps for a container.
#[derive(Clone, Debug, Default)]
pub struct NetworkFiles {
    /// `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// `/etc/hosts`.
    pub hosts: Option<PathBuf>,
}

/// Which namespace of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// A new one.
    #[default]
    New,
    /// The daemon's.
    Host,
    /// An existing one, as a path the shim can open.
    Join(String),
}

/// The IPC namespace and with it `/dev/shm`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ipc {
    /// Both new.
    #[default]
    Private,
    /// A new namespace without `/dev/shm`.
    None,
    /// New, with `/dev/shm` bound from a directory of the engine's so that others can join.
    Shareable(PathBuf),
    /// The daemon's.
    Host,
    /// Another container's: its namespace, and its `/dev/shm` where it has one.
    Join(String, Option<PathBuf>),
}

/// The document.
pub fn build(input: &SpecInput<'_>) -> Result<Spec> {
    let security = Security::parse(input.host_config.security_opt.as_deref().unwrap_or_default())?;
    let mut spec = Spec::new();
    let uts_private = input.host_config.uts_mode != "host";
    if uts_private {
        spec.hostname = hostname(input.config, input.id);
        spec.domainname = input.config.domainname.clone();
    }
    spec.process = Some(process(input, &security)?);
    spec.root = Some(Root { path: input.root.display().to_string(), readonly: input.host_config.readonly_rootfs });
    spec.mounts = mounts::all(input)?;
    spec.annotations = input.host_config.annotations.clone().unwrap_or_default().into_iter().collect();
    spec.linux = Some(linux(input)?);
    Ok(spec)
}

/// The host name inside: as configured, or the first twelve digits of the id.
pub fn hostname(config: &Config, id: &str) -> String {
    if config.hostname.is_empty() { id.chars().take(12).collect() } else { config.hostname.clone() }
}

fn process(input: &SpecInput<'_>, security: &Security) -> Result<Process> {
    let (config, host) = (input.config, input.host_config);
    let args: Vec<String> = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned().collect();
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("no command specified"));
    }
    let set = validate::capabilities(host)?.names();
    Ok(Process {
        terminal: config.tty,
        console_size: console_size(host.console_size).filter(|_| config.tty),
        user: User { username: user(config), ..User::default() },
        args,
        env: environment(input),
        cwd: working_dir(&config.working_dir),
        capabilities: Some(Capabilities {
            bounding: set.clone(),
            effective: set.clone(),
            permitted: set,
            ..Capabilities::default()
        }),
        rlimits: rlimits(input)?,
        no_new_privileges: security.no_new_privileges.unwrap_or(input.no_new_privileges),
        oom_score_adj: Some(host.oom_score_adj),
        ..Process::default()
    })
}

fn user(config: &Config) -> String {
    if config.user.is_empty() { "0".to_owned() } else { config.user.clone() }
}

fn console_size([height, width]: [u32; 2]) -> Option<ConsoleSize> {
    let (height, width) = (u16::try_from(height).ok()?, u16::try_from(width).ok()?);
    (height > 0 && width > 0).then_some(ConsoleSize { height, width })
}

/// The directory without `.`, `..` and doubled slashes; `/` when empty.
pub fn working_dir(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Docker's own variables, then the configured ones: `NAME=value` sets, `NAME` alone removes.
fn environment(input: &SpecInput<'_>) -> Vec<String> {
    let name = if input.host_config.uts_mode == "host" && input.config.hostname.is_empty() {
        input.machine.hostname.clone()
    } else {
        hostname(input.config, input.id)
    };
    let mut env = vec![format!("PATH={}", defaults::PATH), format!("HOSTNAME={name}")];
    if input.config.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(input.link_env.iter().cloned());
    merge_environment(env, input.config.env.as_deref().unwrap_or_default())
}

/// `base` changed by `changes` (of a container or of an exec), in docker's order: a variable keeps its place.
pub fn merge_environment(mut base: Vec<String>, changes: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for change in changes {
        let place = base.iter().position(|entry| name(entry) == name(change));
        match (place, change.contains('=')) {
            (Some(place), true) => base[place].clone_from(change),
            (Some(place), false) => drop(base.remove(place)),
            (None, true) => base.push(change.clone()),
            (None, false) => {}
        }
    }
    base
}

fn rlimits(input: &SpecInput<'_>) -> Result<Vec<Rlimit>> {
    let mut limits: BTreeMap<String, (i64, i64)> = input.default_ulimits.clone();
    for limit in input.host_config.resources.ulimits.iter().flatten() {
        limits.insert(limit.name.clone(), (limit.soft, limit.hard));
    }
    limits.into_iter().map(|(name, (soft, hard))| rlimit(&name, soft, hard)).collect()
}

fn rlimit(name: &str, soft: i64, hard: i64) -> Result<Rlimit> {
    if !defaults::RLIMITS.contains(&name) {
        let shown: String = name.chars().take(64).collect();
        return Err(Error::invalid(format!("wrong rlimit value: RLIMIT_{}", shown.to_uppercase())));
    }
    // -1 is unlimited.
    let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    if value(soft) > value(hard) {
        return Err(Error::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(Rlimit { kind: format!("RLIMIT_{}", name.to_uppercase()), soft: value(soft), hard: value(hard) })
}

fn linux(input: &SpecInput<'_>) -> Result<Linux> {
    let host = input.host_config;
    let (uid_mappings, gid_mappings) = mappings(&input.userns);
    let paths = |list: &Option<Vec<String>>, default: Vec<String>| match list {
        Some(list) => list.clone(),
        None if host.privileged => Vec::new(),
        None => default,
    };
    Ok(Linux {
        uid_mappings,
        gid_mappings,
        sysctl: sysctls(input)?,
        resources: Some(resources::of_container(input)?),
        cgroups_path: input.cgroup_path.clone(),
        namespaces: namespaces(input),
        devices: input.devices.iter().map(Device::node).collect(),
        seccomp: input.seccomp.clone(),
        rootfs_propagation: mounts::root_propagation(&input.mounts),
        masked_paths: paths(&host.masked_paths, input.machine.masked_paths()),
        readonly_paths: paths(&host.readonly_paths, defaults::readonly_paths()),
        ..Linux::default()
    })
}

fn mappings(userns: &UserNamespace) -> (Vec<IdMapping>, Vec<IdMapping>) {
    let map = |range: &IdRange| {
        (
            vec![IdMapping { container_id: 0, host_id: range.uid, size: range.size }],
            vec![IdMapping { container_id: 0, host_id: range.gid, size: range.size }],
        )
    };
    match userns {
        UserNamespace::Own(range) => map(range),
        UserNamespace::Host | UserNamespace::Join(..) => (Vec::new(), Vec::new()),
    }
}

fn namespaces(input: &SpecInput<'_>) -> Vec<OciNamespace> {
    use NamespaceKind as Kind;
    let mut list = vec![OciNamespace::new(Kind::Mount)];
    let mut add = |kind, namespace: &Namespace| match namespace {
        Namespace::New => list.push(OciNamespace::new(kind)),
        Namespace::Join(path) => list.push(OciNamespace::join(kind, path.clone())),
        Namespace::Host => {}
    };
    let private = |mode: &str| if mode == "host" { Namespace::Host } else { Namespace::New };
    add(Kind::Network, &input.network);
    add(Kind::Uts, &private(&input.host_config.uts_mode));
    add(Kind::Pid, &input.pid);
    add(
        Kind::Ipc,
        &match &input.ipc {
            Ipc::Private | Ipc::None | Ipc::Shareable(_) => Namespace::New,
            Ipc::Host => Namespace::Host,
            Ipc::Join(path, _) => Namespace::Join(path.clone()),
        },
    );
    add(Kind::Cgroup, &private(&input.host_config.cgroupns_mode));
    add(
        Kind::User,
        &match &input.userns {
            UserNamespace::Host => Namespace::Host,
            UserNamespace::Own(_) => Namespace::New,
            UserNamespace::Join(path, _) => Namespace::Join(path.clone()),
        },
    );
    list
}

/// Docker's two for a private network, then the user's, which must belong to a namespace of the container's own.
fn sysctls(input: &SpecInput<'_>) -> Result<BTreeMap<String, String>> {
    let mut sysctls = BTreeMap::new();
    if input.network == Namespace::New {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        // The kernel takes only groups that exist in the namespace.
        let last = input.userns.range().map_or(i32::MAX as u32, |range| (range.size - 1).min(i32::MAX as u32));
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), format!("0 {last}"));
    }
    for (name, value) in input.host_config.sysctls.iter().flatten() {
        check_sysctl(input, name)?;
        sysctls.insert(name.clone(), value.clone());
    }
    Ok(sysctls)
}

fn check_sysctl(input: &SpecInput<'_>, name: &str) -> Result<()> {
    let shown: String = name.chars().take(256).collect();
    let own_ipc = !matches!(input.ipc, Ipc::Host);
    let dotted = name.replace('/', ".");
    if defaults::IPC_SYSCTLS.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return if own_ipc {
            Ok(())
        } else {
            Err(Error::invalid(format!("sysctl \"{shown}\" is not allowed in the hosts ipc namespace")))
        };
    }
    if dotted.starts_with("net.") && !dotted.contains("..") {
        return match input.network {
            Namespace::Host => Err(Error::invalid(format!("sysctl \"{shown}\" not allowed in host network namespace"))),
            Namespace::New | Namespace::Join(_) => Ok(()),
        };
    }
    match dotted.as_str() {
        "kernel.domainname" if input.host_config.uts_mode != "host" => Ok(()),
        "kernel.hostname" => Err(Error::invalid(
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        )),
        _ => Err(Error::invalid(format!("sysctl \"{shown}\" is not in a separate kernel namespace"))),
    }
}

/// The capabilities of the container.
pub fn capabilities(host_config: &HostConfig) -> Result<CapSet> {
    validate::capabilities(host_config)
}

#[cfg(test)]
mod tests;
