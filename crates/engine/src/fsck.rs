//! `system fsck`: whether records and files agree, on the data root of a running engine or of none.

use crate::{
    containers::{MountKind, Record, Tables},
    parts::Parts,
};
use rorqual_api_types::upkeep::{CheckFinding, CheckSummary};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::{
    Store,
    check::{Checker, Finding, Remedy},
};
use rorqual_snapshot::Snapshots;
use rorqual_types::ContainerId;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

/// What stands in a data root.
const ENTRIES: [&str; 7] = ["meta", "content", "layers", "containers", "volumes", "trash", "lock"];

/// What is compared.
struct Subject<'a> {
    data_root: &'a Path,
    tables: &'a Tables,
    snapshots: &'a Snapshots,
    images: &'a rorqual_image::Images,
    volumes: &'a rorqual_volume::Volumes,
}

/// Checks a data root that no daemon uses; tells `report` of each finding.
///
/// # Errors
/// `Conflict` while a daemon uses it; `NotFound` where there is none.
pub fn check(data_root: &Path, repair: bool, report: &mut dyn FnMut(CheckFinding)) -> Result<CheckSummary> {
    let meta = data_root.join("meta");
    if !meta.is_dir() {
        let text = format!("{} is no data root: it has no {}", data_root.display(), meta.display());
        return Err(Error::not_found(text));
    }
    let store = Store::open(&meta)?;
    let snapshots = Arc::new(Snapshots::open_as_is(data_root)?);
    let images = rorqual_image::Images::open_as_is(data_root, store.clone(), snapshots.clone())?;
    let volumes = rorqual_volume::Volumes::open_as_is(data_root.join("volumes"), &store)?;
    let tables = Tables::new(&store);
    let subject = Subject { data_root, tables: &tables, snapshots: &snapshots, images: &images, volumes: &volumes };
    let summary = subject.check(repair, report)?;
    snapshots.wait_for_deletions();
    store.close()?;
    Ok(summary)
}

/// As [`check`], beside everything that goes on.
pub(crate) fn check_running(parts: &Parts, repair: bool, report: &mut dyn FnMut(CheckFinding)) -> Result<CheckSummary> {
    let subject = Subject {
        data_root: &parts.config.data_root,
        tables: &parts.tables,
        snapshots: &parts.snapshots,
        images: &parts.images,
        volumes: &parts.volumes,
    };
    subject.check(repair, report)
}

impl Subject<'_> {
    fn check(&self, repair: bool, report: &mut dyn FnMut(CheckFinding)) -> Result<CheckSummary> {
        let mut report = |finding| report(present(finding));
        let checker = &mut Checker::new(repair, &mut report);
        self.check_root(checker)?;
        let containers = self.check_containers(checker)?;
        let volumes = self.volumes.check(checker)?;
        let images = self.images.verify(&containers, checker)?;
        Ok(CheckSummary {
            blobs: images.blobs,
            layers: images.layers,
            directories: images.directories,
            containers: containers.len() as u64,
            volumes,
            bytes: images.bytes,
        })
    }

    fn check_root(&self, checker: &mut Checker<'_>) -> Result<()> {
        for name in names(self.data_root)?.iter().filter(|name| !ENTRIES.contains(&name.as_str())) {
            checker.lost(format!("data root entry {name}"), "is not the daemon's", "move it away by hand");
        }
        Ok(())
    }

    fn records(&self) -> Result<BTreeMap<String, Record>> {
        Ok(self.tables.records.list()?.into_iter().collect())
    }

    /// Gives the containers that there are.
    fn check_containers(&self, checker: &mut Checker<'_>) -> Result<BTreeSet<ContainerId>> {
        let root = self.data_root.join("containers");
        for name in names(&root)? {
            let path = root.join(&name);
            // Each is read anew: what is being created is noted as pending before it has files.
            let is_pending = self.tables.pending.get(&name)?.is_some();
            if !is_pending && self.tables.records.get(&name)?.is_none() && path.exists() {
                let mend = || self.snapshots.discard(&path);
                checker.found(format!("container {name}"), "has files and no record", "delete them", mend)?;
            }
        }
        let records = self.records()?;
        for (id, record) in &records {
            let object = format!("container {id}");
            let is_there = || Ok::<_, Error>(self.tables.records.get(id)?.is_some());
            if !root.join(id).is_dir() && is_there()? {
                checker.lost(object.clone(), "has no files", "remove it and create it again");
            }
            for mount in record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume && mount.driver == "local")
            {
                if self.volumes.get(&mount.name).is_err() && is_there()? {
                    let problem = format!("uses volume {}, which is not there", mount.name);
                    checker.lost(object.clone(), problem, "create the volume, or remove the container");
                }
            }
        }
        Ok(records.into_values().map(|record| record.id).collect())
    }
}

fn present(finding: Finding) -> CheckFinding {
    let (state, remedy) = match finding.remedy {
        Remedy::Done(what) => ("repaired", what),
        Remedy::Possible(what) => ("repairable", what),
        Remedy::Advice(what) => ("lost", what),
    };
    CheckFinding { object: finding.object, problem: finding.problem, remedy, state: state.to_owned() }
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let context = || format!("list {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(context)?,
    };
    entries.map(|entry| Ok(entry.with_context(context)?.file_name().to_string_lossy().into_owned())).collect()
}
