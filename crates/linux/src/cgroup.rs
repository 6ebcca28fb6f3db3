//! Cgroups of version 1, 2 and both at once behind one type.

use rorqual_error::Result;
use rorqual_oci::runtime::Resources;
use serde::{Deserialize, Serialize};
use std::{io, os::fd::OwnedFd, path::PathBuf};

/// The hierarchies of this machine, as the calling process sees them.
#[derive(Clone, Debug)]
pub struct Cgroups {}

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
        todo!()
    }

    /// How the controllers are spread.
    pub fn version(&self) -> Version {
        todo!()
    }

    /// Whether a controller (`memory`, `pids`, ...) can be used.
    pub fn has(&self, _controller: &str) -> bool {
        todo!()
    }

    /// Makes the cgroup `path` (`rorqual/ID`) in every hierarchy, below the caller's own, or from the hierarchy's root
    /// where it begins with `/`, and sets its limits. What was made is removed again on an error.
    pub fn create(&self, _path: &str, _resources: &Resources) -> Result<Cgroup> {
        todo!()
    }

    /// A handle on an existing cgroup, for recovery; missing parts are tolerated.
    pub fn open(&self, _path: &str) -> Cgroup {
        todo!()
    }
}

/// One cgroup in every hierarchy.
#[derive(Clone, Debug)]
pub struct Cgroup {}

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
        todo!()
    }
}

impl Cgroup {
    /// Where a process of this cgroup is to go.
    pub fn attach_plan(&self) -> AttachPlan {
        todo!()
    }

    /// Sets the limits that `resources` names and leaves the others.
    pub fn update(&self, _resources: &Resources) -> Result<()> {
        todo!()
    }

    /// Stops every process; returns once they are frozen.
    pub fn freeze(&self) -> Result<()> {
        todo!()
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        todo!()
    }

    /// Kills every process inside, those that fork while it is done too. Returns when the signals are sent.
    pub fn kill_all(&self) -> Result<()> {
        todo!()
    }

    /// Process ids inside, in cgroups below too.
    pub fn pids(&self) -> Result<Vec<i32>> {
        todo!()
    }

    /// How many times the kernel killed for memory.
    pub fn oom_kills(&self) -> Result<u64> {
        todo!()
    }

    /// Removes it and what is below, waiting a bounded time for its processes to be gone. A missing one is no error.
    pub fn remove(&self) -> Result<()> {
        todo!()
    }
}
