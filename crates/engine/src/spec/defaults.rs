//! What a container gets unless it says otherwise: docker's values.

use rorqual_oci::runtime::{DeviceRule, Mount};

/// Search path.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of `/dev/shm`.
pub const SHM_BYTES: i64 = 64 << 20;

/// The least memory limit, in bytes.
pub const MEMORY_MIN_BYTES: i64 = 6 << 20;

/// One container's share of the machine's processes: one in so many of the machine's own limit.
pub const PIDS_SHARE: i64 = 4;

/// Names of resource limits.
pub const RLIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Kernel parameters of the IPC namespace besides `fs.mqueue.*`.
pub const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Paths that read as empty.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths made read-only.
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// [`MASKED`] as a document has it.
pub fn masked_paths() -> Vec<String> {
    MASKED.map(str::to_owned).to_vec()
}

/// [`READONLY`] as a document has it.
pub fn readonly_paths() -> Vec<String> {
    READONLY.map(str::to_owned).to_vec()
}

pub(super) fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

/// The mounts of every container but `/dev/shm`, in order.
pub fn mounts() -> Vec<Mount> {
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ]
}

/// Any node may be made; these may be opened: null, zero, full, random, urandom, tty, ptmx and terminals.
pub fn device_rules() -> Vec<DeviceRule> {
    let rule = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| DeviceRule {
        allow: true,
        kind: kind.to_owned(),
        major,
        minor,
        access: access.to_owned(),
    };
    let open = |major, minor| rule("c", Some(major), Some(minor), "rwm");
    vec![
        DeviceRule { access: "rwm".to_owned(), ..DeviceRule::default() },
        rule("c", None, None, "m"),
        rule("b", None, None, "m"),
        open(1, 3),
        open(1, 5),
        open(1, 7),
        open(1, 8),
        open(1, 9),
        open(5, 0),
        open(5, 2),
        rule("c", Some(136), None, "rwm"),
    ]
}
