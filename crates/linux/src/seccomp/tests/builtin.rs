//! The built-in profile: what is open, what is closed, and that the kernel agrees.

use super::*;
use crate::{caps::CapSet, seccomp::tables::SYSCALLS};
use std::io::{Read as _, pipe};

const ALLOW: u32 = 0x7fff_0000;
const ENOSYS: u32 = 0x0005_0026;
const EPERM: u32 = 0x0005_0001;
const EAFNOSUPPORT: u32 = 0x0005_0061;
const CLONE_NEWUSER: u64 = 0x1000_0000;

fn context(caps: CapSet) -> Context {
    Context { caps, arch: Arch::X86_64, kernel: (6, 1), foreign32: false }
}

fn program(caps: CapSet) -> Program {
    compile_for(&Profile::builtin().resolve(&context(caps)).unwrap(), Arch::X86_64).unwrap()
}

fn ask(program: &Program, name: &str, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    run(program, Call::native(Arch::X86_64.number(name).unwrap(), all))
}

#[test]
fn at_most_250_calls_are_open_to_everyone() {
    let program = program(CapSet::NONE);
    let random = [0x1234_5678_9abc_def0; 6];
    let open = SYSCALLS.iter().filter_map(|entry| u32::try_from(entry.1).ok());
    let open = open.filter(|number| run(&program, Call::native(*number, random)) == ALLOW).count();
    println!("{open} calls, {} instructions", program.instructions.len());
    assert!((200..=250).contains(&open), "{open}");
    assert!(program.instructions.len() < 400, "{}", program.instructions.len());
}

#[test]
fn every_name_exists_somewhere() {
    for rule in Profile::builtin().syscalls {
        for name in rule.names {
            let known = [Arch::X86_64, Arch::X86, Arch::Aarch64].iter().any(|arch| arch.number(&name).is_some());
            assert!(known, "{name}");
        }
    }
}

#[test]
fn what_a_plain_container_may_not() {
    let program = program(CapSet::CONTAINER);
    for name in [
        "mount",
        "umount2",
        "pivot_root",
        "unshare",
        "setns",
        "bpf",
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "kexec_file_load",
        "open_by_handle_at",
        "ptrace",
        "process_vm_readv",
        "reboot",
        "settimeofday",
        "clock_settime",
        "swapon",
        "iopl",
        "ioperm",
        "acct",
        "quotactl",
        "perf_event_open",
        "keyctl",
        "add_key",
        "request_key",
        "fsopen",
        "open_tree",
        "move_mount",
        "mount_setattr",
        "syslog",
        "uselib",
        "nfsservctl",
        "personality",
        "sethostname",
    ] {
        assert_eq!(ask(&program, name, &[0x1234]), EPERM, "{name}");
    }
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "clone3"] {
        assert_eq!(ask(&program, name, &[]), ENOSYS, "{name}");
    }
    assert_eq!(ask(&program, "chroot", &[]), ALLOW);
    assert_eq!(ask(&program, "clone", &[17]), ALLOW);
    assert_eq!(ask(&program, "clone", &[CLONE_NEWUSER | 17]), EPERM);
    for (domain, answer) in [(0, ALLOW), (8, ALLOW), (0x20008, ALLOW), (0xffff_ffff, ALLOW), (0x0040_0000, EPERM)] {
        assert_eq!(ask(&program, "personality", &[domain]), answer, "{domain:#x}");
    }
}

#[test]
fn capabilities_open_what_docker_ties_to_them() {
    for (cap, names) in [
        ("SYS_ADMIN", &["mount", "unshare", "setns", "clone3", "bpf", "fsopen"][..]),
        ("SYS_PTRACE", &["ptrace", "process_vm_readv", "kcmp", "pidfd_getfd"]),
        ("SYS_MODULE", &["init_module"]),
        ("SYS_TIME", &["clock_settime", "adjtimex"]),
        ("DAC_READ_SEARCH", &["open_by_handle_at"]),
        ("SYSLOG", &["syslog"]),
        ("BPF", &["bpf"]),
        ("SYS_BOOT", &["reboot"]),
    ] {
        let program = program(CapSet::from_names([cap]).unwrap());
        for name in names {
            assert_eq!(ask(&program, name, &[]), ALLOW, "{name} with {cap}");
        }
    }
    let admin = program(CapSet::from_names(["SYS_ADMIN"]).unwrap());
    assert_eq!(ask(&admin, "clone", &[CLONE_NEWUSER]), ALLOW);
    assert_eq!(ask(&admin, "io_uring_setup", &[]), ENOSYS);
}

#[test]
fn socket_families() {
    let plain = program(CapSet::CONTAINER);
    let none = program(CapSet::NONE);
    let net = program(CapSet::from_names(["NET_ADMIN"]).unwrap());
    for family in 0..64 {
        let open = [1, 2, 10].contains(&family);
        let answer = |open: bool| if open { ALLOW } else { EAFNOSUPPORT };
        assert_eq!(ask(&none, "socket", &[family, 1, 99]), answer(open), "{family}");
        assert_eq!(ask(&plain, "socket", &[family, 1, 99]), answer(open || family == 17), "{family}");
        assert_eq!(ask(&net, "socket", &[family, 1, 99]), answer(open || family == 16), "{family}");
        // The upper half of an int is not looked at by the kernel either.
        assert_eq!(ask(&none, "socketpair", &[family | 7 << 32, 1, 0]), answer(open || family == 16), "{family}");
    }
    for (protocol, answer) in [(0, ALLOW), (4, EAFNOSUPPORT), (9, ALLOW), (12, EAFNOSUPPORT), (15, ALLOW)] {
        assert_eq!(ask(&plain, "socket", &[16, 3, protocol]), answer, "{protocol}");
    }
}

#[test]
fn both_forms_mean_the_same() {
    let own = program(CapSet::CONTAINER);
    let other = Profile::builtin_for_libseccomp().resolve(&context(CapSet::CONTAINER)).unwrap();
    let other = compile_for(&other, Arch::X86_64).unwrap();
    for family in 0..48 {
        assert_eq!(ask(&own, "socket", &[family, 1, 0]), ask(&other, "socket", &[family, 1, 0]), "{family}");
    }
    for entry in SYSCALLS.iter().filter(|entry| entry.1 >= 0) {
        assert_eq!(ask(&own, entry.0, &[1]), ask(&other, entry.0, &[1]), "{}", entry.0);
    }
}

#[test]
fn other_entries() {
    let plain = program(CapSet::CONTAINER);
    let call = |arch, number| Call { arch, number, args: [0; 6] };
    assert_eq!(run(&plain, call(0x4000_0003, 3)), 0x8000_0000);
    assert_eq!(run(&plain, call(0xc000_003e, 0x4000_0000)), ENOSYS);
    assert_eq!(run(&plain, call(0xc000_003e, 1000)), ENOSYS);
    let both = Context { foreign32: true, ..context(CapSet::CONTAINER) };
    let both = compile_for(&Profile::builtin().resolve(&both).unwrap(), Arch::X86_64).unwrap();
    assert_eq!(run(&both, call(0x4000_0003, 3)), ALLOW);
    assert_eq!(run(&both, call(0x4000_0003, 21)), EPERM);
    let arm = Context { arch: Arch::Aarch64, ..context(CapSet::CONTAINER) };
    let arm = compile_for(&Profile::builtin().resolve(&arm).unwrap(), Arch::Aarch64).unwrap();
    assert_eq!(run(&arm, call(0xc000_00b7, 63)), ALLOW);
    assert_eq!(run(&arm, call(0xc000_003e, 0)), 0x8000_0000);
}

#[test]
fn programs_are_kept_by_capabilities() {
    let cache = Cache::new(Profile::builtin());
    let one = cache.program(&context(CapSet::CONTAINER)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &cache.program(&context(CapSet::CONTAINER)).unwrap()));
    assert_ne!(one, cache.program(&context(CapSet::ALL)).unwrap());
}

/// A child under the filter makes every closed call, with arguments that would do nothing, and some open ones.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_kernel_agrees() {
    let program = program(CapSet::CONTAINER);
    let (mut reader, writer) = pipe().unwrap();
    // SAFETY: the child calls only system calls on memory it owns, and ends with _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        probe(&program, &writer);
    }
    drop(writer);
    let mut answers = Vec::new();
    reader.read_to_end(&mut answers).unwrap();
    let mut status = 0;
    // SAFETY: `child` is our own child and `status` is ours to be written.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    assert_eq!(answers.len(), 2 * PROBED);
    for (number, answer) in answers.chunks_exact(2).enumerate() {
        let verdict = run(&program, Call::native(number as u32, [0; 6]));
        if verdict != ALLOW && !UPROBES.contains(&number) {
            assert_eq!(u32::from(answer[0]), verdict & 0xff, "call {number}");
        }
    }
    assert_eq!(answers[2 * 39 + 1], 1, "getpid is open");
}

const PROBED: usize = 480;
/// The kernel lets these two through whatever a filter says, and kills who calls them by hand.
const UPROBES: [usize; 2] = [335, 336];

#[cfg(target_arch = "x86_64")]
fn probe(program: &Program, writer: &io::PipeWriter) -> ! {
    use std::os::fd::AsRawFd as _;
    let mut answers = [0u8; 2 * PROBED];
    // SAFETY: integers only.
    let failed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 || program.install().is_err();
    if failed {
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(1) };
    }
    for number in 0..PROBED {
        // Open calls could do anything; of those only getpid is made.
        let closed = run(program, Call::native(number as u32, [0; 6])) != ALLOW && !UPROBES.contains(&number);
        if closed || number == 39 {
            // SAFETY: closed calls never reach the kernel's implementation, and getpid takes nothing.
            let result = unsafe { libc::syscall(number as libc::c_long, 0, 0, 0, 0, 0, 0) };
            answers[2 * number] = io::Error::last_os_error().raw_os_error().unwrap_or(0) as u8;
            answers[2 * number + 1] = u8::from(result > 0);
        }
    }
    // SAFETY: the buffer is live; then the child ends at once.
    unsafe {
        let written = libc::write(writer.as_raw_fd(), answers.as_ptr().cast(), answers.len());
        libc::_exit(i32::from(written != answers.len() as isize));
    }
}
