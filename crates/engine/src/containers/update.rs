//! `docker update`: new limits for the cgroup, and a new restart policy.

use super::{restart::Policy, task::Task};
use crate::{parts::blocking, spec};
use rorqual_api_types::container::{HostConfig, Resources, UpdateRequest};
use rorqual_error::{Error, Result};

impl Task {
    /// Checks the merged settings, sets the cgroup, stores them.
    pub(super) async fn update(&mut self, request: UpdateRequest) -> Result<Vec<String>> {
        let mut record = super::record::Record::clone(&self.record);
        let host = &mut record.host_config;
        if !request.restart_policy.name.is_empty() {
            Policy::parse(&request.restart_policy)?;
            if host.auto_remove && request.restart_policy.name != "no" {
                return Err(Error::conflict(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container",
                ));
            }
            host.restart_policy = request.restart_policy.clone();
        }
        let id = &self.record.id;
        merge(&mut host.resources, &request.resources)
            .map_err(|error| Error::conflict(format!("Cannot update container {id}: {error}")))?;
        let probe = HostConfig { resources: host.resources.clone(), ..HostConfig::default() };
        let warnings = spec::validate(&Default::default(), &probe, &self.parts.machine)?;
        if self.live.is_some() {
            let (parts, cgroup) = (self.parts.clone(), self.status.cgroup.clone());
            let limits = spec::resources::of_update(&host.resources);
            blocking(move || parts.cgroups.open(&cgroup).update(&limits)).await?;
        }
        self.replace_record(record).await?;
        self.event("update", &[]);
        Ok(warnings)
    }
}

/// Takes over what is set, by dockerd's rules about what excludes what.
fn merge(own: &mut Resources, new: &Resources) -> Result<()> {
    if new.nano_cpus > 0 && (own.cpu_quota != 0 || own.cpu_period != 0) {
        return Err(Error::conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period/Quota has already been set",
        ));
    }
    if (new.cpu_period != 0 || new.cpu_quota != 0) && own.nano_cpus > 0 {
        return Err(Error::conflict(
            "Conflicting options: CPU Period/Quota cannot be updated as NanoCPUs has already been set",
        ));
    }
    if new.memory != 0 {
        let swap_is_low = new.memory_swap == 0 && own.memory_swap > 0 && new.memory > own.memory_swap;
        if swap_is_low || (new.memory_swap == 0 && own.memory_swap == 0) {
            return Err(Error::conflict(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            ));
        }
    }
    for (own, new) in [
        (&mut own.cpu_shares, new.cpu_shares),
        (&mut own.memory, new.memory),
        (&mut own.nano_cpus, new.nano_cpus),
        (&mut own.cpu_period, new.cpu_period),
        (&mut own.cpu_quota, new.cpu_quota),
        (&mut own.cpu_realtime_period, new.cpu_realtime_period),
        (&mut own.cpu_realtime_runtime, new.cpu_realtime_runtime),
        (&mut own.memory_reservation, new.memory_reservation),
        (&mut own.memory_swap, new.memory_swap),
    ] {
        if new != 0 {
            *own = new;
        }
    }
    for (own, new) in [(&mut own.cpuset_cpus, &new.cpuset_cpus), (&mut own.cpuset_mems, &new.cpuset_mems)] {
        if !new.is_empty() {
            own.clone_from(new);
        }
    }
    if new.blkio_weight != 0 {
        own.blkio_weight = new.blkio_weight;
    }
    if new.pids_limit.is_some() {
        own.pids_limit = new.pids_limit;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_leaves_a_limit_as_it_is() {
        let mut own = Resources { cpu_shares: 512, memory: 100, memory_swap: 200, ..Resources::default() };
        merge(&mut own, &Resources { memory: 150, pids_limit: Some(5), ..Resources::default() }).unwrap();
        assert_eq!((own.cpu_shares, own.memory, own.memory_swap, own.pids_limit), (512, 150, 200, Some(5)));
        assert!(merge(&mut own, &Resources { memory: 300, ..Resources::default() }).is_err());
    }
}
