//! What is remembered of a container between commands.

use super::Global;
use rorqual_error::{Context, Error, Result};
use rorqual_linux::cgroup::{Cgroup, Cgroups};
use rorqual_oci::runtime as oci;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Name of the fifo a created container waits on.
pub(super) const FIFO: &str = "exec.fifo";

/// One container, as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub id: String,
    pub pid: i32,
    /// When the process began, in the kernel's ticks: a process id alone is not a process.
    pub start_ticks: u64,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// As [`Cgroups::open`] takes it.
    pub cgroup: String,
    /// Whether the user namespace is not the caller's.
    pub own_user: bool,
    pub spec: oci::Spec,
}

/// The state directory of one container.
#[derive(Debug)]
pub(super) struct Directory {
    pub path: PathBuf,
}

impl Directory {
    /// Makes it; a used id is an error.
    pub fn create(global: &Global, id: &str) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&global.root)
            .with_context(|| format!("make {}", global.root.display()))?;
        let path = global.root.join(id);
        match fs::DirBuilder::new().mode(0o711).create(&path) {
            Ok(()) => Ok(Self { path }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::conflict("container with given ID already exists"))
            }
            Err(error) => Err(error).with_context(|| format!("make {}", path.display())),
        }
    }

    /// The existing one.
    pub fn open(global: &Global, id: &str) -> Result<(Self, Record)> {
        let path = global.root.join(id);
        let bytes = match fs::read(path.join("state.json")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::not_found("container does not exist"));
            }
            Err(error) => return Err(error).context("read the container's state"),
        };
        let record = serde_json::from_slice(&bytes).context("the container's state is damaged")?;
        Ok((Self { path }, record))
    }

    /// Stores the record: complete or not at all.
    pub fn save(&self, record: &Record) -> Result<()> {
        let temporary = self.path.join("state.json.new");
        fs::write(&temporary, serde_json::to_vec(record).context("encode the state")?).context("write the state")?;
        fs::rename(&temporary, self.path.join("state.json")).context("write the state")
    }

    pub fn fifo(&self) -> PathBuf {
        self.path.join(FIFO)
    }

    /// Forgets the container.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("remove the state"),
            _ => Ok(()),
        }
    }
}

impl Record {
    /// Where it is in its life.
    pub fn status(&self, directory: &Directory) -> oci::Status {
        if !self.is_alive() {
            return oci::Status::Stopped;
        }
        if directory.fifo().exists() {
            return oci::Status::Created;
        }
        match self.cgroup() {
            Ok(cgroup) if is_frozen(&cgroup) => oci::Status::Paused,
            _ => oci::Status::Running,
        }
    }

    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid).is_some_and(|ticks| ticks == self.start_ticks)
    }

    pub fn cgroup(&self) -> Result<Cgroup> {
        Ok(Cgroups::detect()?.open(&self.cgroup))
    }

    /// What `state` prints.
    pub fn state(&self, directory: &Directory) -> oci::State {
        let status = self.status(directory);
        oci::State {
            oci_version: oci::VERSION.to_owned(),
            id: self.id.clone(),
            pid: if status == oci::Status::Stopped { 0 } else { self.pid },
            status,
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: self.spec.annotations.clone(),
        }
    }
}

/// When a process began; `None` when there is none, or only what its parent has not collected.
pub(super) fn start_ticks(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything, those too.
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let state = *fields.first()?;
    (state != "Z" && state != "X").then(|| fields.get(19)?.parse().ok())?
}

fn is_frozen(cgroup: &Cgroup) -> bool {
    let plan = cgroup.attach_plan();
    let v1 = plan.tasks.iter().filter_map(|tasks| fs::read_to_string(tasks.parent()?.join("freezer.state")).ok());
    let v2 = plan.unified.iter().filter_map(|dir| fs::read_to_string(dir.join("cgroup.freeze")).ok());
    v1.chain(v2).any(|text| matches!(text.trim(), "FROZEN" | "FREEZING" | "1"))
}

/// The cgroup of a document: as it says, or the id below the caller's own.
pub(super) fn cgroup_path(path: &str, id: &str, systemd: bool) -> Result<String> {
    if path.is_empty() {
        return Ok(id.to_owned());
    }
    if !systemd {
        return Ok(path.to_owned());
    }
    match path.split(':').collect::<Vec<_>>().as_slice() {
        [slice, prefix, name] => {
            let slice = if slice.is_empty() { "system.slice" } else { slice };
            let unit = if prefix.is_empty() { name.to_string() } else { format!("{prefix}-{name}") };
            let unit = if unit.ends_with(".slice") { unit } else { format!("{unit}.scope") };
            Ok(format!("/{}/{unit}", expand_slice(slice)))
        }
        _ => Err(Error::invalid(format!("expected cgroupsPath to be of format \"slice:prefix:name\", got {path:?}"))),
    }
}

/// `a-b.slice` lies in `a.slice`.
fn expand_slice(slice: &str) -> String {
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    if name.is_empty() || name == "-" {
        return String::new();
    }
    let parts: Vec<&str> = name.split('-').collect();
    let dirs: Vec<String> = (1..=parts.len()).map(|count| format!("{}.slice", parts[..count].join("-"))).collect();
    dirs.join("/")
}

/// A path made absolute against a directory.
pub(super) fn absolute(base: &Path, path: &str) -> PathBuf {
    base.join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_paths() {
        assert_eq!(cgroup_path("", "c", false).unwrap(), "c");
        assert_eq!(cgroup_path("/a/b", "c", false).unwrap(), "/a/b");
        assert_eq!(cgroup_path("a-b.slice:docker:c", "c", true).unwrap(), "/a.slice/a-b.slice/docker-c.scope");
        assert!(cgroup_path("/a", "c", true).is_err());
    }

    #[test]
    fn a_process_is_known_by_its_beginning() {
        let own = std::process::id() as i32;
        assert!(start_ticks(own).is_some());
        assert_eq!(start_ticks(0), None);
    }
}
