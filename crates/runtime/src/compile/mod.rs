//! From an OCI document and our own options to a [`Plan`]: names become numbers, options become flags, once.

mod mounts;
mod process;

use crate::{
    plan::{Device, ExecPlan, Hook, Hooks, IdMap, IdRange, Namespace, Namespaces, Options, Plan, Rootfs, User},
    protocol,
};
use rorqual_error::{Context, Error, Result};
use rorqual_linux::{caps, mount::propagation, seccomp::Program};
use rorqual_oci::runtime::{self as oci, NamespaceKind, Spec};
use serde_json::json;

/// What an exec changes of its container's process.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Program and arguments.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// Working directory; `None` for the container's.
    pub cwd: Option<String>,
    /// docker's `user[:group]`; `None` for the container's user.
    pub user: Option<String>,
    /// Further groups (`--group-add` of the container).
    pub group_add: Vec<String>,
    /// All capabilities this machine has. The filter is the caller's choice.
    pub privileged: bool,
}

/// The plan of a container.
///
/// `seccomp` is the compiled filter of the document's process; `None` runs it unfiltered.
///
/// A document of our own engine is known by its overlay root: there binds show the container's ids, and an empty user name
/// is user 0 as the account files have it. A bundle's are taken by the letter of the specification.
pub fn compile(spec: &Spec, options: Options, seccomp: Option<&Program>) -> Result<Plan> {
    let ours = matches!(options.rootfs, Rootfs::Overlay { .. });
    let nothing = oci::Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&nothing);
    let (namespaces, userns) = namespaces(linux, options.userns)?;
    let process = spec.process.as_ref().ok_or_else(|| Error::invalid("the document has no process"))?;
    let mut process = process::compile(process, seccomp)?;
    if let User::Named { groups, .. } = &mut process.user {
        groups.clone_from(&options.group_add);
    } else if let (true, User::Ids { uid: 0, gid: 0, groups }) = (ours, &process.user)
        && groups.is_empty()
    {
        process.user = User::Named { user: String::new(), groups: options.group_add.clone() };
    }
    Ok(Plan {
        version: protocol::VERSION,
        root_propagation: root_propagation(&linux.rootfs_propagation)?,
        mounts: mounts::compile(&spec.mounts, ours)?,
        devices: devices(linux)?,
        masked: linux.masked_paths.clone(),
        readonly: linux.readonly_paths.clone(),
        sysctls: sysctls(linux, &namespaces)?,
        hostname: named(&spec.hostname, &namespaces.uts, "hostname")?,
        domainname: named(&spec.domainname, &namespaces.uts, "domainname")?,
        process,
        init: options.init,
        runtime: options.runtime,
        cgroup: options.cgroup,
        hooks: hooks(spec, &options.id),
        id: options.id,
        dir: options.dir,
        rootfs: options.rootfs,
        io: options.io,
        log: options.log,
        namespaces,
        userns,
    })
}

/// The plan of a process that joins the container `spec` describes.
pub fn compile_exec(spec: &Spec, options: ExecOptions, seccomp: Option<&Program>) -> Result<ExecPlan> {
    let process = spec.process.as_ref().ok_or_else(|| Error::invalid("the document has no process"))?;
    let mut plan = process::compile(process, seccomp)?;
    plan.args = options.args;
    plan.env = options.env;
    if let Some(cwd) = options.cwd.filter(|cwd| !cwd.is_empty()) {
        plan.cwd = cwd;
    }
    let container_user = match &plan.user {
        User::Ids { uid: 0, gid: 0, groups } if groups.is_empty() => Some(String::new()),
        User::Named { user, .. } => Some(user.clone()),
        User::Ids { .. } => None,
    };
    if let Some(user) = options.user.filter(|user| !user.is_empty()).or(container_user) {
        plan.user = User::Named { user, groups: options.group_add };
    }
    if options.privileged {
        let all = caps::available().0;
        plan.capabilities.bounding = all;
        plan.capabilities.permitted = all;
        plan.capabilities.effective = all;
    }
    Ok(plan)
}

/// The plan of a process given as a whole document (`exec --process` of the OCI command line).
pub fn compile_process(process: &oci::Process, seccomp: Option<&Program>) -> Result<ExecPlan> {
    process::compile(process, seccomp)
}

fn namespaces(linux: &oci::Linux, given: Option<IdMap>) -> Result<(Namespaces, Option<IdMap>)> {
    let find = |kind: NamespaceKind| match linux.namespaces.iter().find(|namespace| namespace.kind == kind) {
        None => Namespace::Host,
        Some(namespace) if namespace.path.is_empty() => Namespace::New,
        Some(namespace) => Namespace::Join(namespace.path.clone().into()),
    };
    if find(NamespaceKind::Time) != Namespace::Host {
        return Err(Error::not_implemented("time namespaces are not supported yet"));
    }
    let mut namespaces = Namespaces {
        user: find(NamespaceKind::User),
        pid: find(NamespaceKind::Pid),
        mount: find(NamespaceKind::Mount),
        net: find(NamespaceKind::Network),
        ipc: find(NamespaceKind::Ipc),
        uts: find(NamespaceKind::Uts),
        cgroup: find(NamespaceKind::Cgroup),
    };
    let map = given.or_else(|| id_map(&linux.uid_mappings, &linux.gid_mappings));
    if map.is_some() && namespaces.user == Namespace::Host {
        namespaces.user = Namespace::New;
    }
    if namespaces.user == Namespace::New && map.is_none() {
        return Err(Error::invalid("a new user namespace needs uidMappings and gidMappings"));
    }
    Ok((namespaces, map))
}

fn id_map(uids: &[oci::IdMapping], gids: &[oci::IdMapping]) -> Option<IdMap> {
    let ranges = |mappings: &[oci::IdMapping]| -> Vec<IdRange> {
        let range = |map: &oci::IdMapping| IdRange { container: map.container_id, host: map.host_id, size: map.size };
        mappings.iter().map(range).collect()
    };
    (!uids.is_empty() && !gids.is_empty()).then(|| IdMap { uids: ranges(uids), gids: ranges(gids) })
}

fn named(name: &str, namespace: &Namespace, what: &str) -> Result<String> {
    if !name.is_empty() && *namespace == Namespace::Host {
        return Err(Error::invalid(format!("unable to set {what} without a private UTS namespace")));
    }
    Ok(name.to_owned())
}

fn root_propagation(name: &str) -> Result<u64> {
    if name.is_empty() {
        return Ok(0);
    }
    mounts::propagation(name)
        .ok_or_else(|| Error::invalid(format!("rootfsPropagation={name} is not known")))
        .map(|(bits, recursive)| if recursive { bits | propagation::REC } else { bits })
}

/// What every container has, then what the document adds; a later entry for a path wins.
fn devices(linux: &oci::Linux) -> Result<Vec<Device>> {
    let node = |path: &str, major, minor| Device {
        path: path.to_owned(),
        kind: b'c',
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let mut devices = vec![
        node("/dev/null", 1, 3),
        node("/dev/zero", 1, 5),
        node("/dev/full", 1, 7),
        node("/dev/random", 1, 8),
        node("/dev/urandom", 1, 9),
        node("/dev/tty", 5, 0),
    ];
    for device in &linux.devices {
        let wrong = || Error::invalid(format!("device {:?}: wrong type or number", device.path));
        let kind = match device.kind.as_str() {
            "c" | "u" => b'c',
            "b" => b'b',
            "p" => b'p',
            _ => return Err(wrong()),
        };
        let number = |number: i64| u32::try_from(number.max(0)).map_err(|_| wrong());
        let device = Device {
            path: device.path.clone(),
            kind,
            major: number(device.major)?,
            minor: number(device.minor)?,
            mode: device.file_mode.unwrap_or(0o666),
            uid: device.uid.unwrap_or(0),
            gid: device.gid.unwrap_or(0),
        };
        devices.retain(|known| known.path != device.path);
        devices.push(device);
    }
    Ok(devices)
}

/// Kernel parameters that belong to the IPC namespace.
const IPC_SYSCTLS: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.domainname",
];

/// Only parameters of a namespace of the container's own; any other would change the host.
fn sysctls(linux: &oci::Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    let mut list = Vec::new();
    for (name, value) in &linux.sysctl {
        // `/` may separate names that hold dots, as with sysctl(8).
        let path = match name.find(['.', '/']) {
            Some(at) if name.as_bytes()[at] == b'/' => name.clone(),
            _ => name
                .chars()
                .map(|c| match c {
                    '.' => '/',
                    '/' => '.',
                    other => other,
                })
                .collect(),
        };
        let dotted = path.replace('/', ".");
        let owner = if dotted.starts_with("net.") {
            &namespaces.net
        } else if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
            &namespaces.uts
        } else if IPC_SYSCTLS.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            &namespaces.ipc
        } else {
            return Err(Error::invalid(format!("sysctl {name:?} is not in a separate kernel namespace")));
        };
        if *owner == Namespace::Host {
            return Err(Error::invalid(format!("sysctl {name:?} not allowed in the host's namespace")));
        }
        list.push((path, value.clone()));
    }
    Ok(list)
}

fn hooks(spec: &Spec, id: &str) -> Hooks {
    let list = |hooks: &[oci::Hook]| -> Vec<Hook> { hooks.iter().map(hook).collect() };
    let mut create_runtime = list(&spec.hooks.prestart);
    create_runtime.extend(list(&spec.hooks.create_runtime));
    let state = json!({
        "ociVersion": oci::VERSION,
        "id": id,
        "status": "creating",
        "bundle": "",
        "annotations": spec.annotations,
    });
    let mut state = state.to_string();
    // The process id is added where it is known.
    state.pop();
    Hooks {
        create_runtime,
        create_container: list(&spec.hooks.create_container),
        start_container: list(&spec.hooks.start_container),
        state,
    }
}

/// One hook of a document.
pub fn hook(hook: &oci::Hook) -> Hook {
    Hook {
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout_s: hook.timeout.and_then(|seconds| u32::try_from(seconds).ok()),
    }
}

/// A document read from a bundle.
pub fn parse(bytes: &[u8]) -> Result<Spec> {
    Spec::parse(bytes).context("config.json")
}

#[cfg(test)]
mod tests;
