//! Processes: clone3, exec, signals, and the descriptors a new program keeps.

use rustix::process::Pid;
use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// `CLONE_NEWUSER` and its kin, and `CLONE_PARENT`.
pub mod flags {
    /// New user namespace.
    pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
    /// New process id namespace.
    pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
    /// New mount namespace.
    pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
    /// New network namespace.
    pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;
    /// New IPC namespace.
    pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
    /// New UTS namespace.
    pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
    /// New cgroup namespace.
    pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// New time namespace.
    pub const NEWTIME: u64 = 0x80;
    /// The new process is a child of the caller's parent.
    pub const PARENT: u64 = libc::CLONE_PARENT as u64;
    pub(super) const INTO_CGROUP: u64 = 0x2_0000_0000;
}

/// Which side of a [`clone3`] this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one, with the new one's id in the caller's namespace.
    Parent(Pid),
}

/// `struct clone_args`, version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a copy of this process, in new namespaces as `flags` says and, with `cgroup`, in that v2 cgroup.
///
/// The caller must have one thread: a copied lock that another thread held would never open again. More is an error.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    if !is_single_threaded()? {
        return Err(io::Error::other("a process with several threads is not copied"));
    }
    let mut args = CloneArgs { flags, ..CloneArgs::default() };
    // With CLONE_PARENT the signal is that of the caller.
    if flags & flags::PARENT == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= flags::INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a whole clone_args that lives across the call. No memory is shared (no CLONE_VM is passed by the
    // constants above) and there is one thread, so the copy sees a consistent heap on a copied stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Pid::from_raw(pid as i32).map(Forked::Parent).ok_or_else(|| io::Error::other("clone3: no process id")),
    }
}

/// Whether this process has one thread: `/proc/self/task` has a link for each besides its own two.
fn is_single_threaded() -> io::Result<bool> {
    Ok(rustix::fs::stat(c"/proc/self/task")?.st_nlink == 3)
}

/// Replaces the program. Returns only on failure. `path` is not searched.
pub fn execve(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|item| item.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: all pointers lead to NUL-terminated strings owned by the caller, the two lists end with a null pointer, and
    // everything lives across the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once, without the exit handlers of a program it was copied from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Blocks every signal that can be blocked.
pub fn block_signals() -> io::Result<()> {
    set_mask(libc::SIG_BLOCK, true)
}

/// Lets every signal through.
pub fn unblock_signals() -> io::Result<()> {
    set_mask(libc::SIG_SETMASK, false)
}

fn full_set(full: bool) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: both calls only initialise the set they are given.
    unsafe {
        if full {
            libc::sigfillset(set.as_mut_ptr())
        } else {
            libc::sigemptyset(set.as_mut_ptr())
        };
        set.assume_init()
    }
}

fn set_mask(how: i32, full: bool) -> io::Result<()> {
    let set = full_set(full);
    // SAFETY: `set` is initialised; no old set is asked for.
    check(unsafe { libc::sigprocmask(how, &raw const set, std::ptr::null_mut()) })?;
    Ok(())
}

/// Gives every signal its default action, as a new program expects; an ignored one would stay ignored across exec.
pub fn reset_signals() {
    // The kernel's `struct sigaction`, all zero: default action, no flags, empty mask. Not through libc, which keeps its
    // own two signals to itself and leaves them ignored.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the structure is whole and only read, the mask is 8 bytes, and SIG_DFL is no code of ours; signals that
        // cannot be changed only return an error.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), 8usize);
        }
    }
}

/// A descriptor that is readable when a child has changed state. Signals must be blocked.
pub fn child_signals() -> io::Result<OwnedFd> {
    let mut set = full_set(false);
    // SAFETY: `set` is initialised.
    check(unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) })?;
    // SAFETY: `set` is initialised and only read.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: the kernel has just handed us `fd`; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits for any signal; all must be blocked.
pub fn wait_signal() -> i32 {
    let set = full_set(true);
    let mut signal = 0;
    // SAFETY: both pointers are valid for the call.
    unsafe { libc::sigwait(&raw const set, &raw mut signal) };
    signal
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its id.
    pub pid: i32,
    /// 0 to 255; 128 + N for signal N.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// One child that has ended, reaped; `None` when there is none now. `pid` restricts it to that child.
pub fn reap(pid: Option<Pid>, block: bool) -> io::Result<Option<Ended>> {
    let options = if block { rustix::process::WaitOptions::empty() } else { rustix::process::WaitOptions::NOHANG };
    loop {
        // waitpid(None) would mean the own process group only.
        let waited = match pid {
            Some(_) => rustix::process::waitpid(pid, options),
            None => rustix::process::wait(options),
        };
        match waited {
            Ok(Some((pid, status))) => {
                let signal = status.terminating_signal();
                let code = signal.map_or(status.exit_status().unwrap_or(255), |signal| 128 + signal);
                return Ok(Some(Ended { pid: pid.as_raw_nonzero().get(), code, signal }));
            }
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends a signal by number.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes two integers and touches none of our memory.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// Sends a signal by number through a process descriptor.
pub fn pidfd_kill(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes integers and a null pointer and touches none of our memory.
    let done = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: close_range takes integers; with CLOEXEC it closes nothing now.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor from `first` on, whoever thinks to own it; for a process that is about to end or that keeps
/// only what is below.
pub fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: close_range takes integers. The caller gives up what it owned, as the contract says; the safety of memory
    // does not hang on descriptors here, because no descriptor is mapped.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes ownership of a descriptor this process was started with, and marks it close-on-exec. `None` when it is not open.
pub fn inherited_fd(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl on any number touches none of our memory.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: it is open and was given to us by the one who started the program; callers take each number once.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// Sets the I/O priority of this process (`ioprio_set(2)`).
pub fn set_io_priority(priority: u32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: the call takes integers.
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `struct sched_attr` of `sched_setattr(2)`, first version.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedAttr {
    /// Bytes of this structure; set by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Deadline scheduling, ns.
    pub runtime: u64,
    /// Deadline scheduling, ns.
    pub deadline: u64,
    /// Deadline scheduling, ns.
    pub period: u64,
}

/// Sets the scheduler of this process.
pub fn set_scheduler(mut attr: SchedAttr) -> io::Result<()> {
    attr.size = size_of::<SchedAttr>() as u32;
    // SAFETY: `attr` is a whole structure of the size it names and lives across the call.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut attr, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a resource limit of another process, or of this one with pid 0. `u64::MAX` is unlimited.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives across the call and is only read; no old limit is asked for.
    check(unsafe { libc::prlimit64(pid, resource, &raw const limit, std::ptr::null_mut()) })?;
    Ok(())
}

/// Moves this process into namespaces: all of `kinds` that a process descriptor has, or the one a namespace file is.
pub fn setns(fd: BorrowedFd<'_>, kinds: u64) -> io::Result<()> {
    // SAFETY: the call takes two integers and touches none of our memory.
    check(unsafe { libc::setns(fd.as_raw_fd(), kinds as i32) })?;
    Ok(())
}

/// Moves this process into new namespaces.
pub fn unshare(kinds: u64) -> io::Result<()> {
    // SAFETY: the call takes an integer. CLONE_FILES is not among the public constants, so that descriptors stay whole.
    check(unsafe { libc::unshare(kinds as i32) })?;
    Ok(())
}

/// The kernel's words for an error number, as Go programs print them: first letter small.
pub fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_copied() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || receive.recv());
        assert!(clone3(0, None).is_err());
        drop(send);
        other.join().unwrap().unwrap_err();
    }

    #[test]
    fn errors_read_as_in_go() {
        assert_eq!(errno_text(2), "no such file or directory");
        assert_eq!(errno_text(1), "operation not permitted");
    }
}
