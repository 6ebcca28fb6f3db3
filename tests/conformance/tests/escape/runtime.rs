//! V01, V02, V04, V06, V14: what an image's shape or a request's words may not reach.

use crate::{canary::Canary, daemon, docker, image, races};
use rorqual_testkit::{places, shell};
use serde_json::json;
use std::fs;

fn hash_of_shims() -> String {
    let exec_root = daemon().exec_root();
    // the images of other tests come and go below `layers`
    shell(&format!(
        "sha256sum {} $(find {root} -path {root}/layers -prune -o -type f -perm -100 -print 2>/dev/null)",
        places::binary("rorqual-shim").display(),
        root = exec_root.display()
    ))
    .stdout
}

/// V01: a container that writes to every executable it can name, while processes are made in it.
#[test]
fn esc_exe_overwrite() {
    image("esc-exe", json!({}), |tar| {
        tar.link("self", "/proc/self/exe").file("script", 0o755, b"#!/proc/self/exe\n");
    });
    let loop_ = "while :; do for p in /proc/[0-9]*/exe; do echo overwritten 2>/dev/null >$p; done; done 2>/dev/null";
    daemon().docker(["run", "-d", "--name", "esc-exe", "esc-exe", "sh", "-c", loop_]).ok();
    let before = hash_of_shims();
    // Before the last exec, /proc/self/exe is the runtime's: what runs then is a sealed copy, with the container's rights.
    for round in 0..races() {
        let program = ["/proc/self/exe", "/self", "/script", "true"][round % 4];
        docker(&format!("exec esc-exe {program}"));
    }
    for program in ["/proc/self/exe", "/self", "/script"] {
        docker(&format!("run --rm esc-exe {program}"));
    }
    assert_eq!(hash_of_shims(), before, "a program of the host changed");
    docker("rm -f esc-exe").ok();
    docker("run --rm esc-exe /hello echo it still works").ok();
}

/// What a descriptor or a link of a process in a container may point to.
fn harmless(line: &str) -> bool {
    let target = line.split_once(' ').map_or(line, |(_, target)| target);
    ["pipe:[", "socket:[", "/dev/null", "/dev/pts/", "/dev/console", "anon_inode:"]
        .iter()
        .any(|start| target.starts_with(start))
}

/// V02: nothing of ours is open in what we start, and the working directory is inside.
#[test]
fn esc_fd_leak() {
    daemon().docker(["run", "-d", "--name", "esc-fd", "hello", "sleep", "1000"]).ok();
    let outputs = [
        docker("run --rm hello fds").ok(),
        docker("run --rm --init hello fds").ok(),
        docker("run --rm --privileged hello fds").ok(),
        docker("run --rm --userns host hello fds").ok(),
        docker("run --rm -t hello fds").ok(),
        docker("exec esc-fd /hello fds").ok(),
        docker("exec esc-fd /hello fds 1").ok(),
        docker("exec -t esc-fd /hello fds").ok(),
    ];
    docker("rm -f esc-fd").ok();
    for output in outputs {
        let lines: Vec<&str> = output.lines().map(str::trim).collect();
        let (links, open): (Vec<&str>, Vec<&str>) =
            lines.iter().partition(|line| line.starts_with(|first: char| first.is_ascii_alphabetic()));
        assert_eq!(open.len(), 3, "more than three descriptors: {output}");
        assert!(open.iter().all(|line| harmless(line)), "{output}");
        assert!(links.contains(&"cwd /") && links.contains(&"root /"), "{output}");
    }
}

/// V02: no descriptor's number makes a working directory outside the root.
#[test]
fn esc_workdir_descriptor() {
    let canary = Canary::new();
    let secret = format!("{}/secret", canary.climb());
    for number in 0..20 {
        for base in ["/proc/self/fd", "/proc/1/fd", "/proc/self/root/proc/self/fd"] {
            if base != "/proc/self/fd" && number > 6 {
                continue;
            }
            let done = daemon().docker(["run", "--rm", "-w", &format!("{base}/{number}"), "hello", "cat", &secret]);
            assert!(!done.stdout.contains("of the host"), "{base}/{number} leads out: {done}");
        }
    }
    docker("run -d --name esc-cwd hello sleep 1000").ok();
    for number in 0..20 {
        let done =
            daemon().docker(["exec", "-w", &format!("/proc/self/fd/{number}"), "esc-cwd", "/hello", "cat", &secret]);
        assert!(!done.stdout.contains("of the host"), "{number} leads out: {done}");
    }
    docker("rm -f esc-cwd").ok();
}

/// V02: a working directory behind a link is made inside.
#[test]
fn esc_workdir_symlink() {
    let canary = Canary::new();
    image("esc-workdir", json!({}), |tar| {
        tar.link("up", &canary.climb()).link("abs", &canary.text()).link("loop", "loop");
    });
    for dir in ["/up/made", "/abs/made", "/up/sub", "/loop/made", "/abs/../../made"] {
        docker(&format!("run --rm -w {dir} esc-workdir sh -c touch%x"));
        canary.check(dir);
    }
    image("esc-workdir2", json!({"WorkingDir": "/abs/sub/made"}), |tar| {
        tar.link("abs", &canary.text());
    });
    docker("run --rm esc-workdir2 sh -c touch%x");
    canary.check("the image's own working directory");
}

/// V02: what a process in the container can see of one that is being made in it by exec.
#[test]
fn esc_ptrace_init() {
    let watch = "while :; do for f in /proc/[0-9]*; do [ $f = /proc/$$ ] || for l in $f/fd/*; do readlink $l; done; done 2>/dev/null; done >/seen";
    let attach = "while :; do for p in $(ls /proc); do case $p in *[!0-9]*|1) ;; *) /hello try ptrace $p >>/attached 2>/dev/null; kill -CONT $p;; esac; done; done";
    image("esc-ptrace", json!({}), |_| {});
    for (name, script) in [("esc-watch", watch), ("esc-attach", attach)] {
        docker(&format!("rm -f {name}"));
        daemon()
            .docker(["run", "-d", "--cap-add", "SYS_PTRACE", "--name", name, "esc-ptrace", "sh", "-c", script])
            .ok();
        // each runs a loop that takes a whole processor: one after the other, and not for long
        for _ in 0..races().div_ceil(3) {
            docker(&format!("exec {name} true"));
        }
        docker(&format!("pause {name}")).ok();
    }
    docker("rm -f esc-attach").ok();
    docker("unpause esc-watch").ok();
    let seen = docker("exec esc-watch sort -u /seen").ok();
    let bad: Vec<&str> = seen
        .lines()
        .filter(|line| !harmless(line) && *line != "/seen" && !line.starts_with("/proc/") && !line.starts_with("/bin/"))
        .collect();
    assert!(bad.is_empty(), "descriptors of an unfinished process were seen: {bad:?}");
    docker("rm -f esc-watch").ok();
}

/// V04: mounts over procfs and sysfs are refused, but for the few files that are harmless.
#[test]
fn esc_proc_shadow() {
    let canary = Canary::new();
    let source = canary.text();
    for target in [
        "/proc",
        "/proc/self",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/sys/kernel/core_pattern",
        "/proc/1",
        "/proc/acpi",
    ] {
        let done = daemon().docker(["run", "--rm", "-v", &format!("{source}:{target}"), "busybox", "true"]);
        assert!(done.code != 0, "a mount over {target} was accepted");
    }
    image("esc-proclink", json!({}), |tar| {
        tar.entry(tar::EntryType::Symlink, "proc", 0o777, "/etc", b"");
    });
    let done = docker("run --rm esc-proclink sh -c stat%-f%-c%%T%/proc/.");
    assert!(done.code != 0 || done.stdout.contains("proc"), "/proc is not a procfs: {done}");
    canary.check("mounts over /proc");
}

/// V04: settings must reach the real procfs or nothing.
#[test]
fn race_procwrite() {
    let before = fs::read_to_string("/proc/sys/kernel/msgmax").expect("the host's own setting");
    image("esc-fakeproc", json!({}), |tar| {
        tar.dir("fake", 0o755).dir("fake/sys", 0o755).dir("fake/sys/kernel", 0o755);
        tar.file("fake/sys/kernel/msgmax", 0o666, b"fake\n");
        tar.entry(tar::EntryType::Symlink, "proc", 0o777, "fake", b"");
    });
    let done = docker(
        "run --rm --sysctl kernel.msgmax=7777 esc-fakeproc sh -c cat%/fake/sys/kernel/msgmax;%cat%/proc/sys/kernel/msgmax",
    );
    // the image's link may be followed, inside the root; then the procfs hides the image's file
    let right = ["fake\n7777\n", "7777\n7777\n"].contains(&done.stdout.as_str());
    assert!(done.code != 0 || right, "{done}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/msgmax").expect("the host's own setting"), before);
}

/// V02, V04: the bugs of 2015: descriptors before the root is closed, writable /proc, volumes over it.
#[test]
fn esc_legacy2015() {
    for (file, text) in [
        ("/proc/sys/kernel/core_pattern", "x"),
        ("/proc/sys/kernel/modprobe", "x"),
        ("/proc/sys/vm/drop_caches", "1"),
        ("/proc/sysrq-trigger", "h"),
        ("/proc/irq/default_smp_affinity", "1"),
        ("/sys/kernel/uevent_helper", "x"),
        ("/sys/kernel/mm/ksm/run", "0"),
    ] {
        let done = docker(&format!("run --rm hello try write {file} {text}"));
        assert!(done.code != 0, "{file} is writable: {done}");
    }
    for device in ["1 1", "1 2", "8 0", "254 0"] {
        let (major, minor) = device.split_once(' ').expect("two numbers");
        let done = docker(&format!("run --rm busybox sh -c mknod%/d%c%{major}%{minor}%&&%head%-c%1%/d"));
        assert!(done.code != 0, "device {device} can be made and read: {done}");
    }
    let done = docker("run --rm hello try mount proc /mnt");
    assert!(done.code != 0, "{done}");
}

/// V06: directories the runtime writes into are links in the image.
#[test]
fn esc_dev_symlink() {
    let canary = Canary::new();
    let (climb, absolute) = (canary.climb(), canary.text());
    for (number, (name, target)) in [
        ("dev", &climb),
        ("dev", &absolute),
        ("etc", &climb),
        ("etc", &absolute),
        ("proc", &climb),
        ("sys", &absolute),
        ("tmp", &absolute),
        ("run", &climb),
    ]
    .iter()
    .enumerate()
    {
        let mut tar = rorqual_testkit::archive::Tar::new();
        let hello = fs::read(places::binary("rorqual-hello")).expect("read hello");
        tar.file("hello", 0o755, &hello).link(name, target);
        let tag = format!("esc-link{number}:latest");
        let archive = rorqual_testkit::Archive::new(&tag, json!({"Entrypoint": ["/hello"]})).layer(tar.finish());
        crate::load(&archive);
        for extra in [
            "",
            "--tmpfs /tmp/x",
            "-v /esc/under:/dev/under",
            "--hostname h --add-host a:1.2.3.4",
            "-t",
            "-w /dev/made",
        ] {
            docker(&format!("run --rm --name esc-link {extra} {tag} exit 0"));
            canary.check(&format!("{name} -> {target} with {extra:?}"));
        }
        docker(&format!("rmi -f {tag}"));
    }
    _ = fs::remove_dir_all("/esc");
}

/// V06: volumes that an image declares are filled from the image, never from the host.
#[test]
fn esc_image_volume() {
    let canary = Canary::new();
    let volumes = json!({"Volumes": {"/up": {}, "/abs": {}, "/../../escape": {}}});
    image("esc-volume", volumes, |tar| {
        tar.link("up", &canary.climb()).link("abs", &canary.text());
    });
    let done =
        docker("run --rm esc-volume sh -c cat%/up/secret%/abs/secret%/escape/secret%2>/dev/null;find%/%-name%secret");
    assert!(!done.stdout.contains("of the host"), "{done}");
    for target in ["/up/in", "/abs/in"] {
        let done =
            docker(&format!("run --rm -v esc-copyup:{target} esc-volume sh -c cat%{target}/secret;touch%{target}/new"));
        assert!(!done.stdout.contains("of the host"), "{done}");
        canary.check(target);
        docker("volume rm -f esc-copyup");
    }
    let done = docker("run --rm -v esc-copyup:/abs esc-volume sh -c cat%/abs/secret");
    assert!(!done.stdout.contains("of the host"), "{done}");
    docker("volume rm -f esc-copyup");
    canary.check("volumes of the image");
}

/// V14: the container's own limits, and the kernel's way to run programs on the host, are out of reach.
#[test]
fn esc_cgroup_write() {
    let script = "find /sys/fs/cgroup /sys/kernel -type f \\( -name 'release_agent' -o -name 'cgroup.procs' -o -name tasks \
        -o -name 'memory.limit_in_bytes' -o -name 'devices.allow' -o -name 'memory.max' -o -name 'pids.max' \
        -o -name 'notify_on_release' -o -name 'cgroup.subtree_control' \\) 2>/dev/null | while read f; do \
        case $f in *devices.allow) v='a';; *procs|*tasks) v=1;; *) v=1;; esac; echo $v >$f && echo wrote $f; done 2>/dev/null; \
        mkdir /sys/fs/cgroup/made 2>/dev/null && echo made; mkdir /c; mount -t cgroup -o memory none /c 2>/dev/null && echo mounted; \
        mount -t cgroup2 none /c 2>/dev/null && echo mounted; true";
    for flags in [&["--memory", "64m"][..], &["--userns", "host"], &["--cap-add", "DAC_OVERRIDE", "--user", "0"]] {
        let mut words = vec!["run", "--rm"];
        words.extend(flags);
        words.extend(["busybox", "sh", "-c", script]);
        let done = daemon().docker(words);
        assert_eq!(done.stdout, "", "with {flags:?}: {done}");
    }
    // whoever may mount still may not choose what the host runs
    let script = "mkdir /c; for k in memory rdma pids cpu devices; do mount -t cgroup -o $k none /c 2>/dev/null || continue; \
        echo /x >/c/release_agent && echo wrote; umount /c; done 2>/dev/null; true";
    let done = daemon().docker(["run", "--rm", "--cap-add", "SYS_ADMIN", "busybox", "sh", "-c", script]);
    assert_eq!(done.stdout, "", "{done}");
}
