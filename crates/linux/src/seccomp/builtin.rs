//! The profile of a container that names none (threats.md §5).
//!
//! Everything a program of a plain container needs is open, and that is at most 250 calls on x86_64. What needs a
//! capability is open with that capability. What would only be tried by a program that has a fallback answers ENOSYS, so
//! that it falls back; the rest answers EPERM, as programs know it from other engines.

use super::profile::{ArchMap, Condition, Profile, Rule};
use rorqual_oci::runtime::SeccompArg;

/// Open to everyone. Grouped by what they are for; names that do not exist on a machine are ignored there.
const BASE: &[&str] = &[
    // Files by name.
    "access chdir chmod chown chown32 creat faccessat faccessat2 fchdir fchmodat fchmodat2 fchownat fstatat64 getcwd \
     inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lchown32 link linkat lstat lstat64 mkdir \
     mkdirat mknod mknodat newfstatat open openat openat2 readlink readlinkat rename renameat renameat2 rmdir stat \
     stat64 statfs statfs64 statx symlink symlinkat truncate truncate64 umask unlink unlinkat utime utimensat \
     utimensat_time64 utimes",
    // Extended attributes.
    "fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr lsetxattr \
     removexattr setxattr",
    // Descriptors.
    "_llseek _newselect close close_range copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl \
     epoll_pwait epoll_wait eventfd2 fadvise64 fadvise64_64 fallocate fchmod fchown fchown32 fcntl fcntl64 fdatasync \
     flock fstat fstat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 getdents getdents64 ioctl lseek memfd_create \
     pipe pipe2 poll ppoll ppoll_time64 pread64 preadv pselect6 pselect6_time64 pwrite64 pwritev read readv select \
     sendfile sendfile64 signalfd4 splice sync sync_file_range syncfs timerfd_create timerfd_settime \
     timerfd_settime64 write writev",
    // Old asynchronous I/O, which databases and nginx use.
    "io_destroy io_getevents io_setup io_submit",
    // Sockets; which families, `socket_rules` says.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmmsg_time64 recvmsg \
     sendmmsg sendmsg sendto setsockopt shutdown",
    // Memory.
    "brk madvise mincore mlock mlockall mmap mmap2 mprotect mremap msync munlock munlockall munmap",
    // Processes and threads.
    "arch_prctl execve exit exit_group fork futex futex_time64 getpgid getpgrp getpid getppid getpriority getrlimit \
     getrusage getsid gettid ioprio_set kill nice pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq \
     sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler \
     sched_setaffinity sched_setparam sched_setscheduler sched_yield set_robust_list set_tid_address setpgid \
     setpriority setrlimit setsid sysinfo tgkill times tkill ugetrlimit uname vfork wait4 waitid waitpid",
    // Signals.
    "pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_sigtimedwait_time64 sigaltstack signal sigprocmask sigreturn sigaction sigsuspend",
    // Time.
    "alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 \
     getitimer gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun timer_gettime \
     timer_gettime64 timer_settime timer_settime64",
    // Identity.
    "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 \
     getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups \
     setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32",
    // System V and POSIX inter-process communication.
    "mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 \
     mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
    // Randomness, and programs that confine themselves.
    "getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
];

/// Open with a capability, as Docker's profile ties them.
const TIED: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "name_to_handle_at open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fanotify_mark fsconfig fsmount fsopen fspick listmount lookup_dcookie mount \
         mount_setattr move_mount name_to_handle_at open_tree open_tree_attr perf_event_open quotactl quotactl_fd \
         setdomainname sethostname setns statmount syslog umount umount2 unshare",
    ),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_mrelease process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];

/// Only where 32-bit programs are let in: their C libraries know no other way to threads, sockets and semaphores.
const ONLY_32_BIT: &str = "get_thread_area ipc modify_ldt set_thread_area socketcall";

/// Closed, but tried by programs that have another way: they are told that there is no such call.
const ABSENT: &str = "cachestat epoll_pwait2 eventfd execveat file_getattr file_setattr futex_requeue futex_wait futex_waitv \
     futex_wake futimesat get_robust_list getcpu getxattrat io_cancel io_pgetevents io_pgetevents_time64 \
     io_uring_enter io_uring_register io_uring_setup ioprio_get listxattrat lsm_get_self_attr lsm_list_modules \
     lsm_set_self_attr map_shadow_stack membarrier memfd_secret mlock2 mseal pkey_alloc pkey_free pkey_mprotect \
     preadv2 pwritev2 readahead remap_file_pages removexattrat rt_tgsigqueueinfo sched_getattr sched_rr_get_interval \
     sched_rr_get_interval_time64 sched_setattr setxattrat signalfd tee timerfd_gettime timerfd_gettime64 userfaultfd \
     vmsplice";

/// Execution domains that change nothing that matters: Linux, 32-bit `uname`, no address randomisation, and asking.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const CLONE_NEW: u64 = 0x7e02_0000;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// Families the kernel knows (AF_MAX), with room.
const FAMILIES: u64 = 48;
const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const AF_PACKET: u64 = 17;
/// Routes, the audit system (PAM, sudo), events of devices.
const NETLINK_PROTOCOLS: [u64; 3] = [0, 9, 15];

/// For whom the profile is written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Reader {
    /// Our own compiler, which takes the first rule that holds.
    Own,
    /// libseccomp, which orders the rules of a call by itself.
    Libseccomp,
}

pub(super) fn profile(reader: Reader) -> Profile {
    let own = |name: &str| ArchMap { architecture: name.to_owned(), sub_architectures: Vec::new() };
    let on_32_bit = Condition { arches: vec!["386".to_owned()], ..Condition::default() };
    let mut syscalls = vec![allow(&BASE.join(" ")), Rule { includes: on_32_bit, ..allow(ONLY_32_BIT) }];
    for value in PERSONALITIES {
        syscalls.push(Rule { args: vec![equal(0, value)], ..allow("personality") });
    }
    syscalls.extend(clone_rules());
    syscalls.extend(socket_rules(reader));
    syscalls.extend(TIED.iter().map(|(cap, names)| Rule { includes: with(cap), ..allow(names) }));
    syscalls.push(refuse(ABSENT, ENOSYS));
    Profile {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(1),
        arch_map: vec![own("SCMP_ARCH_X86_64"), own("SCMP_ARCH_AARCH64")],
        syscalls,
        ..Profile::default()
    }
}

/// Without namespaces for everyone. The flags of clone3 are in memory, where no filter sees them.
fn clone_rules() -> [Rule; 2] {
    let no_namespace = SeccompArg { index: 0, value: CLONE_NEW, value_two: 0, op: "SCMP_CMP_MASKED_EQ".to_owned() };
    [
        Rule { args: vec![no_namespace], excludes: with("CAP_SYS_ADMIN"), ..allow("clone") },
        Rule { excludes: with("CAP_SYS_ADMIN"), ..refuse("clone3", ENOSYS) },
    ]
}

/// A family that is not open is one the machine does not have: PAM dies of EPERM but knows EAFNOSUPPORT.
fn socket_rules(reader: Reader) -> Vec<Rule> {
    const SOCKETS: &str = "socket socketpair";
    let family = |value| Rule { args: vec![equal_int(0, value)], ..allow(SOCKETS) };
    let mut rules: Vec<Rule> = [AF_UNIX, AF_INET, AF_INET6].map(family).to_vec();
    rules.push(Rule { includes: with("CAP_NET_ADMIN"), ..family(AF_NETLINK) });
    rules.push(Rule { includes: with("CAP_NET_RAW"), ..family(AF_PACKET) });
    for protocol in NETLINK_PROTOCOLS {
        rules.push(Rule {
            args: vec![equal_int(0, AF_NETLINK), equal_int(2, protocol)],
            excludes: with("CAP_NET_ADMIN"),
            ..allow(SOCKETS)
        });
    }
    match reader {
        // Whatever is left; the order of rules decides.
        Reader::Own => {
            let any = SeccompArg { index: 0, value: 0, value_two: 0, op: "SCMP_CMP_MASKED_EQ".to_owned() };
            rules.push(Rule { args: vec![any], ..refuse(SOCKETS, EAFNOSUPPORT) });
        }
        // No two rules may hold for one call: each family by itself, and EPERM for protocols of netlink.
        Reader::Libseccomp => {
            let open = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET];
            let closed = (0..FAMILIES).filter(|family| !open.contains(family));
            let refusal = |family| Rule { args: vec![equal_int(0, family)], ..refuse(SOCKETS, EAFNOSUPPORT) };
            rules.extend(closed.map(refusal));
        }
    }
    rules
}

fn allow(names: &str) -> Rule {
    Rule { names: list(names), action: "SCMP_ACT_ALLOW".to_owned(), ..Rule::default() }
}

fn refuse(names: &str, errno: u32) -> Rule {
    Rule { names: list(names), action: "SCMP_ACT_ERRNO".to_owned(), errno_ret: Some(errno), ..Rule::default() }
}

fn list(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

fn with(cap: &str) -> Condition {
    Condition { caps: vec![cap.to_owned()], ..Condition::default() }
}

fn equal(index: u32, value: u64) -> SeccompArg {
    SeccompArg { index, value, value_two: 0, op: "SCMP_CMP_EQ".to_owned() }
}

/// For an argument that is an `int`: the kernel does not look at the upper half, where a register may hold anything.
fn equal_int(index: u32, value: u64) -> SeccompArg {
    SeccompArg { index, value: 0xffff_ffff, value_two: value, op: "SCMP_CMP_MASKED_EQ".to_owned() }
}
