//! Opening: the records are read, running shims are adopted, ends that nobody saw are recorded, and what a crash
//! interrupted is finished or undone. There is no other start-up.

use super::{
    control::Control,
    create::undo_files,
    handle::{Adopted, Handle},
    mounts::Kind,
    record::{Record, Status, View},
    remove::remove_files,
    restart::{Ended, Policy},
    state::Phase,
    stop::Teardown,
    task::Command,
};
use crate::{
    parts::{Parts, blocking},
    time,
};
use jiff::Timestamp;
use rorqual_error::{Context, Result};
use rorqual_metadata::Durability;
use rorqual_runtime::{
    protocol::{self, Event, ExitStatus, Request},
    spawn,
};
use rorqual_types::ContainerId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is found of one container.
struct Found {
    record: Arc<Record>,
    status: Status,
    /// The status as it is stored.
    stored: Status,
    adopted: Option<Adopted>,
    /// It is to be started by its restart policy.
    start: bool,
    /// It ended and is to be removed.
    remove: bool,
}

/// Recovers every container; the tasks run when this returns. Restarts go on in the background.
pub(crate) async fn recover(parts: &Arc<Parts>) -> Result<()> {
    let worker = parts.clone();
    let (records, mut runs) = blocking(move || load(&worker)).await?;
    let mut found = Vec::with_capacity(records.len());
    for (record, status) in records {
        let has_run = runs.remove(&record.id);
        found.push(examine(parts, Arc::new(record), status, has_run).await?);
    }
    let worker = parts.clone();
    let found = blocking(move || settle(&worker, found, runs)).await?;
    let mut starts = Vec::new();
    for Found { record, status, adopted, start, remove, .. } in found {
        let view = View { record, status, stops: 0, exits: 0, removed: false, removal_error: None };
        let handle = Handle::spawn(parts, view, adopted);
        if start {
            starts.push(handle);
        } else if remove {
            parts.tasks.spawn(async move {
                if let Err(error) = handle.ask(|reply| Command::Remove { volumes: true, reply }).await {
                    tracing::error!(%error, container = %handle.id(), "an interrupted automatic removal failed");
                }
            });
        }
    }
    for handle in starts {
        parts.tasks.spawn(async move {
            if let Err(error) = handle.ask(|reply| Command::Start { by_hand: false, reply }).await {
                tracing::warn!(%error, container = %handle.id(), "a container could not be started at opening");
            }
        });
    }
    Ok(())
}

type Records = Vec<(Record, Status)>;

/// Reads the records, takes the names, undoes creations that were not committed, and lists the run directories.
fn load(parts: &Parts) -> Result<(Records, BTreeSet<ContainerId>)> {
    let statuses: BTreeMap<String, Status> = parts.tables.statuses.list()?.into_iter().collect();
    let mut records = Vec::new();
    for (key, record) in parts.tables.records.list()? {
        let status = statuses.get(&key).cloned().unwrap_or_else(Status::created);
        if let Err(error) = parts.index().reserve(&record.name, &record.id) {
            tracing::error!(%error, container = %record.id, "two containers have one name");
        }
        records.push((record, status));
    }
    let known: BTreeSet<ContainerId> = records.iter().map(|(record, _)| record.id.clone()).collect();
    let pending: BTreeMap<String, Vec<String>> = parts.tables.pending.list()?.into_iter().collect();
    for (key, volumes) in &pending {
        if let Ok(id) = key.parse::<ContainerId>() {
            undo_files(parts, &id, volumes);
        }
    }
    for id in ids_in(&parts.config.data_root.join("containers"))?.difference(&known) {
        parts.snapshots.discard(&parts.container_dir(id))?;
    }
    parts.images.retain_holds(&known)?;
    let runs = ids_in(&parts.runs_dir())?;
    Ok((records, runs))
}

/// The entries of a directory that are container ids.
fn ids_in(dir: &std::path::Path) -> Result<BTreeSet<ContainerId>> {
    let named = || format!("list {}", dir.display());
    let mut ids = BTreeSet::new();
    for entry in std::fs::read_dir(dir).with_context(named)? {
        let name = entry.with_context(named)?.file_name();
        if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
            ids.insert(id);
        }
    }
    Ok(ids)
}

/// What has become of a container since its status was stored.
async fn examine(parts: &Arc<Parts>, record: Arc<Record>, status: Status, has_run: bool) -> Result<Found> {
    let stored = status.clone();
    let mut found = Found { record, status, stored, adopted: None, start: false, remove: false };
    if has_run {
        match probe(parts, &found.record.id).await {
            Some((control, state)) => found.meet(control, state),
            None => {
                let dir = parts.run_dir(&found.record.id);
                let left = blocking(move || spawn::read_exit(&dir)).await.unwrap_or_default();
                found.end_of_the_lost(left);
            }
        }
    } else {
        // Without a run directory nothing runs: the machine was booted, or the last run was cleaned up.
        found.end_of_the_lost(None);
    }
    if found.adopted.is_none() {
        found.decide();
    }
    Ok(found)
}

/// The shim of a container, if it lives and answers.
async fn probe(parts: &Parts, id: &ContainerId) -> Option<(Control, protocol::State)> {
    let dir = parts.run_dir(id);
    let connection = blocking(move || spawn::connect(&dir)).await.ok()?;
    let mut control = Control::new(connection).ok()?;
    match control.ask(&Request::Control { version: protocol::VERSION }).await {
        Ok(Event::State(state)) => Some((control, state)),
        Ok(other) => {
            tracing::warn!(?other, container = %id, "a shim answered out of turn");
            None
        }
        Err(error) => {
            tracing::warn!(%error, container = %id, "a shim does not answer");
            None
        }
    }
}

impl Found {
    /// A shim lives: its word counts, not the record's.
    fn meet(&mut self, control: Control, state: protocol::State) {
        let paused = self.status.phase.is_paused();
        match state.phase {
            // Nobody was told that it started: it is undone.
            protocol::Phase::Creating | protocol::Phase::Created => self.undo_start(),
            protocol::Phase::Running { started_ns } => {
                let started = time::from_ns(started_ns);
                self.status.phase = Phase::Running { pid: state.pid, paused };
                self.status.last.started_at = Some(started);
                self.adopted = Some(Adopted { control, started, events: Vec::new() });
            }
            protocol::Phase::Exited { started_ns, status } => {
                let started = time::from_ns(started_ns);
                self.status.phase = Phase::Running { pid: state.pid, paused: false };
                self.status.last.started_at = Some(started);
                self.adopted = Some(Adopted { control, started, events: vec![Event::Exited(status)] });
            }
        }
    }

    /// Whether its program still runs, and not only its shim.
    fn runs(&self) -> bool {
        self.adopted.as_ref().is_some_and(|adopted| adopted.events.is_empty())
    }

    fn undo_start(&mut self) {
        let ran = self.status.last.started_at.is_some();
        self.status.phase = if ran { Phase::Exited } else { Phase::Created };
        self.status.last.error = "the engine ended while the container was starting".into();
        self.status.endpoint = None;
        self.status.userns = None;
    }

    /// No shim lives. `left` is what it wrote before it ended.
    fn end_of_the_lost(&mut self, left: Option<ExitStatus>) {
        let was_live = match self.status.phase {
            Phase::Running { .. } => true,
            // A run may have come and gone between two records.
            Phase::Starting => left.is_some(),
            Phase::Created | Phase::Restarting | Phase::Exited | Phase::Removing | Phase::Dead => return,
        };
        if !was_live {
            return self.undo_start();
        }
        let last = &mut self.status.last;
        match left {
            Some(exit) => {
                last.finished_at = Some(time::from_ns(exit.at_ns));
                last.exit_code = i64::from(exit.code);
                last.oom_killed = exit.oom_killed;
                last.error = exit.error.unwrap_or_default();
                last.started_at.get_or_insert(time::from_ns(exit.at_ns));
            }
            None => {
                last.finished_at = Some(Timestamp::now());
                // dockerd's code for a container that was gone when it came back.
                last.exit_code = 255;
                last.error = "the container's supervisor was gone when the engine opened".into();
            }
        }
        self.status.phase = Phase::Exited;
        self.status.endpoint = None;
        self.status.userns = None;
    }

    /// What follows for a container that does not run.
    fn decide(&mut self) {
        let ended = Ended {
            exit_code: self.status.last.exit_code,
            restarts: self.status.restart_count,
            by_user: self.status.stopped_by_user,
        };
        let policy = Policy::parse(&self.record.host_config.restart_policy).unwrap_or_default();
        let has_run = self.status.last.started_at.is_some();
        match self.status.phase {
            Phase::Restarting => {
                self.start = policy.wants_start_at_open(&ended);
                self.status.phase = Phase::Exited;
            }
            Phase::Exited => {
                self.start = has_run && policy.wants_start_at_open(&ended);
                self.remove = has_run && !self.start && self.record.host_config.auto_remove;
            }
            Phase::Created | Phase::Starting | Phase::Running { .. } | Phase::Removing | Phase::Dead => {}
        }
    }
}

/// Brings the kernel and the disk to what was found: leftovers are torn down, interrupted removals finished, networks
/// reconciled, volumes and ids taken.
fn settle(parts: &Arc<Parts>, mut found: Vec<Found>, strays: BTreeSet<ContainerId>) -> Result<Vec<Found>> {
    for id in strays {
        tear_down(parts, &id, parts.default_cgroup_path(&id));
    }
    let mut endpoints = Vec::new();
    for one in found.iter().filter(|one| one.runs()) {
        endpoints.extend(one.status.endpoint.clone());
        if let Some(range) = one.status.userns {
            parts.id_ranges.adopt(&one.record.id, range);
        }
    }
    for container in parts.networks.reconcile(&endpoints)? {
        let status = found.iter().find(|one| one.record.id == container).map(|one| &one.status);
        if let Some(Err(error)) = status.map(|status| restore_link(parts, status)) {
            tracing::error!(%error, %container, "the network of a running container could not be repaired");
        }
    }
    for one in found.iter().filter(|one| one.status.phase != Phase::Removing) {
        for mount in one.record.mounts.iter().filter(|mount| mount.kind == Kind::Volume) {
            let id = &one.record.id;
            let taken = parts.volumes.acquire(&mount.name, id);
            let mounted = taken.and_then(|()| match &one.adopted {
                Some(_) => parts.volumes.mount(&mount.name, id).map(drop),
                None => Ok(()),
            });
            if let Err(error) = mounted {
                tracing::error!(%error, container = %id, volume = mount.name, "a container's volume is missing");
            }
        }
    }
    for one in found.iter().filter(|one| one.adopted.is_none()) {
        if parts.run_dir(&one.record.id).exists() {
            let cgroup = match one.status.cgroup.as_str() {
                "" => parts.cgroup_path(&one.record),
                path => path.to_owned(),
            };
            tear_down(parts, &one.record.id, cgroup);
        }
    }
    let mut kept = Vec::with_capacity(found.len());
    for one in found.drain(..) {
        if one.status.phase != Phase::Removing {
            if one.status != one.stored {
                parts.tables.statuses.put(&one.record.id.to_string(), &one.status, Durability::Grouped)?;
            }
            kept.push(one);
            continue;
        }
        let view = View {
            record: one.record.clone(),
            status: one.status.clone(),
            stops: 0,
            exits: 0,
            removed: false,
            removal_error: None,
        };
        match remove_files(parts, &view) {
            Ok(_) => {
                parts.index().remove(&one.record.id);
            }
            Err(error) => {
                tracing::error!(%error, container = %one.record.id, "an interrupted removal could not be finished");
                kept.push(Found { status: Status { phase: Phase::Dead, ..one.status.clone() }, ..one });
            }
        }
    }
    Ok(kept)
}

/// Makes the link of a running container again.
fn restore_link(parts: &Parts, status: &Status) -> Result<()> {
    let Some(endpoint) = &status.endpoint else { return Ok(()) };
    let path = format!("/proc/{}/ns/net", status.phase.pid());
    let namespace = std::fs::File::open(&path).with_context(|| format!("open {path}"))?;
    parts.networks.restore(endpoint, std::os::fd::AsFd::as_fd(&namespace))
}

fn tear_down(parts: &Arc<Parts>, id: &ContainerId, cgroup: String) {
    let teardown = Teardown { parts: parts.clone(), id: id.clone(), cgroup, child: None, kill_child: false };
    teardown.run();
}
