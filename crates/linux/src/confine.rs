//! Confining a short-lived helper process: its own user namespace, Landlock, and an allow-list of system calls.

use crate::seccomp::{Instruction, Program};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Moves the calling process, which must have one thread, into a new user namespace without any ids mapped yet.
pub fn unshare_user() -> io::Result<()> {
    // SAFETY: the call takes an integer and touches none of our memory; the descriptor table stays shared as it was.
    let done = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What Landlock's first version knows about: all access to files that it can deny.
const ACCESS_ALL: u64 = 0x1fff;
/// Version 2: linking and renaming across directories.
const ACCESS_REFER: u64 = 1 << 13;
/// Version 3: truncation.
const ACCESS_TRUNCATE: u64 = 1 << 14;
/// Version 5: ioctl on devices.
const ACCESS_IOCTL: u64 = 1 << 15;
/// Reading files and listing directories.
const ACCESS_READ: u64 = (1 << 2) | (1 << 3);

#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// Which directories the process may use from now on.
#[derive(Debug)]
pub struct Landlock {
    ruleset: OwnedFd,
    handled: u64,
}

impl Landlock {
    /// A rule set that allows nothing; `None` where the kernel has no Landlock.
    pub fn new() -> io::Result<Option<Self>> {
        const VERSION: u32 = 1;
        // SAFETY: with this flag the call takes no memory and returns a number.
        let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, VERSION) };
        let mut handled = match version {
            ..=0 => return Ok(None),
            1 => ACCESS_ALL,
            2 => ACCESS_ALL | ACCESS_REFER,
            _ => ACCESS_ALL | ACCESS_REFER | ACCESS_TRUNCATE,
        };
        if version >= 5 {
            handled |= ACCESS_IOCTL;
        }
        let attributes = RulesetAttributes { handled_access_fs: handled };
        // SAFETY: the kernel reads `size_of` bytes of a structure that lives across the call.
        let fd = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size_of::<RulesetAttributes>(), 0)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just handed us the descriptor; nothing else owns it.
        let ruleset = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Some(Self { ruleset, handled }))
    }

    /// Allows everything below `directory`.
    pub fn allow_all(&self, directory: impl AsFd) -> io::Result<()> {
        self.allow(directory.as_fd(), self.handled)
    }

    /// Allows reading below `directory`.
    pub fn allow_read(&self, directory: impl AsFd) -> io::Result<()> {
        self.allow(directory.as_fd(), ACCESS_READ)
    }

    fn allow(&self, directory: BorrowedFd<'_>, allowed_access: u64) -> io::Result<()> {
        const PATH_BENEATH: u32 = 1;
        let rule = PathBeneath { allowed_access, parent_fd: directory.as_raw_fd() };
        // SAFETY: the kernel reads a structure of this layout that lives across the call.
        let done = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, self.ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Puts the calling thread, and what it starts, under the rules for good. Needs no_new_privs.
    pub fn restrict_self(self) -> io::Result<()> {
        // SAFETY: the call takes integers and touches none of our memory.
        let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.ruleset.as_raw_fd(), 0) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// A filter that lets `calls` through and answers EPERM to every other call; a foreign architecture kills.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub fn allow_only(calls: &[libc::c_long]) -> Program {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const KILL: u32 = 0x8000_0000;
    const ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let mut instructions =
        vec![step(LOAD, 0, 0, 4), step(EQUAL, 1, 0, AUDIT_ARCH), step(RETURN, 0, 0, KILL), step(LOAD, 0, 0, 0)];
    for call in calls {
        // x32 calls have a bit set that no number of ours has, and so match nothing.
        instructions.push(step(EQUAL, 0, 1, *call as u32));
        instructions.push(step(RETURN, 0, 0, ALLOW));
    }
    instructions.push(step(RETURN, 0, 0, ERRNO | libc::EPERM as u32));
    Program { instructions, flags: 0 }
}

/// What a helper needs that reads a stream on several threads and makes files below directories it holds.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub const UNPACK_CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_readlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_fsetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_fadvise64,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clone3,
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_prctl,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
];
