//! What `create` checks of a configuration, in dockerd's words, and what it fills in.

use super::{Machine, Security, defaults, machine::parse_list, mounts, unsupported};
use rorqual_api_types::container::{Config, HostConfig, Resources};
use rorqual_error::{Error, Result};
use rorqual_linux::{
    caps::{self, CapSet},
    cgroup::Version,
};
use rorqual_types::Signal;

/// What the daemon's own settings put where a container says nothing.
#[derive(Clone, Debug)]
pub struct Defaults<'a> {
    /// `--default-ipc-mode`.
    pub ipc_mode: &'a str,
    /// `--default-cgroupns-mode`.
    pub cgroupns_mode: &'a str,
    /// `--default-shm-size`.
    pub shm_size: i64,
    /// `--default-runtime`.
    pub runtime: &'a str,
}

/// Fills in what dockerd stores at create, and so shows in inspect, where the client left it open.
pub fn normalize(host_config: &mut HostConfig, machine: &Machine, defaults: &Defaults<'_>) {
    let fill = |field: &mut String, value: &str| {
        if field.is_empty() {
            *field = value.to_owned();
        }
    };
    fill(&mut host_config.ipc_mode, defaults.ipc_mode);
    // A privileged container on version 2 still has a namespace of its own; on version 1 docker has none by default.
    fill(&mut host_config.cgroupns_mode, defaults.cgroupns_mode);
    fill(&mut host_config.runtime, defaults.runtime);
    if host_config.shm_size == 0 {
        host_config.shm_size = defaults.shm_size;
    }
    let resources = &mut host_config.resources;
    if resources.memory > 0 && resources.memory_swap == 0 && machine.swap_limit {
        resources.memory_swap = resources.memory.saturating_mul(2);
    }
    if machine.cgroup != Version::V2 {
        resources.oom_kill_disable.get_or_insert(false);
    }
    resources.pids_limit = resources.pids_limit.filter(|limit| *limit > 0);
    if !host_config.privileged {
        host_config.masked_paths.get_or_insert_with(|| machine.masked_paths());
        host_config.readonly_paths.get_or_insert_with(defaults::readonly_paths);
    }
}

/// Checks the client's configuration; the warnings are for the answer to create.
pub fn validate(config: &Config, host_config: &HostConfig, machine: &Machine) -> Result<Vec<String>> {
    check_config(config)?;
    check_modes(config, host_config)?;
    if host_config.annotations.iter().flatten().any(|(key, _)| key.is_empty()) {
        return Err(Error::invalid("invalid Annotations: the empty string is not permitted as an annotation key"));
    }
    Security::parse(host_config.security_opt.as_deref().unwrap_or_default())?;
    capabilities(host_config)?;
    for path in host_config.tmpfs.iter().flatten().map(|(path, _)| path) {
        if !path.starts_with('/') {
            return Err(Error::invalid(format!("invalid mount path: '{path}' mount path must be absolute")));
        }
    }
    if host_config.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host_config.oom_score_adj) {
        let value = host_config.oom_score_adj;
        return Err(Error::invalid(format!("Invalid value {value}, range for oom score adj is [-1000, 1000]")));
    }
    if !["", "default"].contains(&host_config.isolation.to_lowercase().as_str()) {
        let shown: String = host_config.isolation.chars().take(64).collect();
        return Err(Error::invalid(format!("invalid isolation ({shown}): linux only supports 'default'")));
    }
    let warnings = validate_resources(&host_config.resources, machine)?;
    unsupported::check(config, host_config)?;
    Ok(warnings)
}

fn check_config(config: &Config) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        let shown: String = config.working_dir.chars().take(256).collect();
        return Err(Error::invalid(format!(
            "the working directory '{shown}' is invalid, it needs to be an absolute path"
        )));
    }
    if let Some(entry) = config.env.iter().flatten().find(|entry| entry.is_empty() || entry.starts_with('=')) {
        let shown: String = entry.chars().take(256).collect();
        return Err(Error::invalid(format!("invalid environment variable: {shown}")));
    }
    if !config.stop_signal.is_empty() {
        config.stop_signal.parse::<Signal>()?;
    }
    Ok(())
}

fn check_modes(config: &Config, host_config: &HostConfig) -> Result<()> {
    let container = |mode: &str| mode.strip_prefix("container:").is_some_and(|other| !other.is_empty());
    let known = |mode: &str, modes: &[&str]| mode.is_empty() || modes.contains(&mode);
    let shown = |mode: &str| mode.chars().take(256).collect::<String>();
    let HostConfig { pid_mode: pid, ipc_mode: ipc, uts_mode: uts, cgroupns_mode: cgroup, .. } = host_config;
    if !known(pid, &["private", "host"]) && !container(pid) {
        return Err(Error::invalid(format!("invalid PID mode: {}", shown(pid))));
    }
    if !known(ipc, &["none", "private", "shareable", "host"]) && !container(ipc) {
        return Err(Error::invalid(format!("invalid IPC mode: {}", shown(ipc))));
    }
    if !known(uts, &["private", "host"]) {
        return Err(Error::invalid(format!("invalid UTS mode: {}", shown(uts))));
    }
    if !known(cgroup, &["private", "host"]) {
        return Err(Error::invalid(format!("invalid cgroup namespace mode: {}", shown(cgroup))));
    }
    if uts == "host" && !config.hostname.is_empty() {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    Ok(())
}

/// The capabilities of a container; an unknown name is an error that says in which list.
pub fn capabilities(host_config: &HostConfig) -> Result<CapSet> {
    let add = host_config.cap_add.as_deref().unwrap_or_default();
    let drop = host_config.cap_drop.as_deref().unwrap_or_default();
    check_names("CapAdd", add)?;
    check_names("CapDrop", drop)?;
    CapSet::select(add, drop, host_config.privileged, caps::available())
}

fn check_names(list: &str, names: &[String]) -> Result<()> {
    let named: Vec<&str> = names
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.eq_ignore_ascii_case("ALL") && !name.eq_ignore_ascii_case("CAP_ALL"))
        .collect();
    named_set(list, &named).map(drop)
}

/// The set of names without `ALL`.
pub(super) fn named(list: &str, names: &[String]) -> Result<CapSet> {
    named_set(list, &names.iter().map(|name| name.trim()).collect::<Vec<_>>())
}

fn named_set(list: &str, names: &[&str]) -> Result<CapSet> {
    CapSet::from_names(names).map_err(|error| Error::invalid(format!("invalid {list}: {error}")))
}

/// Checks limits, for create and update; returns warnings about what is left out.
pub fn validate_resources(asked: &Resources, machine: &Machine) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    check_memory(asked, machine, &mut warnings)?;
    check_cpu(asked, machine)?;
    check_list("cpuset cpus", "CPUs", &asked.cpuset_cpus, &machine.cpu_list)?;
    check_list("cpuset mems", "memory nodes", &asked.cpuset_mems, &machine.memory_nodes)?;
    if asked.blkio_weight != 0 {
        if !machine.block_weight {
            warnings.push(
                "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.".into(),
            );
        } else if !(10..=1000).contains(&asked.blkio_weight) {
            return Err(Error::invalid("range of blkio weight is from 10 to 1000"));
        }
    }
    if !machine.block_weight && asked.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) {
        warnings.push(
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded."
                .into(),
        );
    }
    if asked.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".into());
    }
    if asked.io_maximum_bandwidth != 0 {
        return Err(Error::invalid("invalid option: QoS maximum bandwidth configuration is not supported on linux"));
    }
    if asked.io_maximum_iops != 0 {
        return Err(Error::invalid("invalid option: QoS maximum IOPs configuration is not supported on linux"));
    }
    Ok(warnings)
}

fn check_memory(asked: &Resources, machine: &Machine, warnings: &mut Vec<String>) -> Result<()> {
    let invalid = |message: &str| Err(Error::invalid(message));
    let Resources { memory, memory_swap: swap, memory_reservation: reservation, .. } = *asked;
    if memory != 0 && memory < defaults::MEMORY_MIN_BYTES {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && swap > 0 && swap < memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(swappiness) = asked.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return Err(Error::invalid(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100")));
    }
    if reservation != 0 && reservation < defaults::MEMORY_MIN_BYTES {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && reservation > memory {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if memory > 0 && swap != -1 && !machine.swap_limit {
        warnings.push(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
                .into(),
        );
    }
    if asked.oom_kill_disable == Some(true) && memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running \
             out of resources."
                .into(),
        );
    }
    Ok(())
}

fn check_cpu(asked: &Resources, machine: &Machine) -> Result<()> {
    let invalid = |message: &str| Err(Error::invalid(message));
    if asked.nano_cpus > 0 && asked.cpu_period != 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if asked.nano_cpus > 0 && asked.cpu_quota != 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    let cpus = machine.cpus as i64;
    if asked.nano_cpus < 0 || asked.nano_cpus > cpus.saturating_mul(1_000_000_000) {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    if asked.cpu_shares < 0 {
        let shares = asked.cpu_shares;
        return Err(Error::invalid(format!("invalid CPU shares ({shares}): value must be a positive integer")));
    }
    if asked.cpu_period != 0 && !(1000..=1_000_000).contains(&asked.cpu_period) {
        return invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if asked.cpu_quota > 0 && asked.cpu_quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    Ok(())
}

fn check_list(what: &str, plural: &str, asked: &str, available: &str) -> Result<()> {
    let shown: String = asked.chars().take(256).collect();
    let asked = parse_list(asked)
        .ok_or_else(|| Error::invalid(format!("Invalid value {shown} for {what}: invalid format: {shown}")))?;
    let present = parse_list(available).unwrap_or_default();
    if asked.iter().any(|one| !present.contains(one)) {
        return Err(Error::invalid(format!(
            "Requested {plural} are not available - requested {shown}, available: {available}"
        )));
    }
    Ok(())
}

/// What `start` finds wrong before anything is made: tmpfs options, device rules.
pub fn validate_start(host_config: &HostConfig) -> Result<()> {
    for (_, options) in host_config.tmpfs.iter().flatten() {
        mounts::tmpfs_options(options)?;
    }
    for rule in host_config.resources.device_cgroup_rules.iter().flatten() {
        super::devices::parse_rule(rule)?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
