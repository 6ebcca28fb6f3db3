//! Cgroups of version 1, 2 and both at once behind one type.
//!
//! Where a version 2 hierarchy is mounted, even without controllers, it carries what concerns processes (kill, freeze,
//! "is it empty"), because only it does these well; limits go wherever their controller is. Nothing above our own
//! cgroups is changed, except that on a pure version 2 machine controllers are enabled on the way down.

mod bpf;
mod devices;
mod hierarchy;
mod places;
mod processes;
mod v1;
mod v2;

use hierarchy::Hierarchy;
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_oci::runtime::Resources;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long [`Cgroup::remove`] waits for killed processes to be gone.
const REMOVE_WAIT: Duration = Duration::from_secs(5);
/// How long [`Cgroup::freeze`] waits; a process in uninterruptible sleep may take long.
const FREEZE_WAIT: Duration = Duration::from_secs(10);

/// The hierarchies of this machine, as the calling process sees them.
#[derive(Clone, Debug)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

/// How the controllers are spread over hierarchies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// Controllers on version 1 and a version 2 hierarchy beside them.
    Hybrid,
    /// One hierarchy.
    V2,
}

impl Cgroups {
    /// Reads the mounts and the calling process's own place in each hierarchy.
    pub fn detect() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let places = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let mut hierarchies = hierarchy::parse(&mounts, &places);
        hierarchies.iter_mut().for_each(Hierarchy::probe);
        if hierarchies.is_empty() {
            return Err(Error::unavailable("no cgroup hierarchy is mounted"));
        }
        Ok(Self { hierarchies })
    }

    /// How the controllers are spread.
    pub fn version(&self) -> Version {
        let v2 = self.hierarchies.iter().any(|hierarchy| hierarchy.v2);
        let v1 = self.hierarchies.iter().any(|hierarchy| !hierarchy.v2);
        match (v1, v2) {
            (false, _) => Version::V2,
            (true, true) => Version::Hybrid,
            (true, false) => Version::V1,
        }
    }

    /// Whether a controller (`memory`, `pids`, ...) can be used.
    pub fn has(&self, controller: &str) -> bool {
        // Version 2 has no device, freezer or cpuacct controller: BPF, cgroup.freeze and cpu.stat do their work.
        let built_in = matches!(controller, "devices" | "freezer" | "cpuacct");
        self.hierarchies.iter().any(|hierarchy| hierarchy.has(controller) || (hierarchy.v2 && built_in))
    }

    /// Whether memory and swap together can be limited.
    pub fn has_swap_limit(&self) -> bool {
        self.hierarchies.iter().filter(|hierarchy| hierarchy.has("memory")).any(|hierarchy| {
            // The root of version 2 has no such file, but then only `swapaccount=0` takes it away from the others.
            hierarchy.v2 || hierarchy.base.join("memory.memsw.limit_in_bytes").exists()
        })
    }

    /// Makes the cgroup `path` (`rorqual/ID`) in every hierarchy, below the caller's own, or from the hierarchy's root
    /// where it begins with `/`, and sets its limits. What was made is removed again on an error.
    pub fn create(&self, path: &str, resources: &Resources) -> Result<Cgroup> {
        check_path(path)?;
        let cgroup = self.open(path);
        let mut made = Vec::with_capacity(cgroup.parts.len());
        let result = self.make(path, &cgroup, resources, &mut made).and_then(|()| cgroup.set(resources, Devices::Set));
        if let Err(error) = result {
            // Only what is ours; failing to clean up as well would only hide the reason.
            made.iter().for_each(|dir| drop(fs::remove_dir(dir)));
            return Err(error);
        }
        Ok(cgroup)
    }

    /// A handle on an existing cgroup, for recovery; missing parts are tolerated.
    pub fn open(&self, path: &str) -> Cgroup {
        let part = |hierarchy: &Hierarchy| Part {
            v2: hierarchy.v2,
            controllers: hierarchy.controllers.clone(),
            dir: hierarchy.place(path),
        };
        Cgroup { parts: self.hierarchies.iter().map(part).collect() }
    }

    fn make<'a>(&self, path: &str, cgroup: &'a Cgroup, resources: &Resources, made: &mut Vec<&'a Path>) -> Result<()> {
        let pure = self.version() == Version::V2;
        for (hierarchy, part) in self.hierarchies.iter().zip(&cgroup.parts) {
            make_leaf(hierarchy, part)?;
            made.push(&part.dir);
            if hierarchy.v2 {
                let wanted = v2::wanted_controllers(&hierarchy.controllers, resources, pure);
                v2::enable_controllers(&hierarchy.top(path), &part.dir, &wanted)?;
            }
            if part.has("cpuset") && !hierarchy.v2 {
                v1::inherit_cpuset(&hierarchy.mount, &part.dir)?;
            }
        }
        Ok(())
    }
}

/// Makes the directory and those above it. A leaf that exists already is a left-over: it goes if it is empty.
fn make_leaf(hierarchy: &Hierarchy, part: &Part) -> Result<()> {
    let attempt = || format!("create cgroup {}", part.dir.display());
    let mkdir = || fs::DirBuilder::new().mode(0o755).create(&part.dir);
    match mkdir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = part.dir.parent().unwrap_or(&hierarchy.mount);
            fs::DirBuilder::new().mode(0o755).recursive(true).create(parent).with_context(attempt)?;
            if !hierarchy.v2 && part.has("cpuset") {
                v1::inherit_cpuset(&hierarchy.mount, parent)?;
                // Children are then made with their sets filled. Not essential: the leaf is filled by hand otherwise.
                let _ = write_file(&parent.join("cgroup.clone_children"), "1");
            }
            mkdir().with_context(attempt)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_dir(&part.dir).map_err(|error| Error::new(Kind::Conflict, attempt()).caused_by(error))?;
            mkdir().with_context(attempt)
        }
        other => other.with_context(attempt),
    }
}

/// One cgroup in every hierarchy.
#[derive(Clone, Debug)]
pub struct Cgroup {
    parts: Vec<Part>,
}

/// The cgroup's directory in one hierarchy.
#[derive(Clone, Debug)]
struct Part {
    v2: bool,
    controllers: Vec<String>,
    dir: PathBuf,
}

impl Part {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }
}

/// Whether device rules are written; they are only when a cgroup is made.
#[derive(Clone, Copy, PartialEq)]
enum Devices {
    Set,
    Keep,
}

/// Where a process is to go, as flat data for the shim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachPlan {
    /// `tasks` files of version 1: the child, still single-threaded, writes `0` to each.
    pub tasks: Vec<PathBuf>,
    /// Directory of version 2, for CLONE_INTO_CGROUP.
    pub unified: Option<PathBuf>,
}

/// The opened files of an [`AttachPlan`].
#[derive(Debug)]
pub struct Attach {
    /// `tasks` files of version 1, open for writing.
    pub tasks: Vec<OwnedFd>,
    /// Directory of version 2.
    pub unified: Option<OwnedFd>,
}

impl AttachPlan {
    /// Opens the files, close-on-exec.
    pub fn open(&self) -> io::Result<Attach> {
        let tasks = self.tasks.iter().map(|path| OpenOptions::new().write(true).open(path).map(OwnedFd::from));
        let directory =
            |path: &PathBuf| OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_PATH).open(path);
        let unified = self.unified.as_ref().map(directory).transpose()?.map(OwnedFd::from);
        Ok(Attach { tasks: tasks.collect::<io::Result<_>>()?, unified })
    }
}

impl Cgroup {
    /// Where a process of this cgroup is to go.
    pub fn attach_plan(&self) -> AttachPlan {
        AttachPlan {
            tasks: self.parts.iter().filter(|part| !part.v2).map(|part| part.dir.join("tasks")).collect(),
            unified: self.unified().map(Path::to_owned),
        }
    }

    /// Whether anything of it exists.
    pub fn exists(&self) -> bool {
        self.parts.iter().any(|part| part.dir.exists())
    }

    /// Sets the limits that `resources` names and leaves the others; device rules are left too.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        self.set(resources, Devices::Keep)
    }

    fn set(&self, resources: &Resources, devices: Devices) -> Result<()> {
        for part in &self.parts {
            if part.v2 {
                v2::set(part, resources)?;
            } else {
                v1::set(part, resources)?;
            }
        }
        if devices == Devices::Set && !resources.devices.is_empty() {
            self.set_devices(resources)?;
        }
        Ok(())
    }

    fn set_devices(&self, resources: &Resources) -> Result<()> {
        if let Some(part) = self.parts.iter().find(|part| !part.v2 && part.has("devices")) {
            return devices::write_v1(&part.dir, &resources.devices);
        }
        match self.unified() {
            Some(dir) => devices::attach_v2(dir, &resources.devices),
            None => Err(Error::unavailable("no cgroup controls devices: neither the v1 controller nor a v2 hierarchy")),
        }
    }

    /// Stops every process; returns once they are frozen.
    pub fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + FREEZE_WAIT;
        processes::freeze(self, deadline).context("freeze the cgroup")
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        processes::thaw(self).context("thaw the cgroup")
    }

    /// Kills every process inside, those that fork while it is done too. Returns when the signals are sent.
    pub fn kill_all(&self) -> Result<()> {
        processes::kill_all(self).context("kill the processes of the cgroup")
    }

    /// Process ids inside, in cgroups below too; in the caller's PID namespace.
    pub fn pids(&self) -> Result<Vec<i32>> {
        processes::pids(self).context("list the processes of the cgroup")
    }

    /// Waits until nothing runs inside any more; false when `deadline` came first.
    pub fn wait_empty(&self, deadline: Instant) -> Result<bool> {
        processes::wait_empty(self, deadline).context("wait for the cgroup to be empty")
    }

    /// How many times the kernel killed for memory.
    pub fn oom_kills(&self) -> Result<u64> {
        let Some(part) = self.parts.iter().find(|part| part.has("memory")) else { return Ok(0) };
        let file = part.dir.join(if part.v2 { "memory.events" } else { "memory.oom_control" });
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
    }

    /// Removes it and what is below, waiting a bounded time for its processes to be gone. A missing one is no error.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + REMOVE_WAIT;
        for part in &self.parts {
            self.remove_part(&part.dir, deadline).with_context(|| format!("remove cgroup {}", part.dir.display()))?;
        }
        Ok(())
    }

    fn remove_part(&self, dir: &Path, deadline: Instant) -> io::Result<()> {
        let mut pause = Duration::from_micros(200);
        loop {
            match remove_tree(dir) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    // Empty and still busy is a process in its last steps in the kernel: no event tells its end.
                    if processes::wait_empty(self, deadline)? {
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(20));
                    }
                }
                other => return other,
            }
        }
    }

    fn unified(&self) -> Option<&Path> {
        self.parts.iter().find(|part| part.v2).map(|part| part.dir.as_path())
    }
}

/// Removes a directory and those below it, deepest first.
fn remove_tree(dir: &Path) -> io::Result<()> {
    let missing =
        |error: &io::Error| error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV);
    match fs::remove_dir(dir) {
        Err(error) if missing(&error) => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        other => return other,
    }
    let entries = match fs::read_dir(dir) {
        Err(error) if missing(&error) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir).or_else(|error| if missing(&error) { Ok(()) } else { Err(error) })
}

/// Refuses what would leave the hierarchy or is no directory name.
fn check_path(path: &str) -> Result<()> {
    let relative = path.strip_prefix('/').unwrap_or(path);
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.len() > 255 || part.contains('\0');
    if relative.split('/').any(bad) {
        let shown: String = path.chars().take(256).collect();
        return Err(Error::invalid(format!("invalid cgroup path: {shown:?}")));
    }
    Ok(())
}

/// Writes a control file with one call, as the kernel wants it.
fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// [`write_file`] with what was attempted in the error.
fn set_file(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    write_file(&path, text).with_context(|| format!("write {text:?} to {}", path.display()))
}

#[cfg(test)]
mod tests;
