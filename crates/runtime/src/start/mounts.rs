//! Single mounts inside the root: each target is a descriptor found without leaving the root (R1, R2).

use super::{rootfs::PROC_MAGIC, sources};
use crate::{
    failure::{At, Outcome},
    plan::{MountAttributes, Namespace, Plan},
    protocol::{Failure, Step},
};
use rorqual_linux::{
    mount::{self, Attributes, attr},
    root::{Make, Root, is_directory},
};
use rustix::fs::{Mode, OFlags};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path},
};

/// The only places inside procfs that something may be mounted on at the user's wish.
const PROC_TARGETS: [&str; 7] = ["meminfo", "stat", "uptime", "loadavg", "cpuinfo", "swaps", "diskstats"];

/// `f_type` of the file systems cgroups are.
const CGROUP_MAGIC: u64 = 0x27e0eb;

/// Where something is mounted.
#[derive(Debug)]
pub struct Place<'a> {
    /// The container's root.
    pub root: &'a Root,
    /// The path inside it.
    pub target: &'a str,
}

impl Place<'_> {
    fn what(&self) -> String {
        format!("error mounting {:?}", self.target)
    }

    /// Attaches a detached mount; the target is made when missing.
    pub fn attach(&self, source: OwnedFd, make: Make) -> Outcome<OwnedFd> {
        let target =
            self.root.make(self.target, make).at_with(Step::Mount, || format!("{}: make the target", self.what()))?;
        mount::attach(source.as_fd(), target.as_fd()).at_with(Step::Mount, || self.what())?;
        Ok(source)
    }

    /// Attaches a bind, file on file or directory on directory.
    pub fn bind(&self, source: OwnedFd) -> Outcome<()> {
        let what = || self.what();
        let directory = is_directory(&source).at_with(Step::Mount, what)?;
        let make = if directory { Make::Directory } else { Make::File };
        let target =
            self.root.make(self.target, make).at_with(Step::Mount, || format!("{}: make the target", self.what()))?;
        self.refuse_proc(&target, &source)?;
        if is_directory(&target).at_with(Step::Mount, what)? != directory {
            return Err(Failure::new(
                Step::Mount,
                format!(
                    "{}: not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the \
                     specified host path exists and is the expected type",
                    self.what()
                ),
            ));
        }
        mount::attach(source.as_fd(), target.as_fd()).at_with(Step::Mount, what)
    }

    /// A container must not get a procfs with parts replaced: programs, and we, believe what it says.
    fn refuse_proc(&self, target: &OwnedFd, source: &OwnedFd) -> Outcome<()> {
        let magic = |fd: &OwnedFd| rustix::fs::fstatfs(fd).map(|stat| stat.f_type as u64);
        let names: Vec<&str> = Path::new(self.target)
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        // a bind on /proc itself takes the place of ours, so nothing is mounted there yet
        let instead = names == ["proc"];
        if !instead && magic(target).at(Step::Mount, "look at a mount target")? != PROC_MAGIC {
            return Ok(());
        }
        let allowed = match names.as_slice() {
            ["proc"] => magic(source).at(Step::Mount, "look at a bind source")? == PROC_MAGIC,
            ["proc", name] => PROC_TARGETS.contains(name),
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        Err(Failure::new(Step::Mount, format!("{}: cannot be mounted because it is inside /proc", self.what())))
    }

    /// Mounts a new file system.
    pub fn filesystem(
        &self,
        kind: &str,
        source: &str,
        options: &[(String, String)],
        attributes: &MountAttributes,
    ) -> Outcome<OwnedFd> {
        let made = mount::filesystem(kind, source, options, attributes.set & !attr::RDONLY)
            .at_with(Step::Mount, || format!("{}: mount {kind}", self.what()))?;
        self.finish(&made, attributes)?;
        self.attach(made, Make::Directory)
    }

    /// A tmpfs that begins with what the root has at the target.
    pub fn tmpfs_with_content(&self, options: &[(String, String)], attributes: &MountAttributes) -> Outcome<OwnedFd> {
        let made = mount::filesystem("tmpfs", "tmpfs", options, attributes.set & !attr::RDONLY)
            .at_with(Step::Mount, || format!("{}: mount tmpfs", self.what()))?;
        let target = self.root.make(self.target, Make::Directory).at_with(Step::Mount, || self.what())?;
        crate::copy_up::copy_tree(target.as_fd(), made.as_fd())
            .at_with(Step::Mount, || format!("{}: copy up", self.what()))?;
        self.finish(&made, attributes)?;
        mount::attach(made.as_fd(), target.as_fd()).at_with(Step::Mount, || self.what())?;
        Ok(made)
    }

    /// Read-only and propagation.
    fn finish(&self, made: &OwnedFd, attributes: &MountAttributes) -> Outcome<()> {
        let rest = MountAttributes { set: attributes.set & attr::RDONLY, clear: 0, ..*attributes };
        sources::set(made.as_fd(), &rest).at_with(Step::Mount, || format!("{}: set attributes", self.what()))
    }
}

/// The container's cgroups below the target: one directory for each v1 hierarchy as the host has them, or the v2 tree.
pub fn cgroup(place: &Place<'_>, plan: &Plan, attributes: &MountAttributes) -> Outcome<()> {
    let hierarchies = hierarchies()?;
    let [Hierarchy { controllers: None, .. }] = hierarchies.as_slice() else {
        return cgroup_v1(place, plan, &hierarchies, attributes);
    };
    let made = if plan.namespaces.cgroup == Namespace::Host {
        host_cgroup(place, "/sys/fs/cgroup")?
    } else {
        mount::filesystem("cgroup2", "cgroup", &[], attributes.set & !attr::RDONLY)
            .at_with(Step::Mount, || format!("{}: mount cgroup2", place.what()))?
    };
    place.finish(&made, attributes)?;
    place.attach(made, Make::Directory)?;
    Ok(())
}

fn cgroup_v1(place: &Place<'_>, plan: &Plan, hierarchies: &[Hierarchy], attributes: &MountAttributes) -> Outcome<()> {
    let what = || place.what();
    let options = [("mode".to_owned(), "755".to_owned())];
    let dir =
        mount::filesystem("tmpfs", "tmpfs", &options, attributes.set & !attr::RDONLY).at_with(Step::Mount, what)?;
    let dir = place.attach(dir, Make::Directory)?;
    let base = Root::new(dir.try_clone().at_with(Step::Mount, what)?);
    for hierarchy in hierarchies {
        let below = Place { root: &base, target: &hierarchy.name };
        let made = match (&hierarchy.controllers, &plan.namespaces.cgroup) {
            (_, Namespace::Host) => host_cgroup(place, &hierarchy.mount)?,
            (Some(controllers), _) => {
                let options: Vec<(String, String)> = controllers.split(',').map(cgroup_option).collect();
                mount::filesystem("cgroup", "cgroup", &options, attributes.set & !attr::RDONLY)
                    .at_with(Step::Mount, || format!("{}: mount cgroup {controllers}", place.what()))?
            }
            (None, _) => mount::filesystem("cgroup2", "cgroup", &[], attributes.set & !attr::RDONLY)
                .at_with(Step::Mount, || format!("{}: mount cgroup2", place.what()))?,
        };
        place.finish(&made, attributes)?;
        below.attach(made, Make::Directory)?;
        // `cpu,cpuacct` is reached by each name as well, as on the host.
        for single in hierarchy.name.split(',').filter(|single| *single != hierarchy.name) {
            rustix::fs::symlinkat(hierarchy.name.as_str(), &base, single).at_with(Step::Mount, what)?;
        }
    }
    place.finish(&dir, attributes)
}

fn cgroup_option(controller: &str) -> (String, String) {
    match controller.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (controller.to_owned(), String::new()),
    }
}

/// Without a cgroup namespace the container sees its part of the host's tree only through a bind of it.
fn host_cgroup(place: &Place<'_>, host: &str) -> Outcome<OwnedFd> {
    let fd = mount::clone_tree(rustix::fs::CWD, host.as_ref(), false).at_with(Step::Mount, || place.what())?;
    let magic = rustix::fs::fstatfs(&fd).at_with(Step::Mount, || place.what())?.f_type as u64;
    if magic == CGROUP_MAGIC || magic == 0x6367_7270 {
        return Ok(fd);
    }
    Err(Failure::new(Step::Mount, format!("{}: {host} is not a cgroup mount", place.what())))
}

struct Hierarchy {
    /// Directory of the mount: `cpu,cpuacct`, `systemd`, `unified`.
    name: String,
    /// Where the host has it.
    mount: String,
    /// What selects it; `None` for v2.
    controllers: Option<String>,
}

/// The host's cgroup mounts, from this process's own (copied) mount table.
fn hierarchies() -> Outcome<Vec<Hierarchy>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").at(Step::Mount, "read mountinfo")?;
    let own = std::fs::read_to_string("/proc/self/cgroup").at(Step::Mount, "read the own cgroups")?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in table.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let (Some(mount), Some(kind)) = (head.split(' ').nth(4), tail.split(' ').next()) else { continue };
        let controllers = match kind {
            "cgroup2" => None,
            "cgroup" => {
                let options = tail.split(' ').nth(2).unwrap_or_default();
                let Some(controllers) = own_controllers(&own, options) else { continue };
                Some(controllers)
            }
            _ => continue,
        };
        let name = mount.rsplit('/').next().unwrap_or_default().to_owned();
        if found.iter().all(|known| known.controllers != controllers) {
            found.push(Hierarchy { name, mount: mount.to_owned(), controllers });
        }
    }
    Ok(found)
}

/// The controllers of the hierarchy with these super block options, as `/proc/self/cgroup` writes them.
fn own_controllers(own: &str, options: &str) -> Option<String> {
    let options: Vec<&str> = options.split(',').collect();
    own.lines().filter_map(|line| line.split(':').nth(1)).find_map(|controllers| {
        let all = !controllers.is_empty() && controllers.split(',').all(|name| options.contains(&name));
        all.then(|| controllers.to_owned())
    })
}

/// Hides masked paths and makes read-only ones so.
pub fn cover(root: &Root, plan: &Plan, null: Option<BorrowedFd<'_>>) -> Outcome<()> {
    let readonly = Attributes { set: attr::RDONLY, ..Attributes::default() };
    for path in &plan.readonly {
        let what = || format!("make {path} read-only");
        let Some(target) = existing(root, path)? else { continue };
        let copy = mount::clone_tree(target.as_fd(), "".as_ref(), true).at_with(Step::Mount, what)?;
        mount::set_attributes(copy.as_fd(), true, readonly).at_with(Step::Mount, what)?;
        mount::attach(copy.as_fd(), target.as_fd()).at_with(Step::Mount, what)?;
    }
    let mut empty: Option<OwnedFd> = None;
    for path in &plan.masked {
        let what = || format!("mask {path}");
        let Some(target) = existing(root, path)? else { continue };
        if is_directory(&target).at_with(Step::Mount, what)? {
            let source = match &empty {
                Some(empty) => mount::clone_tree(empty.as_fd(), "".as_ref(), false).at_with(Step::Mount, what)?,
                None => mount::filesystem("tmpfs", "tmpfs", &[("mode".into(), "755".into())], attr::RDONLY)
                    .at_with(Step::Mount, what)?,
            };
            mount::attach(source.as_fd(), target.as_fd()).at_with(Step::Mount, what)?;
            empty.get_or_insert(source);
        } else {
            mask_file(root, path, &target, null)?;
        }
    }
    Ok(())
}

fn existing(root: &Root, path: &str) -> Outcome<Option<OwnedFd>> {
    match root.locate(path) {
        Ok(target) => Ok(Some(target)),
        Err(error) if matches!(error.raw_os_error(), Some(2 | 20)) => Ok(None),
        Err(error) => Err(error).at_with(Step::Mount, || format!("look at {path}")),
    }
}

/// `null` is the node we made ourselves; without one the container's is taken after proof that it is one.
fn mask_file(root: &Root, path: &str, target: &OwnedFd, null: Option<BorrowedFd<'_>>) -> Outcome<()> {
    let what = || format!("mask {path}");
    let found = match null {
        Some(null) => null.try_clone_to_owned().at_with(Step::Mount, what)?,
        None => root.open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).at_with(Step::Mount, what)?,
    };
    let source = mount::clone_tree(found.as_fd(), "".as_ref(), false).at_with(Step::Mount, what)?;
    mount::attach(source.as_fd(), target.as_fd()).at_with(Step::Mount, what)?;
    let seen = root.locate(path).and_then(|fd| Ok(rustix::fs::fstat(&fd)?)).at_with(Step::Mount, what)?;
    if seen.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(Failure::new(Step::Mount, format!("{}: something else is there", what())));
    }
    Ok(())
}
