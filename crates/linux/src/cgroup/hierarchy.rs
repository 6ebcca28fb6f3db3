//! Which hierarchies are mounted where, and where the calling process is in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub v2: bool,
    /// Names as in `/proc/self/cgroup`: `memory`, `name=systemd`; of version 2 what [`Hierarchy::probe`] found.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    /// Where relative paths begin: the caller's own cgroup.
    pub base: PathBuf,
}

impl Hierarchy {
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }

    /// The directory where a path of ours begins.
    pub fn top(&self, path: &str) -> PathBuf {
        if path.starts_with('/') { self.mount.clone() } else { self.base.clone() }
    }

    pub fn place(&self, path: &str) -> PathBuf {
        self.top(path).join(path.trim_start_matches('/'))
    }

    /// Asks the kernel what a text cannot say: the controllers of version 2, and which ancestor may have children. A
    /// version 2 cgroup with processes of its own (a service of systemd) may not hand controllers to children.
    pub fn probe(&mut self) {
        if !self.v2 {
            return;
        }
        while self.base != self.mount && has_processes(&self.base) && self.base.pop() {}
        let controllers = fs::read_to_string(self.base.join("cgroup.controllers")).unwrap_or_default();
        self.controllers = controllers.split_whitespace().map(str::to_owned).collect();
    }
}

fn has_processes(dir: &Path) -> bool {
    fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|text| !text.is_empty())
}

/// Joins the mounts (`/proc/self/mountinfo`) with the caller's places (`/proc/self/cgroup`).
pub(super) fn parse(mounts: &str, places: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for mount in mounts.lines().filter_map(parse_mount) {
        let Some((controllers, place)) = find_place(places, &mount) else { continue };
        let v2 = mount.kind == "cgroup2";
        // A hierarchy may be mounted several times; the first mount serves.
        if found.iter().any(|known| known.v2 == v2 && (v2 || known.controllers == controllers)) {
            continue;
        }
        let below = Path::new(place).strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let base = mount.target.join(below);
        found.push(Hierarchy { v2, controllers, mount: mount.target, base });
    }
    found
}

struct Mount<'a> {
    kind: &'a str,
    root: PathBuf,
    target: PathBuf,
    options: &'a str,
}

fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, target) = (fields.next()?, fields.next()?);
    let mut fields = system.split(' ');
    let kind = fields.next()?;
    let options = fields.nth(1)?;
    matches!(kind, "cgroup" | "cgroup2").then(|| Mount {
        kind,
        root: unescape(root),
        target: unescape(target),
        options,
    })
}

/// Blanks and backslashes are octal in mountinfo.
fn unescape(text: &str) -> PathBuf {
    let replaced = text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    PathBuf::from(replaced)
}

/// The controllers and the caller's path of the hierarchy that is mounted there.
fn find_place<'a>(places: &'a str, mount: &Mount<'_>) -> Option<(Vec<String>, &'a str)> {
    places.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, place) = rest.split_once(':')?;
        if mount.kind == "cgroup2" {
            return controllers.is_empty().then(|| (Vec::new(), place));
        }
        let controllers: Vec<String> = controllers.split(',').map(str::to_owned).collect();
        let mounted = |controller: &String| mount.options.split(',').any(|option| option == controller);
        (!controllers.is_empty() && controllers.iter().all(mounted)).then_some((controllers, place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounts: &str, places: &str, expected: &[(bool, &str, &str)]) {
        let found = parse(mounts, places);
        let found: Vec<_> =
            found.iter().map(|one| (one.v2, one.controllers.join(","), one.base.display().to_string())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(v2, names, base)| (*v2, (*names).to_owned(), (*base).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn version_two_alone() {
        check(
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/user.slice/a\n",
            &[(true, "", "/sys/fs/cgroup/user.slice/a")],
        );
    }

    #[test]
    fn hybrid_with_joint_controllers_and_a_second_mount() {
        check(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             33 31 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 31 0:32 /outer /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n\
             35 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             36 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "9:name=systemd:/\n4:memory:/outer/inner\n2:cpu,cpuacct:/\n7:blkio:/\n0::/\n",
            &[
                (false, "cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/"),
                (false, "memory", "/sys/fs/cgroup/mem ory/inner"),
                (false, "name=systemd", "/sys/fs/cgroup/systemd/"),
                (true, "", "/sys/fs/cgroup/unified/"),
            ],
        );
    }
}
