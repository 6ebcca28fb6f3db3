//! Limits: from the API's words to the document's. Also for `POST /containers/{id}/update`.

use super::{SpecInput, defaults, devices};
use rorqual_api_types::container::Resources;
use rorqual_error::Result;
use rorqual_oci::runtime::{Cpu, DeviceRule, Memory, Pids, Resources as Limits};

/// Microseconds of the period that `--cpus` is a share of.
const CPU_PERIOD_US: u64 = 100_000;

/// All limits of a new container.
pub(super) fn of_container(input: &SpecInput<'_>) -> Result<Limits> {
    let asked = &input.host_config.resources;
    let mut limits = of_update(asked);
    limits.devices = device_rules(input)?;
    limits.block_io = input.block_io.clone();
    if limits.pids.is_none() {
        // threats.md: a share of the host's, whatever the client leaves open; inspect shows what it sent.
        limits.pids = Some(Pids { limit: (input.machine.tasks_max / defaults::PIDS_SHARE).max(1) });
    }
    if !input.machine.swap_limit
        && let Some(memory) = &mut limits.memory
    {
        memory.swap = None;
    }
    Ok(limits)
}

/// The limits that are named; what is zero is left as it is.
pub fn of_update(asked: &Resources) -> Limits {
    Limits { memory: memory(asked), cpu: cpu(asked), pids: pids(asked.pids_limit), ..Limits::default() }
}

fn memory(asked: &Resources) -> Option<Memory> {
    let positive = |bytes: i64| (bytes > 0).then_some(bytes);
    let swap = match (asked.memory, asked.memory_swap) {
        (_, -1) => Some(-1),
        (limit, 0) => positive(limit.saturating_mul(2)),
        (_, swap) => positive(swap),
    };
    let memory = Memory {
        limit: positive(asked.memory),
        reservation: positive(asked.memory_reservation),
        swap,
        kernel_tcp: positive(asked.kernel_memory_tcp),
        swappiness: asked.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: asked.oom_kill_disable.filter(|disabled| *disabled),
        ..Memory::default()
    };
    (memory != Memory::default()).then_some(memory)
}

fn cpu(asked: &Resources) -> Option<Cpu> {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let mut cpu = Cpu {
        shares: positive(asked.cpu_shares),
        quota: (asked.cpu_quota != 0).then_some(asked.cpu_quota),
        period: positive(asked.cpu_period),
        realtime_runtime: (asked.cpu_realtime_runtime != 0).then_some(asked.cpu_realtime_runtime),
        realtime_period: positive(asked.cpu_realtime_period),
        cpus: asked.cpuset_cpus.clone(),
        mems: asked.cpuset_mems.clone(),
        ..Cpu::default()
    };
    if asked.nano_cpus > 0 {
        cpu.period = Some(CPU_PERIOD_US);
        // The kernel takes no quota below a millisecond.
        cpu.quota = Some((asked.nano_cpus / (1_000_000_000 / CPU_PERIOD_US as i64)).max(1000));
    }
    (cpu != Cpu::default()).then_some(cpu)
}

/// Zero and nothing leave it open, a negative number is unlimited.
fn pids(asked: Option<i64>) -> Option<Pids> {
    match asked {
        None | Some(0) => None,
        Some(limit) if limit < 0 => Some(Pids { limit: -1 }),
        Some(limit) => Some(Pids { limit }),
    }
}

fn device_rules(input: &SpecInput<'_>) -> Result<Vec<DeviceRule>> {
    if input.host_config.privileged {
        return Ok(vec![DeviceRule { allow: true, access: "rwm".to_owned(), ..DeviceRule::default() }]);
    }
    let mut rules = defaults::device_rules();
    rules.extend(input.devices.iter().map(devices::Device::rule));
    for rule in input.host_config.resources.device_cgroup_rules.iter().flatten() {
        rules.push(devices::parse_rule(rule)?);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_swap() {
        for (limit, swap, expected) in [
            (0, 0, None),
            (100, 0, Some((Some(100), Some(200)))),
            (100, 300, Some((Some(100), Some(300)))),
            (100, -1, Some((Some(100), Some(-1)))),
        ] {
            let asked = Resources { memory: limit, memory_swap: swap, ..Resources::default() };
            assert_eq!(memory(&asked).map(|memory| (memory.limit, memory.swap)), expected);
        }
    }

    #[test]
    fn processors() {
        let half = cpu(&Resources { nano_cpus: 500_000_000, ..Resources::default() }).unwrap();
        assert_eq!((half.quota, half.period), (Some(50_000), Some(100_000)));
        let least = cpu(&Resources { nano_cpus: 1_000_000, ..Resources::default() }).unwrap();
        assert_eq!(least.quota, Some(1000));
        assert_eq!(cpu(&Resources::default()), None);
        let set = cpu(&Resources { cpuset_cpus: "0".into(), cpu_shares: 5, ..Resources::default() }).unwrap();
        assert_eq!((set.cpus.as_str(), set.shares), ("0", Some(5)));
    }

    #[test]
    fn processes() {
        assert_eq!(pids(None), None);
        assert_eq!(pids(Some(0)), None);
        assert_eq!(pids(Some(-1)), Some(Pids { limit: -1 }));
        assert_eq!(pids(Some(9)), Some(Pids { limit: 9 }));
    }
}
