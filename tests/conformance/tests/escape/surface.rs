//! V22, V31: what of the host can be seen and called without need.

use crate::{daemon, docker};
use rorqual_testkit::{images, shell};
use std::{collections::BTreeSet, sync::Once};

/// V22: a stranger on the machine reads and enters nothing of ours.
#[test]
fn conf_modes() {
    docker("run -d -p 80 -v conf-modes:/v --name conf-modes hello count 100").ok();
    docker("exec conf-modes /hello echo x").ok();
    let (data, run, root) = (daemon().data_root(), daemon().exec_root(), &daemon().root);
    let found = shell(&format!(
        "chmod 755 {root}; setpriv --reuid 65534 --regid 65534 --clear-groups find {data} {run} -mindepth 1 2>/dev/null; \
         setpriv --reuid 65534 --regid 65534 --clear-groups ls {data} {run} 2>/dev/null",
        root = root.display(),
        data = data.display(),
        run = run.display(),
    ));
    let seen: Vec<&str> = found.stdout.lines().filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
    assert!(seen.is_empty(), "uid 65534 sees {seen:#?}");
    let writable = shell(&format!(
        "find {} {} -perm /022 ! -type l ! -path '*/rw/*' ! -path '*/layers/*' ! -path '*/_data/*' ! -type s 2>/dev/null",
        data.display(),
        run.display()
    ));
    assert_eq!(writable.stdout, "", "others may write here");
    let sockets = shell(&format!("find {} {} -type s -perm /077 2>/dev/null", data.display(), run.display()));
    assert_eq!(sockets.stdout, "", "others may call these sockets");
    let mode = shell(&format!("stat -c %a {}", daemon().socket().display())).ok();
    assert!(["660", "600"].contains(&mode.trim()), "the API's socket has mode {mode}");
    docker("rm -f -v conf-modes").ok();
    docker("volume rm -f conf-modes");
}

/// V22: no socket of ours has a name that is not a path; a container on the host's network sees none.
#[test]
fn conf_sockets() {
    docker("run -d -i --name conf-sockets hello sleep 1000").ok();
    let seen = docker("run --rm --network host busybox cat /proc/net/unix").ok();
    docker("rm -f conf-sockets").ok();
    let abstracts: Vec<&str> =
        seen.lines().filter_map(|line| line.split_whitespace().nth(7)).filter(|name| name.starts_with('@')).collect();
    assert!(abstracts.is_empty(), "{abstracts:?}");
    let own = daemon().netns.as_ref().expect("a network of its own").inside("cat /proc/net/unix").ok();
    assert!(!own.contains(" @"), "{own}");
}

fn debian() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| daemon().load(&images::debian()));
}

/// Runs a perl program in a Debian container; every Debian has perl, and perl can make any system call.
fn perl(flags: &str, program: &str) -> String {
    debian();
    let mut words = vec!["run", "--rm", "--network", "none"];
    words.extend(flags.split_whitespace());
    words.extend(["debian:bookworm", "perl", "-e", program]);
    daemon().docker(words).ok()
}

/// V31: socket families: four are open, the others are not known here.
#[test]
fn conf_families() {
    let program = r#"use POSIX; for my $f (0..46) { for my $t (1,2,3,5) { for my $p (0) {
        my $r = syscall(41, $f, $t, $p); print "$f $t ", ($r >= 0 ? "ok" : $!+0), "\n"; POSIX::close($r) if $r >= 0; } } }
        for my $p (0..22) { my $r = syscall(41, 16, 3, $p); print "netlink $p ", ($r >= 0 ? "ok" : $!+0), "\n"; }"#;
    let output = perl("", program);
    let open: BTreeSet<&str> = output
        .lines()
        .filter(|line| line.ends_with(" ok"))
        .filter(|line| !line.starts_with("netlink"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    // docker's 14 capabilities have NET_RAW, and with it packets
    let allowed = BTreeSet::from(["1", "2", "10", "16", "17"]);
    assert!(open.is_subset(&allowed), "open families: {open:?}");
    let netlink: BTreeSet<&str> =
        output.lines().filter_map(|line| line.strip_prefix("netlink ")?.strip_suffix(" ok")).collect();
    assert!(netlink.is_subset(&BTreeSet::from(["0", "9", "15"])), "open netlink protocols: {netlink:?}");
    // EPERM is fatal to PAM and others; the answer is that there is no such family
    for family in ["38", "40", "9", "6", "31"] {
        let line = output.lines().find(|line| line.starts_with(&format!("{family} 2 "))).expect("probed");
        assert!(line.ends_with(" 97"), "{line}");
    }
    let packet = perl("--cap-drop NET_RAW", "print syscall(41, 17, 3, 0) >= 0 ? 'ok' : $!+0");
    assert_ne!(packet, "ok");
    let vsock = perl("--security-opt seccomp=unconfined", "print syscall(41, 38, 5, 0) >= 0 ? 'ok' : $!+0");
    assert_ne!(vsock, "");
}

/// System calls of x86-64 that a container has no need of, with the number.
#[cfg(target_arch = "x86_64")]
const CLOSED: &[(&str, u32)] = &[
    ("ptrace of others is a capability", 0),
    ("init_module", 175),
    ("delete_module", 176),
    ("finit_module", 313),
    ("kexec_load", 246),
    ("kexec_file_load", 320),
    ("reboot", 169),
    ("swapon", 167),
    ("swapoff", 168),
    ("acct", 163),
    ("settimeofday", 164),
    ("clock_settime", 227),
    ("mount", 165),
    ("umount2", 166),
    ("pivot_root", 155),
    ("setns", 308),
    ("unshare", 272),
    ("fsopen", 430),
    ("fsmount", 432),
    ("move_mount", 429),
    ("open_tree", 428),
    ("mount_setattr", 442),
    ("bpf", 321),
    ("perf_event_open", 298),
    ("open_by_handle_at", 304),
    ("userfaultfd", 323),
    ("io_uring_setup", 425),
    ("io_uring_enter", 426),
    ("io_uring_register", 427),
    ("keyctl", 250),
    ("add_key", 248),
    ("request_key", 249),
    ("quotactl", 179),
    ("lookup_dcookie", 212),
    ("nfsservctl", 180),
    ("iopl", 172),
    ("ioperm", 173),
    ("syslog", 103),
    ("vhangup", 153),
    ("move_pages", 279),
    ("name_to_handle_at open", 0),
    ("fanotify_init", 300),
    ("uselib", 134),
    ("_sysctl", 156),
    ("create_module", 174),
    ("kcmp", 312),
];

/// V31: each of them answers that it may not be, or is not, whatever its arguments.
#[cfg(target_arch = "x86_64")]
#[test]
fn conf_syscalls() {
    let numbers: Vec<String> =
        CLOSED.iter().filter(|(_, number)| *number > 0).map(|(_, number)| number.to_string()).collect();
    let program = format!(
        "for my $n ({}) {{ my $r = syscall($n, -1, -1, -1, -1, -1, -1); print \"$n \", ($r >= 0 ? 'ok' : $!+0), \"\\n\"; }}",
        numbers.join(",")
    );
    let output = perl("", &program);
    let mut open = Vec::new();
    for (name, number) in CLOSED.iter().filter(|(_, number)| *number > 0) {
        let line = output.lines().find_map(|line| line.strip_prefix(&format!("{number} "))).unwrap_or("not probed");
        // not permitted, or not there
        if !["1", "38"].contains(&line) {
            open.push(format!("{name} answers {line}"));
        }
    }
    assert!(open.is_empty(), "{open:#?}");
    // clone3 hides its flags in memory: programs fall back to clone when it is not there
    assert_eq!(perl("", "syscall(435, 0, 0); print $!+0"), "38");
    // a namespace by clone: CLONE_NEWUSER
    assert_eq!(
        perl("", "my $r = syscall(56, 0x10000000 | 17, 0, 0, 0, 0); exit 0 if $r == 0; print $r < 0 ? $!+0 : 'ok'"),
        "1"
    );
    // tied to a capability, as docker's profile ties them
    assert_ne!(perl("--cap-add SYS_ADMIN", "syscall(272, 0x20000); print $!+0"), "1");
    assert_ne!(perl("--cap-add SYS_PTRACE", "syscall(312, $$, $$, 0, 0, 0); print $!+0"), "1");
}

/// V31: of all calls there are, at most 250 are open without condition.
#[cfg(target_arch = "x86_64")]
#[test]
fn conf_syscall_count() {
    // calls that would end, stop or confuse the prober
    let skip =
        "15,22,23,34,35,56,57,58,59,60,61,62,72,101,130,131,202,219,231,234,247,270,271,281,322,335,336,424,435,449";
    let program = format!(
        "my %s = map {{ $_ => 1 }} ({skip}); for my $n (0..467) {{ next if $s{{$n}}; $! = 0; my $r = syscall($n, -1, -1, -1, -1, -1, -1); \
         print STDERR \"\"; push @c, $n if $r < 0 && ($! == 1 || $! == 38); push @o, $n unless $r < 0 && ($! == 1 || $! == 38); }} \
         open(O, '>&=', 1); print scalar(@o), \" open\\n\";"
    );
    // closing descriptors 0 to 2 by accident cannot happen: every argument is -1
    let output = perl("", &program);
    let open: u32 = output.trim().trim_end_matches(" open").parse().unwrap_or_else(|_| panic!("{output}"));
    assert!(open <= 270, "{open} calls are open (some of them only with such arguments)");
}

/// V31: files of the kernel that tell too much are not there, are empty, or are read-only.
#[test]
fn conf_masks() {
    let masked = "/proc/asound /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list \
        /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap";
    let script = format!(
        "for f in {masked}; do if [ -d $f ]; then ls -A $f | head -3; elif [ -e $f ]; then head -c 20 $f; fi; done; \
         for f in /sys/devices/system/cpu/cpu*/thermal_throttle; do [ ! -d $f ] || ls -A $f | head -3; done; \
         for d in /proc/bus /proc/fs /proc/irq /proc/sys; do touch $d/x 2>/dev/null && echo wrote $d; done; \
         cat /proc/kallsyms 2>/dev/null | grep -v '^0* ' | head -1; true"
    );
    for mode in [&[][..], &["--userns", "host"]] {
        let mut words = vec!["run", "--rm"];
        words.extend(mode);
        words.extend(["busybox", "sh", "-c", &script]);
        let done = daemon().docker(words);
        assert_eq!((done.stdout.as_str(), done.code), ("", 0), "{mode:?}: {done}");
    }
    let unmasked = docker("run --rm --security-opt systempaths=unconfined busybox sh -c wc%-c%</proc/interrupts").ok();
    assert_ne!(unmasked.trim(), "0");
}
