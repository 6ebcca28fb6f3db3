//! Limits in the files of version 2, from the words of version 1 as runtimes translate them.

use super::{Part, set_file, write_file};
use rorqual_error::{Error, Result};
use rorqual_oci::runtime::{BlockIo, Cpu, Memory, Resources};
use std::path::Path;

/// The controllers a cgroup of ours uses on a pure version 2 machine, even without a limit: they account as well.
const ACCOUNTING: [&str; 5] = ["cpu", "memory", "pids", "io", "cpuset"];

/// Which of the available controllers to enable. On a hybrid machine only those that a limit needs.
pub(super) fn wanted_controllers<'a>(available: &'a [String], resources: &Resources, pure: bool) -> Vec<&'a str> {
    let limited = |name: &str| match name {
        "memory" => resources.memory.is_some(),
        "cpu" | "cpuset" => resources.cpu.is_some(),
        "pids" => resources.pids.is_some(),
        "io" => resources.block_io.is_some(),
        "hugetlb" => !resources.hugepage_limits.is_empty(),
        _ => false,
    };
    let named = |name: &str| resources.unified.keys().any(|file| file.split('.').next() == Some(name));
    let wanted = |name: &&str| limited(name) || named(name) || (pure && ACCOUNTING.contains(name));
    available.iter().map(String::as_str).filter(wanted).collect()
}

/// Enables controllers in every directory from `top` down to the parent of `leaf`.
pub(super) fn enable_controllers(top: &Path, leaf: &Path, controllers: &[&str]) -> Result<()> {
    if controllers.is_empty() {
        return Ok(());
    }
    let all: String = controllers.iter().map(|name| format!("+{name} ")).collect();
    let mut above: Vec<&Path> = leaf.ancestors().skip(1).take_while(|dir| dir.starts_with(top)).collect();
    above.reverse();
    for dir in above {
        if write_file(&dir.join("cgroup.subtree_control"), all.trim_end()).is_err() {
            // One that cannot be had must not take the others with it; a limit that needs it fails by itself.
            for name in controllers {
                let _ = write_file(&dir.join("cgroup.subtree_control"), &format!("+{name}"));
            }
        }
    }
    Ok(())
}

/// Writes what `resources` names and this hierarchy controls.
pub(super) fn set(part: &Part, resources: &Resources) -> Result<()> {
    let dir = &part.dir;
    for controller in &part.controllers {
        match controller.as_str() {
            "memory" => resources.memory.as_ref().map_or(Ok(()), |memory| set_memory(dir, memory))?,
            "cpu" => resources.cpu.as_ref().map_or(Ok(()), |cpu| set_cpu(dir, cpu))?,
            "cpuset" => resources.cpu.as_ref().map_or(Ok(()), |cpu| set_cpuset(dir, cpu))?,
            "pids" => match resources.pids.map(|pids| pids.limit) {
                Some(limit) if limit != 0 => set_file(dir, "pids.max", &or_max(limit))?,
                _ => {}
            },
            "io" => resources.block_io.as_ref().map_or(Ok(()), |block| set_block(dir, block))?,
            "hugetlb" => {
                for page in &resources.hugepage_limits {
                    set_file(dir, &format!("hugetlb.{}.max", page.page_size), &page.limit.to_string())?;
                }
            }
            _ => {}
        }
    }
    for (name, text) in &resources.unified {
        if name.contains('/') || !name.contains('.') {
            let shown: String = name.chars().take(256).collect();
            return Err(Error::invalid(format!("unified resource {shown:?} must be a file name")));
        }
        set_file(dir, name, text)?;
    }
    Ok(())
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn set_memory(dir: &Path, memory: &Memory) -> Result<()> {
    if let Some(swap) = swap_alone(memory)? {
        set_file(dir, "memory.swap.max", &or_max(swap))?;
    }
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        set_file(dir, "memory.max", &or_max(limit))?;
    }
    match memory.reservation {
        Some(reservation) if reservation != 0 => set_file(dir, "memory.low", &or_max(reservation)),
        _ => Ok(()),
    }
}

/// Version 1 limits memory and swap together, version 2 swap by itself.
fn swap_alone(memory: &Memory) -> Result<Option<i64>> {
    match (memory.limit.filter(|limit| *limit != 0), memory.swap.filter(|swap| *swap != 0)) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(swap)) if swap < 0 => Ok(Some(-1)),
        (Some(limit), Some(swap)) if limit >= 0 && swap >= limit => Ok(Some(swap - limit)),
        _ => Err(Error::invalid("memory+swap limit needs a memory limit that is not above it")),
    }
}

fn set_cpu(dir: &Path, cpu: &Cpu) -> Result<()> {
    if let Some(idle) = cpu.idle {
        set_file(dir, "cpu.idle", &idle.to_string())?;
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1)) {
        set_file(dir, "cpu.weight", &weight_of_shares(shares).to_string())?;
    }
    if let Some(burst) = cpu.burst {
        set_file(dir, "cpu.max.burst", &burst.to_string())?;
    }
    let quota = cpu.quota.filter(|quota| *quota != 0);
    let period = cpu.period.filter(|period| *period != 0);
    match (quota, period) {
        (None, None) => Ok(()),
        (Some(quota), None) => set_file(dir, "cpu.max", &or_max(quota)),
        (quota, Some(period)) => set_file(dir, "cpu.max", &format!("{} {period}", or_max(quota.unwrap_or(-1)))),
    }
}

/// Shares (2 to 262144, 1024 by default) to weight (1 to 10000, 100 by default): the quadratic in log2(shares) through
/// those three pairs that runc 1.3.2 and crun 1.24 and newer use too.
fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

fn set_cpuset(dir: &Path, cpu: &Cpu) -> Result<()> {
    for (name, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            set_file(dir, name, value)?;
        }
    }
    Ok(())
}

fn set_block(dir: &Path, block: &BlockIo) -> Result<()> {
    if let Some(weight) = block.weight.filter(|weight| *weight != 0) {
        if dir.join("io.bfq.weight").exists() {
            set_file(dir, "io.bfq.weight", &weight.to_string())?;
        } else {
            // 10..1000 to 1..10000.
            let weight = 1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990;
            set_file(dir, "io.weight", &weight.to_string())?;
        }
    }
    for (name, devices) in [
        ("rbps", &block.throttle_read_bps_device),
        ("wbps", &block.throttle_write_bps_device),
        ("riops", &block.throttle_read_iops_device),
        ("wiops", &block.throttle_write_iops_device),
    ] {
        for device in devices {
            set_file(dir, "io.max", &format!("{}:{} {name}={}", device.major, device.minor, device.rate))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pairs_that_fix_the_curve() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (1_000_000, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn swap_by_itself() {
        let memory = |limit, swap| Memory { limit, swap, ..Memory::default() };
        for (limit, swap, alone) in [
            (Some(100), Some(300), Some(200)),
            (Some(100), Some(100), Some(0)),
            (Some(100), Some(-1), Some(-1)),
            (Some(100), None, None),
            (Some(-1), None, Some(-1)),
            (None, None, None),
        ] {
            assert_eq!(swap_alone(&memory(limit, swap)).unwrap(), alone, "{limit:?} {swap:?}");
        }
        assert!(swap_alone(&memory(Some(300), Some(100))).is_err());
        assert!(swap_alone(&memory(None, Some(100))).is_err());
    }
}
