//! Facts about the machine that decide what a container may ask for.

use super::defaults;
use rorqual_linux::cgroup::{Cgroups, Version};
use std::{fs, path::Path};

/// What [`validate`](super::validate()) and [`build`](super::build) need to know; read once at start.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Number of processors.
    pub cpus: usize,
    /// Processors as a list, `0-3`.
    pub cpu_list: String,
    /// Memory nodes as a list, `0`.
    pub memory_nodes: String,
    /// The most tasks the kernel runs.
    pub tasks_max: i64,
    /// How cgroups are laid out.
    pub cgroup: Version,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether block I/O has weights.
    pub block_weight: bool,
    /// Whether binds can be made read-only with their submounts (Linux 5.12).
    pub recursive_readonly: bool,
    /// The host's name.
    pub hostname: String,
    /// Directories that tell about the processor's heat (a side channel), masked too.
    pub thermal: Vec<String>,
}

impl Machine {
    /// Reads them.
    pub fn detect(cgroups: &Cgroups) -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
        let number = |path: &str| read(path).and_then(|text| text.parse::<i64>().ok());
        let cpu_list = read("/sys/devices/system/cpu/online").unwrap_or_else(|| "0".to_owned());
        let tasks_max = number("/proc/sys/kernel/pid_max").into_iter().chain(number("/proc/sys/kernel/threads-max"));
        Self {
            cpus: parse_list(&cpu_list).map_or(1, |list| list.len()).max(1),
            cpu_list,
            memory_nodes: read("/sys/devices/system/node/online").unwrap_or_else(|| "0".to_owned()),
            tasks_max: tasks_max.min().unwrap_or(32_768),
            cgroup: cgroups.version(),
            swap_limit: cgroups.has_swap_limit(),
            block_weight: block_weight(),
            recursive_readonly: kernel_at_least(5, 12),
            hostname: read("/proc/sys/kernel/hostname").unwrap_or_default(),
            thermal: thermal(),
        }
    }

    /// The default masked paths on this machine.
    pub fn masked_paths(&self) -> Vec<String> {
        defaults::masked_paths().into_iter().chain(self.thermal.iter().cloned()).collect()
    }
}

fn block_weight() -> bool {
    let files = ["/sys/fs/cgroup/blkio/blkio.weight", "/sys/fs/cgroup/blkio/blkio.bfq.weight"];
    // Of version 2 the root has no such file; the queue's knobs tell the same.
    files.iter().any(|path| Path::new(path).exists()) || Path::new("/sys/fs/cgroup/io.cost.qos").exists()
}

fn thermal() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.is_dir());
    let mut paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    paths.sort();
    paths
}

fn kernel_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.trim().parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// The most members a list of processors or nodes may have.
const LIST_MAX: u32 = 8192;

/// The members of `0-3,7`; `None` when the text is no such list.
pub(super) fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut members = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= LIST_MAX {
            return None;
        }
        members.extend(first..=last);
    }
    members.sort_unstable();
    members.dedup();
    Some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse_list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("1,0-1"), Some(vec![0, 1]));
        for bad in ["x", "3-1", "-1", "0-99999", "1-"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_machine_has_what_every_machine_has() {
        let machine = Machine::detect(&Cgroups::detect().unwrap());
        assert!(machine.cpus >= 1 && machine.tasks_max > 300);
    }
}
