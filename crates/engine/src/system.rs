//! What concerns the whole node: counters, facts of the host, disk usage, reload.

use crate::{
    config::Reloadable,
    containers::{Containers, DRIVER},
    events::Scope,
    fsck,
    limits::STREAM_QUEUE,
    parts::Parts,
    space, time,
    volumes::Volumes,
};
use jiff::Timestamp;
use rorqual_api_types::system::{DiskUsage, FirewallBackend, Info, PluginsInfo, Runtime, Swarm};
use rorqual_api_types::upkeep::{CheckFinding, CheckSummary, DataRoot};
use rorqual_distribution::Registries;
use rorqual_error::Result;
use rorqual_linux::cgroup::Version;
use std::{collections::BTreeMap, fs, sync::Arc};
use tokio::sync::mpsc;

/// The node. A clone is another handle.
#[derive(Clone, Debug)]
pub struct System {
    pub(crate) parts: Arc<Parts>,
}

/// What `GET /system/df` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUsageOptions {
    /// Containers and their sizes.
    pub containers: bool,
    /// Images.
    pub images: bool,
    /// Volumes and their sizes.
    pub volumes: bool,
}

/// What a check tells.
#[derive(Clone, Debug)]
pub enum CheckStep {
    /// Something is wrong.
    Finding(CheckFinding),
    /// The end.
    Summary(CheckSummary),
}

/// The findings of a check, as they are made.
#[derive(Debug)]
pub struct Findings {
    steps: mpsc::Receiver<Result<CheckStep>>,
}

impl Findings {
    /// The next one; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<CheckStep>> {
        self.steps.recv().await
    }
}

/// How many containers there are, by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That run, and are not paused.
    pub running: i64,
    /// Paused.
    pub paused: i64,
    /// All others.
    pub stopped: i64,
}

impl System {
    /// The containers counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for handle in self.parts.index().all() {
            let phase = handle.view().status.phase.clone();
            match (phase.is_running(), phase.is_paused()) {
                (_, true) => counts.paused += 1,
                (true, false) => counts.running += 1,
                (false, false) => counts.stopped += 1,
            }
        }
        counts
    }

    /// What the engine knows for `GET /info`; proxies, registries and the like are the caller's to add.
    pub fn info(&self) -> Info {
        let parts = &self.parts;
        let counts = self.counts();
        let name = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let v2 = parts.machine.cgroup == Version::V2;
        let has = |controller: &str| parts.cgroups.has(controller);
        Info {
            id: parts.node_id.clone(),
            containers: counts.running + counts.paused + counts.stopped,
            containers_running: counts.running,
            containers_paused: counts.paused,
            containers_stopped: counts.stopped,
            images: i64::try_from(parts.images.count()).unwrap_or(i64::MAX),
            driver: DRIVER.into(),
            driver_status: vec![["driver-type".into(), "io.containerd.snapshotter.v1".into()]],
            plugins: PluginsInfo {
                volume: Some(vec!["local".into()]),
                network: Some(["bridge", "host", "null"].map(str::to_owned).to_vec()),
                authorization: None,
                log: Some(["json-file", "none"].map(str::to_owned).to_vec()),
            },
            memory_limit: has("memory"),
            swap_limit: parts.machine.swap_limit,
            cpu_cfs_period: has("cpu"),
            cpu_cfs_quota: has("cpu"),
            cpu_shares: has("cpu"),
            cpu_set: has("cpuset"),
            pids_limit: has("pids"),
            ipv4_forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|on| on.trim() == "1"),
            debug: parts.reloaded.borrow().debug.unwrap_or(parts.config.debug),
            n_fd: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as i64),
            oom_kill_disable: has("memory") && !v2,
            n_goroutines: i64::try_from(parts.tasks.len()).unwrap_or(0),
            system_time: time::rfc3339(Timestamp::now()),
            logging_driver: parts.config.log_driver.clone(),
            cgroup_driver: "cgroupfs".into(),
            cgroup_version: if v2 { "2" } else { "1" }.into(),
            n_events_listener: parts.events.subscribers(),
            kernel_version: text(name.release()),
            operating_system: operating_system("PRETTY_NAME"),
            os_version: operating_system("VERSION_ID"),
            os_type: "linux".into(),
            architecture: text(name.machine()),
            n_cpu: i64::try_from(parts.machine.cpus).unwrap_or(1),
            mem_total: memory_total(),
            docker_root_dir: parts.config.data_root.to_string_lossy().into_owned(),
            name: text(name.nodename()),
            labels: parts.reloaded.borrow().labels.clone().unwrap_or_else(|| parts.config.labels.clone()),
            server_version: parts.config.version.clone(),
            runtimes: self.runtimes(),
            default_runtime: parts.default_runtime(),
            swarm: Swarm { local_node_state: "inactive".into(), ..Swarm::default() },
            live_restore_enabled: true,
            init_binary: crate::OWN_RUNTIME.into(),
            security_options: self.security_options(),
            firewall_backend: Some(FirewallBackend { driver: "nftables".into(), info: None }),
            ..Info::default()
        }
    }

    fn runtimes(&self) -> BTreeMap<String, Runtime> {
        let own = Runtime { path: "rorqual-shim".into(), ..Runtime::default() };
        let mut runtimes = BTreeMap::from([(crate::OWN_RUNTIME.to_owned(), own)]);
        for (name, runtime) in self.parts.runtimes() {
            let runtime_args = Some(runtime.args).filter(|args| !args.is_empty());
            runtimes.insert(name, Runtime { path: runtime.path, runtime_args, ..Runtime::default() });
        }
        runtimes
    }

    fn security_options(&self) -> Vec<String> {
        let mut options = Vec::new();
        match self.parts.config.seccomp_profile.as_deref() {
            Some("unconfined") => {}
            Some(path) if path != "builtin" => options.push(format!("name=seccomp,profile={path}")),
            _ => options.push("name=seccomp,profile=builtin".into()),
        }
        if self.parts.machine.cgroup == Version::V2 {
            options.push("name=cgroupns".into());
        }
        if self.parts.config.userns != crate::UserNamespaces::Host {
            options.push("name=userns".into());
        }
        if self.parts.config.no_new_privileges {
            options.push("name=no-new-privileges".into());
        }
        options
    }

    /// What objects take on disk, so that all sizes together are what `du` says of the data root: a container's is that of
    /// its directory with the log, and `layers_size` holds all that is no container's and no volume's. The list of images is
    /// left to the caller.
    pub async fn disk_usage(&self, options: DiskUsageOptions) -> Result<DiskUsage> {
        let parts = self.parts.clone();
        let space = crate::parts::blocking(move || space::measure(&parts, options)).await?;
        let int = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut usage = DiskUsage::default();
        if options.images {
            usage.layers_size = int(space.images + space.overhead());
        }
        if options.containers {
            let containers = Containers { parts: self.parts.clone() };
            usage.containers = Some(containers.usage(space.containers.clone()).await?);
        }
        if options.volumes {
            usage.volumes = Some(Volumes { parts: self.parts.clone() }.usage(space.volumes.clone()).await?);
        }
        if options.images && options.containers && options.volumes {
            usage.data_root = Some(DataRoot {
                total: int(space.total()),
                images: int(space.images),
                containers: int(space.containers.values().sum()),
                volumes: int(space.volumes.values().sum()),
                records: int(space.records),
                other: int(space.other),
            });
        }
        Ok(usage)
    }

    /// Checks records against files while everything goes on; `repair` mends what can be. Findings come as they are made;
    /// an error or the summary is the last item. Dropping the stream does not stop a repair.
    pub fn check(&self, repair: bool) -> Findings {
        let parts = self.parts.clone();
        let (sender, steps) = mpsc::channel(STREAM_QUEUE);
        tokio::task::spawn_blocking(move || {
            let mut report = |finding| drop(sender.blocking_send(Ok(CheckStep::Finding(finding))));
            let last = fsck::check_running(&parts, repair, &mut report).map(CheckStep::Summary);
            let _ = sender.blocking_send(last);
        });
        Findings { steps }
    }

    /// Takes over what SIGHUP may change and publishes the `reload` event.
    ///
    /// # Errors
    /// Where a setting of the registries is wrong; nothing has changed then.
    pub fn reload(&self, changes: Reloadable) -> Result<()> {
        if let Some(registries) = changes.registries.clone() {
            self.parts.registries.send_replace(Registries::new(registries)?);
        }
        if let Some(policy) = changes.pull_policy.clone() {
            self.parts.pull_policy.send_replace(policy);
        }
        let mut attributes = changes.attributes.clone();
        attributes.insert("name".into(), crate::containers::host_name());
        self.parts.reloaded.send_modify(|now| {
            now.debug = changes.debug.or(now.debug);
            now.labels = changes.labels.or(now.labels.take());
            now.runtimes = changes.runtimes.or(now.runtimes.take());
            now.budget = changes.budget.or(now.budget.take());
            now.default_runtime = changes.default_runtime.or(now.default_runtime.take());
        });
        self.parts.events.publish(Scope::Daemon, "reload", self.parts.node_id.as_str(), attributes);
        Ok(())
    }
}

/// A field of /etc/os-release.
fn operating_system(field: &str) -> String {
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// Bytes of memory.
fn memory_total() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}
