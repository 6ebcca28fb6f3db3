//! Whether a user of an exec exists in its container, looked up when the exec is created, as dockerd does. The shim looks
//! again, and decides, when it starts.

use rorqual_error::{Context, Error, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use std::{fs::File, io::Read};

/// Account files are read no further (threats.md §6).
const ACCOUNT_FILE_MAX: u64 = 1 << 20;

/// Refuses a `user[:group]` of which a part is a name that the container `pid` does not know.
pub(super) fn check(pid: i32, text: &str) -> Result<()> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    for (name, kind, file) in [(user, "user", "passwd"), (group, "group", "group")] {
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number && !has_name(&read(pid, &format!("etc/{file}"))?, name) {
            let shown: String = name.chars().take(256).collect();
            return Err(Error::invalid(format!("unable to find {kind} {shown}: no matching entries in {file} file")));
        }
    }
    Ok(())
}

fn has_name(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.split(':').next() == Some(name))
}

/// A file of the container, resolved in its root; a missing one is empty.
fn read(pid: i32, path: &str) -> Result<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).context("open the container's root")?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(fd) = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) else { return Ok(String::new()) };
    let stat = rustix::fs::fstat(&fd).context("look at an account file")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    File::from(fd).take(ACCOUNT_FILE_MAX).read_to_end(&mut bytes).context("read an account file")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_first_field() {
        let text = "root:x:0:0::/root:/bin/sh\nweb:x:5:5::/:/bin/sh\n";
        assert!(has_name(text, "web"));
        assert!(!has_name(text, "we") && !has_name(text, "x"));
    }
}
