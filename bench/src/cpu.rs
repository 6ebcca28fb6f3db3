//! CPU time of everything on the engine's side: daemon, helpers, supervisors and the containers themselves.
//!
//! Counted by the kernel in cgroups, which forget nobody who has ended: the engine's processes are put into one of
//! their own where they have none, and what containers use is read from the cgroup above them.

use crate::{
    Sample,
    lifecycle::{life, one_exec},
    target::Target,
};
use anyhow::{Context as _, Result, ensure};
use std::{collections::BTreeSet, fs, path::PathBuf, thread, time::Duration};

/// Containers per sample.
const LIVES: u32 = 20;

/// The hierarchy that counts CPU time, and how.
struct Counter {
    top: PathBuf,
    unified: bool,
}

impl Counter {
    fn find() -> Result<Self> {
        for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let controllers = words.last().unwrap_or(&"");
            if line.contains(" - cgroup ") && controllers.split(',').any(|name| name == "cpuacct") {
                return Ok(Self { top: words[4].into(), unified: false });
            }
        }
        Ok(Self { top: "/sys/fs/cgroup".into(), unified: true })
    }

    /// The cgroup of a process, relative to the top.
    fn of(&self, pid: i32) -> Result<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':').and_then(|(_, rest)| rest.split_once(':')));
        let found =
            lines.find(
                |(names, _)| {
                    if self.unified { names.is_empty() } else { names.split(',').any(|name| name == "cpuacct") }
                },
            );
        Ok(found.context("a cgroup")?.1.to_owned())
    }

    fn path(&self, group: &str) -> PathBuf {
        self.top.join(group.trim_start_matches('/'))
    }

    /// Milliseconds used in a cgroup and everything that ever was below it.
    fn used(&self, group: &str) -> Result<f64> {
        if !self.unified {
            let text = fs::read_to_string(self.path(group).join("cpuacct.usage"))?;
            return Ok(text.trim().parse::<f64>()? / 1e6);
        }
        let text = fs::read_to_string(self.path(group).join("cpu.stat"))?;
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).context("cpu.stat")?;
        Ok(usage.trim().parse::<f64>()? / 1e3)
    }
}

/// The cgroups that together hold all of the engine, none inside another.
fn groups(target: &Target, counter: &Counter) -> Result<BTreeSet<String>> {
    let mut api = target.api();
    let id = Target::create(&mut api, "none", &["sleep", "100"])?;
    Target::call(&mut api, "POST", &format!("/containers/{id}/start"), None)?;
    let state = Target::call(&mut api, "GET", &format!("/containers/{id}/json"), None)?.json();
    let pid = i32::try_from(state["State"]["Pid"].as_i64().context("a pid")?)?;
    let own = counter.of(pid)?;
    let above = own.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
    let mut found = BTreeSet::new();
    for pid in target.processes()? {
        let mut group = counter.of(pid)?;
        if group == "/" {
            // an engine started by hand: it gets a cgroup of its own, in this hierarchy only
            group = format!("/bench-{}", target.label);
            fs::create_dir_all(counter.path(&group))?;
            fs::write(counter.path(&group).join("cgroup.procs"), pid.to_string())?;
        }
        found.insert(group);
    }
    Target::call(&mut api, "DELETE", &format!("/containers/{id}?force=1"), None)?;
    ensure!(!above.is_empty(), "containers are at the top of the hierarchy");
    found.insert(above);
    let all = found.clone();
    found.retain(|group| !all.iter().any(|other| other != group && group.starts_with(&format!("{other}/"))));
    Ok(found)
}

/// Milliseconds per life and per exec.
pub(crate) fn once(target: &mut Target) -> Result<Sample> {
    let counter = Counter::find()?;
    let groups = groups(target, &counter)?;
    let used = || -> Result<f64> {
        // background removal belongs to the life it follows
        thread::sleep(Duration::from_millis(700));
        groups.iter().map(|group| counter.used(group)).sum()
    };
    let mut sample = Sample::new();
    let mut api = target.api();
    for network in ["none", "bridge"] {
        life(&mut api, network)?;
        let before = used()?;
        for _ in 0..LIVES {
            life(&mut api, network)?;
        }
        sample.push((format!("CPU ms per container, {network}"), (used()? - before) / f64::from(LIVES)));
    }
    let id = Target::create(&mut api, "none", &["sleep", "100000"])?;
    Target::call(&mut api, "POST", &format!("/containers/{id}/start"), None)?;
    one_exec(&mut api, &id)?;
    let before = used()?;
    for _ in 0..LIVES {
        one_exec(&mut api, &id)?;
    }
    sample.push(("CPU ms per exec".to_owned(), (used()? - before) / f64::from(LIVES)));
    let before = used()?;
    thread::sleep(Duration::from_secs(5));
    sample.push(("CPU ms per second with one idle container".to_owned(), (used()? - before) / 5.7));
    Ok(sample)
}
