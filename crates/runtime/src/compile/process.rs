//! One process of a document: names of limits, capabilities and policies to numbers.

use crate::plan::{CapabilityMasks, ProcessPlan, Rlimit, Scheduler, User};
use rorqual_error::{Error, Result};
use rorqual_linux::{caps, seccomp::Program};
use rorqual_oci::runtime as oci;

/// `RLIMIT_*` by number.
const RLIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// `SCHED_*` by number; 4 is not used.
const POLICIES: [&str; 7] = ["OTHER", "FIFO", "RR", "BATCH", "", "IDLE", "DEADLINE"];

/// `SCHED_FLAG_*` by bit.
const FLAGS: [&str; 7] =
    ["RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS", "UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX"];

pub(super) fn compile(process: &oci::Process, seccomp: Option<&Program>) -> Result<ProcessPlan> {
    if process.args.is_empty() {
        return Err(Error::invalid("no command specified"));
    }
    if !process.cwd.is_empty() && !process.cwd.starts_with('/') {
        return Err(Error::invalid(format!("Cwd must be an absolute path: {:?}", process.cwd)));
    }
    let user = &process.user;
    Ok(ProcessPlan {
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: process.cwd.clone(),
        user: match user.username.as_str() {
            "" => User::Ids { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone() },
            name => User::Named { user: name.to_owned(), groups: Vec::new() },
        },
        umask: user.umask,
        capabilities: process.capabilities.as_ref().map(masks).unwrap_or_default(),
        rlimits: process.rlimits.iter().map(rlimit).collect::<Result<_>>()?,
        no_new_privileges: process.no_new_privileges,
        apparmor: process.apparmor_profile.clone(),
        selinux: process.selinux_label.clone(),
        oom_score_adj: process.oom_score_adj,
        io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
        scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
        cpus: process.exec_cpu_affinity.as_ref().map(|cpus| cpus.last.clone()).unwrap_or_default(),
        seccomp: seccomp.cloned(),
    })
}

/// Names this program does not know are left out, as the specification's runtimes do.
fn masks(sets: &oci::Capabilities) -> CapabilityMasks {
    let mask =
        |names: &[String]| names.iter().filter_map(|name| caps::number(name)).fold(0, |mask, bit| mask | 1 << bit);
    CapabilityMasks {
        bounding: mask(&sets.bounding),
        effective: mask(&sets.effective),
        permitted: mask(&sets.permitted),
        inheritable: mask(&sets.inheritable),
        ambient: mask(&sets.ambient),
    }
}

fn rlimit(limit: &oci::Rlimit) -> Result<Rlimit> {
    let name = limit.kind.strip_prefix("RLIMIT_").unwrap_or(&limit.kind);
    let resource = RLIMITS
        .iter()
        .position(|known| *known == name)
        .ok_or_else(|| Error::invalid(format!("invalid rlimit type: {}", limit.kind)))?;
    Ok(Rlimit { resource: resource as u32, soft: limit.soft, hard: limit.hard })
}

fn io_priority(priority: &oci::IoPriority) -> Result<u32> {
    const CLASS_SHIFT: u32 = 13;
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(Error::invalid(format!("invalid ioPriority.class: {other}"))),
    };
    match u32::try_from(priority.priority) {
        Ok(level @ 0..=7) => Ok(class << CLASS_SHIFT | level),
        _ => Err(Error::invalid(format!("invalid ioPriority.priority: {}", priority.priority))),
    }
}

fn scheduler(wanted: &oci::Scheduler) -> Result<Scheduler> {
    let find = |list: &[&str], name: &str, prefix: &str| {
        let short = name.strip_prefix(prefix).filter(|short| !short.is_empty());
        short.and_then(|short| list.iter().position(|known| *known == short))
    };
    let invalid = |what: &str, name: &str| Error::invalid(format!("invalid scheduler {what}: {name}"));
    let policy = find(&POLICIES, &wanted.policy, "SCHED_").ok_or_else(|| invalid("policy", &wanted.policy))?;
    let mut flags = 0;
    for name in &wanted.flags {
        flags |= 1 << find(&FLAGS, name, "SCHED_FLAG_").ok_or_else(|| invalid("flag", name))?;
    }
    let priority = u32::try_from(wanted.priority).map_err(|_| invalid("priority", &wanted.priority.to_string()))?;
    Ok(Scheduler {
        policy: policy as u32,
        flags,
        nice: wanted.nice,
        priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    })
}
