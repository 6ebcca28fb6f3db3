//! From a container's record to the OCI document and the shim's plan: what `spec` decides is fed with the paths, peers and
//! ranges of this engine. Called from blocking threads.

use super::{
    handle::Handle,
    mounts::{Kind, MountRecord},
    record::{Record, Status, View},
    users::IdRange,
};
use crate::{
    OWN_RUNTIME,
    config::UserNamespaces,
    parts::Parts,
    spec::{
        self, Bind, Ipc, Mount, Namespace, NetworkFiles, SpecInput, UserNamespace, devices,
        userns::{self, Choice, Decision, Facts},
    },
};
use rorqual_api_types::container::HostConfig;
use rorqual_error::{Context, Error, Result};
use rorqual_linux::{cgroup::AttachPlan, seccomp::Program};
use rorqual_network::{
    NetworkMode,
    files::{self, Dns, ExtraHost, Hosts},
};
use rorqual_oci::runtime::Spec;
use rorqual_runtime::{
    compile,
    plan::{IdMap, IdRange as PlanRange, Io, LogPlan, Options, Plan, Rootfs, RuntimeKind},
};
use rorqual_snapshot::BASE_LAYER;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The container another one names, which must run: `what` is the namespace that is joined. In dockerd's words.
fn peer(parts: &Parts, id: &str, what: &str) -> Result<Arc<View>> {
    let found: Result<Arc<Handle>> = parts.index().find(id).cloned();
    let handle = found.map_err(|error| match what {
        "network" => Error::internal(format!("joining network namespace of container: {error}")),
        _ => Error::internal(format!("failed to join {what} namespace: {error}")),
    })?;
    let view = handle.view();
    let phase = &view.status.phase;
    if *phase == super::state::Phase::Restarting {
        return Err(Error::conflict(format!("Container {id} is restarting, wait until the container is running")));
    }
    if phase.is_live() {
        return Ok(view);
    }
    match what {
        "network" => Err(Error::conflict(format!(
            "cannot join network namespace of a non running container: container {} is {}",
            view.record.name,
            phase.status()
        ))),
        "PID" => Err(Error::internal(format!("failed to join PID namespace: container {id} is not running"))),
        _ => Err(Error::conflict(format!("failed to join {what} namespace: container {id} is not running"))),
    }
}

/// Which of its peer's namespaces a container names first, for messages.
fn joined_kind(host: &HostConfig) -> &'static str {
    match (&host.network_mode, &host.ipc_mode) {
        (mode, _) if mode.starts_with("container:") => "network",
        (_, mode) if mode.starts_with("container:") => "IPC",
        _ => "PID",
    }
}

fn namespace_path(view: &View, kind: &str) -> String {
    format!("/proc/{}/ns/{kind}", view.status.phase.pid())
}

/// Which user namespace the container gets, without leasing a range.
pub(super) fn decide_userns(parts: &Parts, host: &HostConfig, mounts: &[Mount]) -> Result<Decision> {
    let facts = Facts {
        daemon: &parts.config.userns,
        supported: parts.idmapped_mounts,
        external_runtime: host.runtime != OWN_RUNTIME,
    };
    userns::decide(host, mounts, facts)
}

/// Decides on the user namespace and leases its ids.
pub(super) fn choose_userns(parts: &Parts, record: &Record, status: &mut Status) -> Result<()> {
    let mounts = spec_mounts(record)?;
    status.userns = match decide_userns(parts, &record.host_config, &mounts)?.choice {
        Choice::Host => None,
        Choice::Own => Some(match &parts.config.userns {
            UserNamespaces::Remap { uid, gid, length, .. } => IdRange { uid: *uid, gid: *gid, size: *length },
            UserNamespaces::PerContainer | UserNamespaces::Host => {
                parts.id_ranges.take(&record.id, record.image.max_owner_id)?
            }
        }),
        Choice::Join(other) => peer(parts, &other, joined_kind(&record.host_config))?.status.userns,
    };
    Ok(())
}

/// The mounts as `spec` takes them.
pub(super) fn spec_mounts(record: &Record) -> Result<Vec<Mount>> {
    record.mounts.iter().map(spec_mount).collect()
}

pub(super) fn spec_mount(mount: &MountRecord) -> Result<Mount> {
    match mount.kind {
        Kind::Tmpfs => Ok(Mount::Tmpfs { target: mount.destination.clone(), options: mount.tmpfs_options.clone() }),
        Kind::Bind | Kind::Volume => {
            let source = volume_subpath(mount)?;
            Ok(Mount::Bind(Bind {
                unmappable: file_system(&source).filter(|kind| userns::is_unmappable(kind)).map(str::to_owned),
                source,
                target: mount.destination.clone(),
                readonly: mount.read_only,
                readonly_non_recursive: mount.read_only_non_recursive,
                non_recursive: mount.non_recursive,
                propagation: Some(mount.propagation.clone()).filter(|propagation| !propagation.is_empty()),
            }))
        }
    }
}

/// The source of a mount; a path inside a volume must not lead out of it by a link.
fn volume_subpath(mount: &MountRecord) -> Result<PathBuf> {
    let root = PathBuf::from(&mount.source);
    if mount.subpath.is_empty() {
        return Ok(root);
    }
    let named = || format!("subpath {} of volume {}", mount.subpath, mount.name);
    let inside = root.join(&mount.subpath).canonicalize().with_context(named)?;
    if inside.starts_with(root.canonicalize().with_context(named)?) {
        Ok(inside)
    } else {
        Err(Error::invalid(format!("{} leads out of the volume", named())))
    }
}

/// The name of a path's file system, of those that matter here.
fn file_system(path: &Path) -> Option<&'static str> {
    match rustix::fs::statfs(path).ok()?.f_type as u32 {
        0x6969 => Some("nfs"),
        0xff53_4d42 | 0xfe53_4d42 => Some("cifs"),
        0x6573_5546 => Some("fuse"),
        0x0102_1997 => Some("9p"),
        0x00c3_6400 => Some("ceph"),
        0x786f_4256 => Some("vboxsf"),
        _ => None,
    }
}

/// Makes the directories that `-v` names and that are missing.
pub(super) fn make_sources(record: &Record) -> Result<()> {
    for mount in record.mounts.iter().filter(|mount| mount.kind == Kind::Bind) {
        let path = Path::new(&mount.source);
        if path.exists() {
            continue;
        }
        if !mount.create_source {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source
            )));
        }
        std::fs::create_dir_all(path)
            .with_context(|| format!("error while creating mount source path '{}'", mount.source))?;
    }
    Ok(())
}

/// The container's files of `/etc`, and whose they are.
fn file_paths(parts: &Parts, record: &Record) -> NetworkFiles {
    let owner = record.host_config.network_mode.strip_prefix("container:").and_then(|id| id.parse().ok());
    let dir = parts.container_dir(owner.as_ref().unwrap_or(&record.id));
    NetworkFiles {
        resolv_conf: Some(dir.join("resolv.conf")),
        hostname: Some(dir.join("hostname")),
        hosts: Some(dir.join("hosts")),
    }
}

/// Writes hostname, hosts and resolv.conf of a container that has its own.
pub(super) fn write_files(parts: &Parts, record: &Record, status: &Status) -> Result<()> {
    let mode = NetworkMode::parse(&record.host_config.network_mode);
    if matches!(mode, NetworkMode::Container(_)) {
        return Ok(());
    }
    let dir = parts.container_dir(&record.id);
    let hostname = spec::hostname(&record.config, record.id.as_str());
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    write("hostname", files::hostname(&hostname, &record.config.domainname))?;
    let mut extra: Vec<ExtraHost> = Vec::new();
    let gateways = parts.networks.host_gateways();
    for host in record.host_config.extra_hosts.iter().flatten() {
        extra.extend(files::parse_extra_host(host, &gateways)?);
    }
    extra.extend(links(parts, record)?);
    let hosts = match mode {
        NetworkMode::Host => {
            let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            for host in &extra {
                text.push_str(&format!("{}\t{}\n", host.address, host.name));
            }
            text
        }
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Container(_) | NetworkMode::Named(_) => {
            let endpoint = status.endpoint.as_ref();
            let v4 = endpoint.and_then(|endpoint| endpoint.ipv4).map(|net| IpAddr::V4(net.addr()));
            let v6 = endpoint.and_then(|endpoint| endpoint.ipv6).map(|net| IpAddr::V6(net.addr()));
            files::hosts(&Hosts {
                hostname: &hostname,
                domainname: &record.config.domainname,
                addresses: &v4.into_iter().chain(v6).collect::<Vec<_>>(),
                extra: &extra,
                ipv6: true,
            })
        }
    };
    write("hosts", hosts)?;
    let dns = dns(parts, &record.host_config)?;
    let host = files::read_host_resolv_conf();
    let resolv_conf = match mode {
        NetworkMode::Host => files::resolv_conf_host_mode(&host, &dns),
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Container(_) | NetworkMode::Named(_) => {
            let ipv6 = status.endpoint.as_ref().is_some_and(|endpoint| endpoint.ipv6.is_some());
            files::resolv_conf(&host, &dns, ipv6)
        }
    };
    write("resolv.conf", resolv_conf)
}

/// The container's resolver settings, or else the daemon's.
fn dns(parts: &Parts, host: &HostConfig) -> Result<Dns> {
    let daemon = &parts.config.network;
    let own = |list: &Option<Vec<String>>, default: &[String]| match list.as_deref() {
        None | Some([]) => default.to_vec(),
        Some(list) => list.to_vec(),
    };
    let servers = match host.dns.as_deref() {
        None | Some([]) => daemon.dns.clone(),
        Some(list) => {
            let parse =
                |text: &String| text.parse().map_err(|_| Error::invalid(format!("invalid nameserver address: {text}")));
            list.iter().map(parse).collect::<Result<_>>()?
        }
    };
    Ok(Dns {
        servers,
        search: own(&host.dns_search, &daemon.dns_search),
        options: own(&host.dns_options, &daemon.dns_options),
    })
}

/// Legacy links on the default bridge: names of other containers in `/etc/hosts`.
fn links(parts: &Parts, record: &Record) -> Result<Vec<ExtraHost>> {
    let mut hosts = Vec::new();
    for link in record.host_config.links.iter().flatten() {
        let (name, alias) = parse_link(link);
        let handle: Arc<Handle> = parts
            .index()
            .find(name)
            .map_err(|_| Error::invalid(format!("could not get container for {name}: No such container: {name}")))?
            .clone();
        let view = handle.view();
        let Some(net) = view.status.endpoint.as_ref().and_then(|endpoint| endpoint.ipv4) else {
            return Err(Error::conflict(format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                view.record.name, record.name
            )));
        };
        let mut names = vec![alias.to_owned()];
        names.extend(Some(view.record.config.hostname.clone()).filter(|name| name != alias));
        names.extend(Some(view.record.name.to_string()).filter(|name| name != alias));
        hosts.push(ExtraHost { name: names.join(" "), address: net.addr().to_string() });
    }
    Ok(hosts)
}

/// `name[:alias]`, either with a leading slash and the alias behind a path, as old clients send it.
pub(super) fn parse_link(link: &str) -> (&str, &str) {
    let (name, alias) = link.split_once(':').unwrap_or((link, link));
    let name = name.strip_prefix('/').unwrap_or(name);
    (name, alias.rsplit('/').next().unwrap_or(alias))
}

/// Where a shareable `/dev/shm` is mounted.
pub(super) fn shm_dir(parts: &Parts, id: &rorqual_types::ContainerId) -> PathBuf {
    parts.run_dir(id).join("shm")
}

/// Mounts the `/dev/shm` that others may join.
pub(super) fn mount_shm(parts: &Parts, record: &Record) -> Result<()> {
    if record.host_config.ipc_mode != "shareable" {
        return Ok(());
    }
    let dir = shm_dir(parts, &record.id);
    let named = || format!("mount {}", dir.display());
    std::fs::DirBuilder::new().mode(0o700).create(&dir).with_context(named)?;
    let flags =
        rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NOEXEC | rustix::mount::MountFlags::NODEV;
    let options = std::ffi::CString::new(format!("mode=1777,size={}", record.host_config.shm_size))
        .context("options of /dev/shm")?;
    rustix::mount::mount("shm", &dir, "tmpfs", flags, Some(options.as_c_str())).with_context(named)
}

/// The OCI document.
pub(super) fn build(parts: &Parts, record: &Record, status: &Status) -> Result<Spec> {
    let host = &record.host_config;
    let join = |mode: &str, what: &str, kind: &str| -> Result<Option<String>> {
        match mode.strip_prefix("container:") {
            Some(id) => Ok(Some(namespace_path(peer(parts, id, what)?.as_ref(), kind))),
            None => Ok(None),
        }
    };
    let network = match NetworkMode::parse(&host.network_mode) {
        NetworkMode::Host => Namespace::Host,
        NetworkMode::Container(id) => Namespace::Join(namespace_path(peer(parts, &id, "network")?.as_ref(), "net")),
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Named(_) => Namespace::New,
    };
    let pid = match join(&host.pid_mode, "PID", "pid")? {
        Some(path) => Namespace::Join(path),
        None if host.pid_mode == "host" => Namespace::Host,
        None => Namespace::New,
    };
    let input = SpecInput {
        id: record.id.as_str(),
        config: &record.config,
        host_config: host,
        machine: &parts.machine,
        root: "rootfs".into(),
        mounts: spec_mounts(record)?,
        files: file_paths(parts, record),
        network,
        ipc: ipc(parts, record)?,
        pid,
        userns: user_namespace(parts, record, status)?,
        cgroup_path: status.cgroup.clone(),
        devices: devices::resolve(host)?,
        block_io: devices::block_io(&host.resources)?,
        link_env: Vec::new(),
        default_ulimits: &parts.config.default_ulimits,
        no_new_privileges: parts.config.no_new_privileges,
        // Our own shim gets the filter compiled, in its plan.
        seccomp: if host.runtime == OWN_RUNTIME { None } else { parts.seccomp.document(host)? },
    };
    spec::build(&input)
}

fn ipc(parts: &Parts, record: &Record) -> Result<Ipc> {
    Ok(match record.host_config.ipc_mode.as_str() {
        "host" => Ipc::Host,
        "none" => Ipc::None,
        "shareable" => Ipc::Shareable(shm_dir(parts, &record.id)),
        mode => match mode.strip_prefix("container:") {
            None => Ipc::Private,
            Some(id) => {
                let other = peer(parts, id, "IPC")?;
                let path = namespace_path(&other, "ipc");
                match other.record.host_config.ipc_mode.as_str() {
                    "shareable" => Ipc::Join(path, Some(shm_dir(parts, &other.record.id))),
                    "host" => Ipc::Host,
                    _ => {
                        return Err(Error::invalid(
                            "non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                        ));
                    }
                }
            }
        },
    })
}

fn user_namespace(parts: &Parts, record: &Record, status: &Status) -> Result<UserNamespace> {
    let Some(range) = status.userns else { return Ok(UserNamespace::Host) };
    let range = userns::IdRange { uid: range.uid, gid: range.gid, size: range.size };
    let host = &record.host_config;
    let modes = [&host.pid_mode, &host.ipc_mode, &host.network_mode];
    match modes.iter().find_map(|mode| mode.strip_prefix("container:")) {
        Some(id) => {
            Ok(UserNamespace::Join(namespace_path(peer(parts, id, joined_kind(host))?.as_ref(), "user"), range))
        }
        None => Ok(UserNamespace::Own(range)),
    }
}

/// The shim's plan.
pub(super) fn plan(parts: &Parts, record: &Record, status: &Status, spec: &Spec, cgroup: AttachPlan) -> Result<Plan> {
    let (config, host) = (&record.config, &record.host_config);
    let [rows, columns] = host.console_size;
    let console_size = (u16::try_from(rows).unwrap_or(0), u16::try_from(columns).unwrap_or(0));
    let options = Options {
        id: record.id.to_string(),
        dir: parts.run_dir(&record.id),
        rootfs: Rootfs::Overlay {
            layers_dir: parts.snapshots.layers_dir().to_owned(),
            lowers: record.image.lowers.iter().cloned().chain([BASE_LAYER.to_owned()]).collect(),
            rw_dir: parts.container_dir(&record.id).join("rw"),
            readonly: host.readonly_rootfs,
        },
        io: Io {
            tty: config.tty,
            stdin_open: config.open_stdin,
            stdin_once: config.stdin_once,
            console_size: Some(console_size).filter(|(rows, columns)| config.tty && *rows > 0 && *columns > 0),
        },
        log: log_plan(parts, record)?,
        userns: status.userns.map(|range| IdMap {
            uids: vec![PlanRange { container: 0, host: range.uid, size: range.size }],
            gids: vec![PlanRange { container: 0, host: range.gid, size: range.size }],
        }),
        init: host.init.unwrap_or(parts.config.init),
        runtime: runtime(parts, record, spec)?,
        cgroup,
        group_add: host.group_add.clone().unwrap_or_default(),
    };
    let seccomp = seccomp(parts, record)?;
    compile(spec, options, seccomp.as_deref())
}

/// The filter of a container's processes.
pub(super) fn seccomp(parts: &Parts, record: &Record) -> Result<Option<Arc<Program>>> {
    parts.seccomp.program(&record.host_config)
}

fn log_plan(parts: &Parts, record: &Record) -> Result<Option<LogPlan>> {
    let log = &record.host_config.log_config;
    if log.kind == "none" {
        return Ok(None);
    }
    let empty = BTreeMap::new();
    let options = log.config.as_ref().unwrap_or(&empty);
    let size = |text: &String| rorqual_types::parse_bytes(text).ok().and_then(|bytes| u64::try_from(bytes).ok());
    Ok(Some(LogPlan {
        path: parts.log_path(&record.id),
        max_size: options.get("max-size").and_then(size).filter(|size| *size > 0),
        max_file: options.get("max-file").and_then(|text| text.parse().ok()).unwrap_or(1).max(1),
        compress: options.get("compress").is_some_and(|text| text == "true"),
        attrs: log_attributes(record, options)?,
    }))
}

/// What `labels`, `env` and `tag` of the log options add to each line, as a JSON object.
fn log_attributes(record: &Record, options: &BTreeMap<String, String>) -> Result<String> {
    let mut attributes = BTreeMap::new();
    let names = |key: &str| {
        let list = options.get(key).map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>());
        list.unwrap_or_default()
    };
    let labels = record.config.labels.clone().unwrap_or_default();
    for name in names("labels") {
        if let Some(value) = labels.get(&name) {
            attributes.insert(name, value.clone());
        }
    }
    for name in names("env") {
        let entry = record.config.env.iter().flatten().find_map(|entry| entry.split_once('=').filter(|e| e.0 == name));
        if let Some((_, value)) = entry {
            attributes.insert(name, value.to_owned());
        }
    }
    if let Some(tag) = options.get("tag") {
        attributes.insert("tag".into(), tag.clone());
    }
    if attributes.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(&attributes).context("attributes of the log")
}

/// Who makes the container; for a runtime of others its bundle is written.
fn runtime(parts: &Parts, record: &Record, spec: &Spec) -> Result<RuntimeKind> {
    let name = record.host_config.runtime.as_str();
    if name == OWN_RUNTIME {
        return Ok(RuntimeKind::Own);
    }
    let (path, args) = external_runtime(parts, name)?;
    let bundle = parts.run_dir(&record.id).join("bundle");
    std::fs::create_dir_all(bundle.join("rootfs")).with_context(|| format!("make {}", bundle.display()))?;
    let document = serde_json::to_vec(spec).context("encode the container's document")?;
    std::fs::write(bundle.join("config.json"), document).context("write the container's document")?;
    Ok(RuntimeKind::External { binary: path, args, bundle })
}

/// The program of a runtime that is not ours: as configured, or one of the well-known names where it is installed.
pub(super) fn external_runtime(parts: &Parts, name: &str) -> Result<(PathBuf, Vec<String>)> {
    let unknown =
        || Error::invalid(format!("unknown or invalid runtime name: {}", name.chars().take(64).collect::<String>()));
    let (path, args) = match parts.runtimes().get(name) {
        Some(runtime) => (runtime.path.clone(), runtime.args.clone()),
        None if WELL_KNOWN_RUNTIMES.contains(&name) => (name.to_owned(), Vec::new()),
        None => return Err(unknown()),
    };
    let found = if path.contains('/') {
        Some(PathBuf::from(&path)).filter(|path| path.exists())
    } else {
        let search = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&search).map(|dir| dir.join(&path)).find(|path| path.exists())
    };
    found.map(|found| (found, args)).ok_or_else(|| Error::invalid(format!("runtime {name}: {path} is not installed")))
}

/// Runtimes that need no flag where they are installed.
const WELL_KNOWN_RUNTIMES: [&str; 2] = ["runc", "crun"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_in_both_forms() {
        assert_eq!(parse_link("db"), ("db", "db"));
        assert_eq!(parse_link("db:alias"), ("db", "alias"));
        assert_eq!(parse_link("/db:/web/alias"), ("db", "alias"));
    }
}
