//! Who the program is: account lookup inside the root, and the step down to its ids, limits and capabilities (R18).

use super::{accounts, program::Program};
use crate::{
    failure::{At, Outcome},
    plan::{CapabilityMasks, ProcessPlan, User},
    protocol::{Failure, Step},
};
use rorqual_linux::process;
use rustix::{
    fs::{Gid, Mode, OFlags, Uid},
    io::Errno,
    thread::{CapabilitySet, CapabilitySets},
};
use std::os::fd::BorrowedFd;

/// CAP_SYS_ADMIN, which loading a filter needs without no_new_privs.
const SYS_ADMIN: u64 = 1 << 21;

/// A user of the container, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups, all of them.
    pub groups: Vec<u32>,
    /// Home directory, when the account files name one.
    pub home: Option<String>,
}

/// Finds the process's user in the root this process has entered.
pub fn look_up(plan: &ProcessPlan) -> Outcome<Account> {
    match &plan.user {
        User::Named { user, groups } => accounts::Files::read("/".as_ref())?.named(user, groups),
        User::Ids { uid, gid, groups } => {
            let wants_home = !plan.env.iter().any(|entry| entry.starts_with("HOME="));
            let home = if wants_home { accounts::Files::read("/".as_ref())?.home(*uid) } else { None };
            Ok(Account { uid: *uid, gid: *gid, groups: groups.clone(), home })
        }
    }
}

/// Takes on everything of the process but its filter and its last capabilities, which [`Program::execute`] does.
/// `raise_limits` is called when a limit needs the host's root.
pub fn assume(
    plan: &ProcessPlan,
    account: &Account,
    proc: Option<BorrowedFd<'_>>,
    raise_limits: impl FnOnce() -> Outcome<()>,
) -> Outcome<Program> {
    schedule(plan)?;
    limit(plan, raise_limits)?;
    label(plan, proc)?;
    let entered = enter(&plan.cwd);
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).at(Step::Capabilities, "set no_new_privs")?;
    }
    rustix::thread::clear_ambient_capability_set().at(Step::Capabilities, "clear the ambient set")?;
    bound(plan.capabilities.bounding)?;
    rustix::thread::set_keep_capabilities(true).at(Step::Capabilities, "keep capabilities")?;
    become_account(account)?;
    let held = rustix::thread::capabilities(None).at(Step::Capabilities, "read the capabilities")?.permitted;
    set_capabilities(held.bits(), held.bits(), 0)?;
    rustix::thread::set_keep_capabilities(false).at(Step::Capabilities, "stop keeping capabilities")?;
    if entered.is_err() {
        enter(&plan.cwd)?;
    }
    rustix::process::umask(Mode::from_raw_mode(plan.umask.unwrap_or(0o022)));
    // Capabilities this machine does not have cannot be given.
    let CapabilityMasks { bounding, effective, permitted, inheritable, ambient } = plan.capabilities;
    let available = held.bits();
    let masks = CapabilityMasks {
        bounding,
        effective: effective & permitted & available,
        permitted: permitted & available,
        inheritable: inheritable & available,
        ambient: ambient & permitted & inheritable & available,
    };
    Program::new(plan, account, masks)
}

/// The directory must be inside the root (R6): the kernel says so when it is not.
fn enter(cwd: &str) -> Outcome<()> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let what = || format!("chdir to cwd ({cwd:?}) set in config.json failed");
    rustix::process::chdir(cwd).at_with(Step::Cwd, what)?;
    let seen = rustix::process::getcwd(Vec::new()).at_with(Step::Cwd, what)?;
    if !seen.to_bytes().starts_with(b"/") {
        return Err(Failure::new(Step::Cwd, "current working directory is outside of container mount namespace root"));
    }
    Ok(())
}

fn become_account(account: &Account) -> Outcome<()> {
    let groups: Vec<Gid> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // A rootless user namespace forbids it; without groups to set nothing is lost.
        Err(Errno::PERM) if groups.is_empty() => {}
        result => result.at(Step::User, "setgroups")?,
    }
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::User, "setgid")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::User, "setuid")
}

/// Drops everything outside `bounding` from the bounding set.
fn bound(bounding: u64) -> Outcome<()> {
    for bit in (0..64).filter(|bit| bounding >> bit & 1 == 0) {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The first number the kernel does not know.
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error).at(Step::Capabilities, "drop from the bounding set"),
        }
    }
    Ok(())
}

fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Outcome<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(inheritable),
    };
    rustix::thread::set_capabilities(None, sets).at(Step::Capabilities, "set the capabilities")
}

/// The filter, then the last capabilities: nothing but exec follows.
pub(super) fn restrict(masks: &CapabilityMasks, filter: Option<&rorqual_linux::seccomp::Program>) -> Outcome<()> {
    if let Some(filter) = filter {
        set_capabilities(masks.effective | held_admin()?, masks.permitted | held_admin()?, 0)?;
        filter.install().at(Step::Seccomp, "load the system call filter")?;
    }
    set_capabilities(masks.effective, masks.permitted, masks.inheritable)?;
    for bit in (0..64).filter(|bit| masks.ambient >> bit & 1 == 1) {
        rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << bit), true)
            .at(Step::Capabilities, "set the ambient set")?;
    }
    Ok(())
}

fn held_admin() -> Outcome<u64> {
    Ok(rustix::thread::capabilities(None).at(Step::Capabilities, "read the capabilities")?.permitted.bits() & SYS_ADMIN)
}

fn limit(plan: &ProcessPlan, raise: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    for limit in &plan.rlimits {
        match process::set_rlimit(0, limit.resource, limit.soft, limit.hard) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => return raise(),
            Err(error) => {
                return Err(error).at_with(Step::Rlimit, || format!("error setting rlimit type {}", limit.resource));
            }
        }
    }
    Ok(())
}

fn schedule(plan: &ProcessPlan) -> Outcome<()> {
    if let Some(wanted) = plan.scheduler {
        let attr = process::SchedAttr {
            size: 0,
            policy: wanted.policy,
            flags: wanted.flags,
            nice: wanted.nice,
            priority: wanted.priority,
            runtime: wanted.runtime,
            deadline: wanted.deadline,
            period: wanted.period,
        };
        process::set_scheduler(attr).at(Step::Setup, "set the scheduler")?;
    }
    if let Some(priority) = plan.io_priority {
        process::set_io_priority(priority).at(Step::Setup, "set the I/O priority")?;
    }
    if !plan.cpus.is_empty() {
        let mut set = rustix::thread::CpuSet::new();
        for cpu in
            parse_cpus(&plan.cpus).ok_or_else(|| Failure::new(Step::Setup, format!("bad CPU list {:?}", plan.cpus)))?
        {
            set.set(cpu);
        }
        rustix::thread::sched_setaffinity(None, &set).at(Step::Setup, "set the CPU affinity")?;
    }
    Ok(())
}

/// CPUs of a list such as `0-3,7`.
fn parse_cpus(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= rustix::thread::CpuSet::MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Security labels take effect at exec. Written through a procfs of our own (R3).
fn label(plan: &ProcessPlan, proc: Option<BorrowedFd<'_>>) -> Outcome<()> {
    if !plan.apparmor.is_empty() && plan.apparmor != "unconfined" {
        let text = format!("exec {}", plan.apparmor);
        write_attribute(proc, &["attr/apparmor/exec", "attr/exec"], &text)
            .map_err(|failure| Failure::new(Step::Label, format!("apparmor failed to apply profile: {failure}")))?;
    }
    if !plan.selinux.is_empty() {
        write_attribute(proc, &["attr/exec"], &plan.selinux)
            .map_err(|failure| Failure::new(Step::Label, format!("set the SELinux label: {failure}")))?;
    }
    Ok(())
}

fn write_attribute(proc: Option<BorrowedFd<'_>>, paths: &[&str], text: &str) -> Outcome<()> {
    let proc = proc.ok_or_else(|| Failure::new(Step::Label, "no procfs"))?;
    let pid = rustix::process::getpid().as_raw_nonzero();
    let mut last = Errno::NOENT;
    for path in paths {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(proc, format!("{pid}/{path}"), flags, Mode::empty()) {
            Ok(file) => {
                let magic = rustix::fs::fstatfs(&file).at(Step::Label, "look at the attribute")?.f_type as u64;
                if magic != super::rootfs::PROC_MAGIC {
                    return Err(Failure::new(Step::Label, "the attribute's file is not of procfs"));
                }
                rustix::io::write(&file, text.as_bytes()).at(Step::Label, "write the attribute")?;
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last).at(Step::Label, "open the attribute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpus("0-2,5"), Some(vec![0, 1, 2, 5]));
        for bad in ["", "a", "3-1", "0-99999999", "1,"] {
            assert_eq!(parse_cpus(bad), None, "{bad}");
        }
    }
}
