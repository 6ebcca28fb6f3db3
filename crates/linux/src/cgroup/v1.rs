//! Limits in the files of version 1.

use super::{Part, set_file, write_file};
use rorqual_error::{Context, Result};
use rorqual_oci::runtime::{BlockIo, Cpu, Memory, NetworkClass, Resources};
use std::{fs, io, path::Path};

/// Writes what `resources` names and this hierarchy controls.
pub(super) fn set(part: &Part, resources: &Resources) -> Result<()> {
    let dir = &part.dir;
    for controller in &part.controllers {
        match controller.as_str() {
            "memory" => resources.memory.as_ref().map_or(Ok(()), |memory| set_memory(dir, memory))?,
            "cpu" => resources.cpu.as_ref().map_or(Ok(()), |cpu| set_cpu(dir, cpu))?,
            "cpuset" => resources.cpu.as_ref().map_or(Ok(()), |cpu| set_cpuset(dir, cpu))?,
            "pids" => match resources.pids.map(|pids| pids.limit) {
                Some(limit) if limit > 0 => set_file(dir, "pids.max", &limit.to_string())?,
                Some(limit) if limit < 0 => set_file(dir, "pids.max", "max")?,
                _ => {}
            },
            "blkio" => resources.block_io.as_ref().map_or(Ok(()), |block| set_block(dir, block))?,
            "hugetlb" => {
                for page in &resources.hugepage_limits {
                    set_file(dir, &format!("hugetlb.{}.limit_in_bytes", page.page_size), &page.limit.to_string())?;
                }
            }
            "net_cls" | "net_prio" => {
                resources.network.as_ref().map_or(Ok(()), |network| set_network(dir, controller, network))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn set_memory(dir: &Path, memory: &Memory) -> Result<()> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    if let (Some(limit), Some(swap)) = (memory.limit, memory.swap) {
        // memsw may never be below the limit: raise it first, lower it last.
        let names =
            if raises(dir, SWAP, swap) { [(SWAP, swap), (LIMIT, limit)] } else { [(LIMIT, limit), (SWAP, swap)] };
        for (name, bytes) in names {
            set_file(dir, name, &bytes.to_string())?;
        }
    } else if let Some(limit) = memory.limit {
        if limit == -1 && dir.join(SWAP).exists() {
            set_file(dir, SWAP, "-1")?;
        }
        set_file(dir, LIMIT, &limit.to_string())?;
    } else if let Some(swap) = memory.swap {
        set_file(dir, SWAP, &swap.to_string())?;
    }
    if let Some(reservation) = memory.reservation {
        set_file(dir, "memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if let Some(tcp) = memory.kernel_tcp {
        set_file(dir, "memory.kmem.tcp.limit_in_bytes", &tcp.to_string())?;
    }
    if let Some(disabled) = memory.disable_oom_killer {
        set_file(dir, "memory.oom_control", if disabled { "1" } else { "0" })?;
    }
    match memory.swappiness {
        Some(swappiness) => set_file(dir, "memory.swappiness", &swappiness.to_string()),
        None => Ok(()),
    }
}

/// Whether `value` is above what the file holds.
fn raises(dir: &Path, name: &str, value: i64) -> bool {
    let present = fs::read_to_string(dir.join(name)).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let wanted = u64::try_from(value).unwrap_or(u64::MAX);
    present.is_some_and(|present| wanted > present)
}

fn set_cpu(dir: &Path, cpu: &Cpu) -> Result<()> {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        set_file(dir, "cpu.shares", &shares.to_string())?;
    }
    set_bandwidth(dir, cpu)?;
    if let Some(burst) = cpu.burst {
        set_file(dir, "cpu.cfs_burst_us", &burst.to_string())?;
    }
    if let Some(idle) = cpu.idle {
        set_file(dir, "cpu.idle", &idle.to_string())?;
    }
    // A new cgroup has no real-time budget at all: a real-time task cannot enter it before this is written.
    let period = cpu.realtime_period.filter(|period| *period != 0);
    let runtime = cpu.realtime_runtime.filter(|runtime| *runtime != 0);
    if let Some(period) = period {
        set_file(dir, "cpu.rt_period_us", &period.to_string())?;
    }
    match runtime {
        Some(runtime) => set_file(dir, "cpu.rt_runtime_us", &runtime.to_string()),
        None => Ok(()),
    }
}

/// The kernel checks quota against period at each write, so an update may need the other order.
fn set_bandwidth(dir: &Path, cpu: &Cpu) -> Result<()> {
    let period = cpu.period.filter(|period| *period != 0).map(|period| ("cpu.cfs_period_us", period.to_string()));
    let quota = cpu.quota.filter(|quota| *quota != 0).map(|quota| ("cpu.cfs_quota_us", quota.to_string()));
    let files: Vec<_> = period.into_iter().chain(quota).collect();
    let in_order = files.iter().try_for_each(|(name, text)| write_file(&dir.join(name), text));
    match in_order {
        Err(_) => files.iter().rev().try_for_each(|(name, text)| set_file(dir, name, text)),
        Ok(()) => Ok(()),
    }
}

fn set_cpuset(dir: &Path, cpu: &Cpu) -> Result<()> {
    for (name, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            set_file(dir, name, value)?;
        }
    }
    Ok(())
}

/// Fills an empty cpuset from the one above, which is filled in turn where need be: nothing can enter an empty one.
pub(super) fn inherit_cpuset(mount: &Path, dir: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        inherit(mount, dir, name).with_context(|| format!("fill {}", dir.join(name).display()))?;
    }
    Ok(())
}

fn inherit(mount: &Path, dir: &Path, name: &str) -> io::Result<String> {
    let own = fs::read_to_string(dir.join(name))?.trim().to_owned();
    match dir.parent() {
        Some(parent) if own.is_empty() && dir != mount => {
            let value = inherit(mount, parent, name)?;
            write_file(&dir.join(name), &value)?;
            Ok(value)
        }
        _ => Ok(own),
    }
}

fn set_block(dir: &Path, block: &BlockIo) -> Result<()> {
    if let Some(weight) = block.weight.filter(|weight| *weight != 0) {
        // The controller is `blkio.weight` with CFQ and `blkio.bfq.weight` with BFQ.
        let name = if dir.join("blkio.weight").exists() { "blkio.weight" } else { "blkio.bfq.weight" };
        set_file(dir, name, &weight.to_string())?;
    }
    for (name, devices) in [
        ("blkio.throttle.read_bps_device", &block.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &block.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &block.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &block.throttle_write_iops_device),
    ] {
        for device in devices {
            set_file(dir, name, &format!("{}:{} {}", device.major, device.minor, device.rate))?;
        }
    }
    Ok(())
}

fn set_network(dir: &Path, controller: &str, network: &NetworkClass) -> Result<()> {
    if controller == "net_cls" {
        return network.class_id.map_or(Ok(()), |class| set_file(dir, "net_cls.classid", &class.to_string()));
    }
    let mut priorities = network.priorities.iter();
    priorities.try_for_each(|one| set_file(dir, "net_prio.ifpriomap", &format!("{} {}", one.name, one.priority)))
}
