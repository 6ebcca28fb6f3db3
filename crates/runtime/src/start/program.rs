//! The program itself: finding it as Go's `LookPath` does, whose words docker's users know, and becoming it.

use super::{
    foreign,
    identity::{self, Account},
};
use crate::{
    failure::{At, Outcome},
    plan::{CapabilityMasks, ProcessPlan},
    protocol::{Failure, Step},
};
use rorqual_linux::{process, seccomp};
use rustix::{
    fs::{Access, AtFlags, CWD, FileType},
    io::Errno,
};
use std::{convert::Infallible, ffi::CString};

/// A program about to be executed.
#[derive(Debug)]
pub struct Program {
    /// Its file.
    pub program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    masks: CapabilityMasks,
    filter: Option<seccomp::Program>,
}

impl Program {
    pub(super) fn new(plan: &ProcessPlan, account: &Account, masks: CapabilityMasks) -> Outcome<Self> {
        let mut env = strings(&plan.env)?;
        if let Some(home) = &account.home
            && !plan.env.iter().any(|entry| entry.starts_with("HOME="))
        {
            env.push(string(&format!("HOME={home}"))?);
        }
        let args = strings(&plan.args)?;
        Ok(Self { program: CString::default(), args, env, masks, filter: plan.seccomp.clone() })
    }

    /// The filter and the last capabilities.
    pub(super) fn restrict(&self) -> Outcome<()> {
        identity::restrict(&self.masks, self.filter.as_ref())
    }

    /// Becomes the program. Only what goes wrong before exec is returned; what exec itself refuses (a script without its
    /// interpreter, a foreign architecture) the container says on its own stderr, as with runc.
    pub(super) fn execute(&self) -> Outcome<Infallible> {
        process::reset_signals();
        process::unblock_signals().at(Step::Exec, "unblock signals")?;
        self.restrict()?;
        let error = process::execve(&self.program, &self.args, &self.env);
        let errno = error.raw_os_error().unwrap_or(0);
        let mut text = format!("exec {}: {}\n", self.program.to_string_lossy(), process::errno_text(errno));
        if errno == Errno::NOEXEC.raw_os_error() {
            text.extend(foreign::advice(&self.program));
        }
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
        process::exit_now(255)
    }
}

fn string(text: &str) -> Outcome<CString> {
    CString::new(text).map_err(|_| Failure::new(Step::Exec, "an argument or variable holds a zero byte"))
}

fn strings(list: &[String]) -> Outcome<Vec<CString>> {
    list.iter().map(|text| string(text)).collect()
}

/// The file `args[0]` names: itself when it has a slash, else the first executable of that name in `PATH`.
pub fn find(plan: &ProcessPlan, cwd: &str) -> Outcome<CString> {
    let name = plan.args.first().ok_or_else(|| Failure::new(Step::Exec, "no command specified"))?;
    let failed = |error: &str, code| {
        let message = format!("exec: {name:?}: {error}: unknown");
        Box::new(Failure { step: Step::Exec, errno: 0, code, message })
    };
    if name.contains('/') {
        let path = if name.starts_with('/') { name.clone() } else { format!("{}/{name}", cwd.trim_end_matches('/')) };
        return match executable(&path) {
            Ok(()) => string(name),
            Err(Errno::NOENT) => Err(failed(&format!("stat {name}: no such file or directory"), 127)),
            Err(Errno::NOTDIR) => Err(failed(&format!("stat {name}: not a directory"), 126)),
            Err(error) => Err(failed(&process::errno_text(error.raw_os_error()), 126)),
        };
    }
    let path = plan.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    for dir in path.split(':') {
        let dir = if dir.is_empty() { cwd } else { dir };
        let candidate = format!("{}/{name}", dir.trim_end_matches('/'));
        if !name.is_empty() && executable(&candidate).is_ok() {
            return string(&candidate);
        }
    }
    Err(failed("executable file not found in $PATH", 127))
}

/// Whether the file can be executed by the ids in force; on a mount without exec it cannot.
fn executable(path: &str) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // Before faccessat2: the mode alone decides.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(Errno::ACCESS),
        result => result,
    }
}
