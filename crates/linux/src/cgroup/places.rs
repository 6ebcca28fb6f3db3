//! Where our cgroups begin, kept for the next daemon: one started from another login session or service has another cgroup
//! of its own, and must still find those of the containers that live on.

use super::{Cgroups, hierarchy::Hierarchy};
use rorqual_error::{Context, Result};
use std::{fs, io, path::Path};

impl Cgroups {
    /// Begins where the daemon that wrote `file` began, as far as those cgroups still exist, and writes `file` anew. It
    /// belongs on a file system that a reboot empties, as cgroups are.
    pub fn remember(&mut self, file: &Path) -> Result<()> {
        let known = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.with_context(|| format!("read {}", file.display()))?,
        };
        self.hierarchies.iter_mut().for_each(|hierarchy| resume(hierarchy, &known));
        let text: String = self.hierarchies.iter().map(line).collect();
        if text == known {
            return Ok(());
        }
        let fresh = file.with_extension("new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, file))
            .with_context(|| format!("write {}", file.display()))
    }
}

fn line(hierarchy: &Hierarchy) -> String {
    format!("{}\t{}\n", hierarchy.mount.display(), hierarchy.base.display())
}

fn resume(hierarchy: &mut Hierarchy, known: &str) {
    let of_mount = |line: &&str| line.split_once('\t').is_some_and(|(mount, _)| Path::new(mount) == hierarchy.mount);
    let Some((_, base)) = known.lines().find(of_mount).and_then(|line| line.split_once('\t')) else { return };
    let base = Path::new(base);
    if base.starts_with(&hierarchy.mount) && base.is_dir() {
        hierarchy.base = base.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_daemon_begins_where_the_first_began() {
        let dir = tempfile::tempdir().unwrap();
        let (mount, file) = (dir.path().join("memory"), dir.path().join("places"));
        let (first, second) = (mount.join("session-1"), mount.join("session-2"));
        fs::create_dir_all(&first).unwrap();
        fs::create_dir_all(&second).unwrap();
        let from = |base: &Path| Cgroups {
            hierarchies: vec![Hierarchy {
                v2: false,
                controllers: vec!["memory".into()],
                mount: mount.clone(),
                base: base.to_owned(),
            }],
        };
        from(&first).remember(&file).unwrap();
        let mut next = from(&second);
        next.remember(&file).unwrap();
        assert_eq!(next.hierarchies[0].base, first);
        fs::remove_dir(&first).unwrap();
        let mut last = from(&second);
        last.remember(&file).unwrap();
        assert_eq!(last.hierarchies[0].base, second, "what is gone is not waited for");
    }
}
