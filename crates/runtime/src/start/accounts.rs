//! The account files of a root: names to numbers, as docker resolves `--user` and `--group-add`.
//!
//! The files belong to an image author: sizes and lines are limited (V11), wrong lines are skipped, numbers are checked
//! (R18). No name service of the host or the image is asked (R7).

use super::identity::Account;
use crate::{
    failure::{At, Outcome},
    limits::{ACCOUNT_FILE_MAX_BYTES, ACCOUNT_FILE_MAX_LINES},
    protocol::{Failure, Step},
};
use rorqual_linux::root::Root;
use rustix::fs::{FileType, Mode, OFlags};
use std::{fs::File, io::Read, path::Path};

/// The highest id docker takes: of 32 bits with sign.
const ID_MAX: u32 = i32::MAX as u32;

/// The texts of `/etc/passwd` and `/etc/group`; empty where a file is missing.
#[derive(Debug, Default)]
pub struct Files {
    passwd: String,
    group: String,
}

impl Files {
    /// Reads both inside `root`; a link cannot lead out of it.
    pub fn read(root: &Path) -> Outcome<Self> {
        let root = Root::open_path(root).at(Step::User, "open the root")?;
        Ok(Self { passwd: read_limited(&root, "/etc/passwd")?, group: read_limited(&root, "/etc/group")? })
    }

    /// The home directory of a user by number; `/` when the files do not know it.
    pub fn home(&self, uid: u32) -> Option<String> {
        let entry = self.users().find(|user| user.uid == uid);
        Some(entry.map_or("/".to_owned(), |user| user.home.to_owned()))
    }

    /// docker's `user[:group]`, with the groups the user is a member of unless a group is named, and `more` groups. All
    /// groups, the first one too, are in the result's list.
    pub fn named(&self, text: &str, more: &[String]) -> Outcome<Account> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let number = parse_id(user);
        let entry = match (user, number) {
            ("", _) => self.users().find(|entry| entry.uid == 0),
            _ => self.users().find(|entry| entry.name == user || Some(entry.uid) == number),
        };
        let (uid, mut gid) = match (&entry, user, number) {
            (Some(entry), _, _) => (entry.uid, entry.gid),
            (None, "", _) => (0, 0),
            (None, _, Some(uid)) => (uid, 0),
            (None, _, None) if is_number(user) => {
                return Err(Failure::new(Step::User, "uids and gids must be in range 0-2147483647"));
            }
            (None, _, None) => {
                return Err(Failure::new(
                    Step::User,
                    format!("unable to find user {}: no matching entries in passwd file", shown(user)),
                ));
            }
        };
        let mut groups = Vec::new();
        if !group.is_empty() {
            gid = self.group(group).ok_or_else(|| missing_group(group))?;
        } else if let Some(entry) = &entry {
            groups.extend(self.groups().filter(|group| group.has(entry.name)).map(|group| group.gid));
        }
        for name in more {
            let wrong = || Failure::new(Step::User, format!("Unable to find group {}", shown(name)));
            groups.push(self.group(name).ok_or_else(wrong)?);
        }
        groups.insert(0, gid);
        let mut unique = Vec::with_capacity(groups.len());
        for group in groups {
            if !unique.contains(&group) {
                unique.push(group);
            }
        }
        let home = entry.map_or("/", |entry| entry.home);
        Ok(Account { uid, gid, groups: unique, home: Some(home.to_owned()) })
    }

    /// A group by name or number; a number need not be in the file.
    fn group(&self, name: &str) -> Option<u32> {
        let number = parse_id(name);
        let entry = self.groups().find(|entry| entry.name == name || Some(entry.gid) == number);
        entry.map(|entry| entry.gid).or(number)
    }

    fn users(&self) -> impl Iterator<Item = UserEntry<'_>> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
            let home = fields.get(5).copied().unwrap_or_default();
            Some(UserEntry { name, uid: parse_id(uid)?, gid: parse_id(gid)?, home })
        })
    }

    fn groups(&self) -> impl Iterator<Item = GroupEntry<'_>> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let [name, _, gid, ..] = fields.as_slice() else { return None };
            Some(GroupEntry { name, gid: parse_id(gid)?, members: fields.get(3).copied().unwrap_or_default() })
        })
    }
}

struct UserEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl GroupEntry<'_> {
    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member == user)
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_id(text: &str) -> Option<u32> {
    // "+5" would parse.
    text.parse().ok().filter(|id| *id <= ID_MAX && !text.starts_with('+'))
}

fn missing_group(group: &str) -> Box<Failure> {
    if is_number(group) {
        return Failure::new(Step::User, "uids and gids must be in range 0-2147483647");
    }
    Failure::new(Step::User, format!("unable to find group {}: no matching entries in group file", shown(group)))
}

fn shown(text: &str) -> String {
    text.chars().take(256).collect()
}

fn read_limited(root: &Root, path: &str) -> Outcome<String> {
    let what = || format!("read {path}");
    // Not blocking: the file may be a fifo.
    let file = match root.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(error) if matches!(error.raw_os_error(), Some(2 | 20)) => return Ok(String::new()),
        Err(error) => return Err(error).at_with(Step::User, what),
    };
    let stat = rustix::fs::fstat(&file).at_with(Step::User, what)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Failure::new(Step::User, format!("{}: not a regular file", what())));
    }
    let mut bytes = Vec::new();
    file.take(ACCOUNT_FILE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes).at_with(Step::User, what)?;
    if bytes.len() > ACCOUNT_FILE_MAX_BYTES {
        return Err(Failure::new(Step::User, format!("{path} is larger than {ACCOUNT_FILE_MAX_BYTES} bytes")));
    }
    if bytes.iter().filter(|byte| **byte == b'\n').count() > ACCOUNT_FILE_MAX_LINES {
        return Err(Failure::new(Step::User, format!("{path} has more than {ACCOUNT_FILE_MAX_LINES} lines")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files {
            passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:44::/srv:/bin/sh\nhuge:x:4294967296:1::/:\n"
                .into(),
            group: "root:x:0:\nwheel:x:10:root,web\nweb:x:44:\nextra:x:50:web\n".into(),
        }
    }

    #[track_caller]
    fn check(user: &str, more: &[&str], expected: Result<(u32, u32, &[u32], &str), &str>) {
        let more: Vec<String> = more.iter().map(|name| (*name).to_owned()).collect();
        let found = files().named(user, &more);
        match expected {
            Ok((uid, gid, groups, home)) => assert_eq!(
                found.unwrap(),
                Account { uid, gid, groups: groups.to_vec(), home: Some(home.to_owned()) },
                "{user}"
            ),
            Err(text) => assert_eq!(found.unwrap_err().message, text),
        }
    }

    #[test]
    fn users_and_groups_as_docker_finds_them() {
        check("", &[], Ok((0, 0, &[0, 10], "/root")));
        check("web", &[], Ok((33, 44, &[44, 10, 50], "/srv")));
        check("33", &[], Ok((33, 44, &[44, 10, 50], "/srv")));
        check("web:wheel", &[], Ok((33, 10, &[10], "/srv")));
        check("web:77", &["extra", "99"], Ok((33, 77, &[77, 50, 99], "/srv")));
        check("1000", &[], Ok((1000, 0, &[0], "/")));
        check("1000:1000", &["1000"], Ok((1000, 1000, &[1000], "/")));
        check("nope", &[], Err("unable to find user nope: no matching entries in passwd file"));
        check("0:nope", &[], Err("unable to find group nope: no matching entries in group file"));
        check("root", &["nope"], Err("Unable to find group nope"));
        check("-1", &[], Err("uids and gids must be in range 0-2147483647"));
        check("2147483648", &[], Err("uids and gids must be in range 0-2147483647"));
        check("0:4294967295", &[], Err("uids and gids must be in range 0-2147483647"));
    }

    #[test]
    fn huge_account_files_are_refused() {
        let dir = std::env::temp_dir().join(format!("rorqual-accounts-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        let read = |content: &[u8]| {
            std::fs::write(dir.join("etc/passwd"), content).unwrap();
            Files::read(&dir).map(drop)
        };
        assert!(read(&vec![b'a'; ACCOUNT_FILE_MAX_BYTES]).is_ok());
        assert!(read(&vec![b'a'; ACCOUNT_FILE_MAX_BYTES + 1]).is_err());
        assert!(read(&vec![b'\n'; ACCOUNT_FILE_MAX_LINES]).is_ok());
        assert!(read(&vec![b'\n'; ACCOUNT_FILE_MAX_LINES + 1]).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
