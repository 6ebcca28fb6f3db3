//! Users, groups and id ranges from the files in `/etc`, read in-process: name-service modules are never loaded.

use anyhow::{Context, Result, bail};
use std::{fs, io};

/// The number of a group by name or number; `None` where there is none of that name.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    Ok(lookup(&fs::read_to_string("/etc/group")?, name, 2))
}

/// The number in column `column` of the line that `name` begins.
fn lookup(text: &str, name: &str, column: usize) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(column - 1)?.parse().ok()).flatten()
    })
}

/// One range of host ids that stands for a container's ids from zero on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remap {
    /// First host user id.
    pub uid: u32,
    /// First host group id.
    pub gid: u32,
    /// How many ids.
    pub length: u32,
}

impl Remap {
    /// The range of `--userns-remap`: `default`, `user[:group]`, by name or number.
    pub fn find(name: &str) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
        let (user, group) = name.split_once(':').unwrap_or((name, name));
        let or_default = |name: &str| if name == "default" { "dockremap" } else { name }.to_owned();
        let (user, group) = (or_default(user), or_default(group));
        let users = range(&read("/etc/subuid")?, &user, lookup(&read("/etc/passwd")?, &user, 2));
        let groups = range(&read("/etc/subgid")?, &group, lookup(&read("/etc/group")?, &group, 2));
        match (users, groups) {
            (Some((uid, users)), Some((gid, groups))) => Ok(Self { uid, gid, length: users.min(groups) }),
            (None, _) => bail!("no subuid ranges found for user \"{user}\" in /etc/subuid"),
            (_, None) => bail!("no subgid ranges found for group \"{group}\" in /etc/subgid"),
        }
    }
}

/// The first range of `name`, or of its number: first id and length.
fn range(text: &str, name: &str, number: Option<u32>) -> Option<(u32, u32)> {
    let number = number.map(|number| number.to_string());
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let mine = owner == name || number.as_deref() == Some(owner);
        let (start, length) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (mine && length > 0).then_some((start, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_name() {
        let text = "root:x:0:\ndocker:x:999:a,b\nbroken\nother:x:y:\n";
        assert_eq!(lookup(text, "docker", 2), Some(999));
        assert_eq!(lookup(text, "other", 2), None);
        assert_eq!(lookup(text, "none", 2), None);
    }

    #[test]
    fn a_range_is_found_by_name_or_number() {
        let text = "a:100000:65536\n1001:200000:1000\nb:x:y\n";
        assert_eq!(range(text, "a", None), Some((100_000, 65536)));
        assert_eq!(range(text, "c", Some(1001)), Some((200_000, 1000)));
        assert_eq!(range(text, "b", None), None);
    }
}
