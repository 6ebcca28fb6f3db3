//! The flags that `run` and `create` share.

use crate::{
    args::{Flag, parse_int},
    opts::{device, gpus, hosts, mount, network, ulimit},
};

/// How many flags at the end belong to `run` alone.
const RUN_ONLY: usize = 3;

/// The flags of `create`.
pub(super) const CREATE: &[Flag] = FLAGS.split_at(FLAGS.len() - RUN_ONLY).0;

/// The flags of `run`: those of `create`, and three of its own at the end.
pub(super) const FLAGS: [Flag; 103] = [
    Flag::list("add-host", "Add a line to the container's hosts file (name:address)").check(hosts::check_host),
    Flag::list("annotation", "Pass an annotation to the OCI runtime").of("map").default("map[]"),
    Flag::list("attach", "Attach to STDIN, STDOUT or STDERR").short('a').check(hosts::check_stream),
    Flag::value("blkio-weight", "uint16", "Weight of block I/O from 10 to 1000; 0 leaves it to the kernel")
        .check(check_u16)
        .default("0"),
    Flag::list("blkio-weight-device", "Weight of block I/O for one device").check(device::check_weight).default("[]"),
    Flag::list("cap-add", "Add a capability"),
    Flag::list("cap-drop", "Drop a capability"),
    Flag::string("cgroup-parent", "Put the container's cgroup below this one"),
    Flag::string("cgroupns", "Use the host's cgroup namespace (host) or a new one (private)"),
    Flag::string("cidfile", "Write the container's ID to this file"),
    Flag::int("cpu-count", "Number of CPUs (Windows only)"),
    Flag::int("cpu-percent", "Percent of CPU (Windows only)"),
    Flag::int("cpu-period", "Length of a CFS period in microseconds"),
    Flag::int("cpu-quota", "CPU time in each CFS period in microseconds"),
    Flag::int("cpu-rt-period", "Length of a real-time period in microseconds"),
    Flag::int("cpu-rt-runtime", "Real-time CPU time in each period in microseconds"),
    Flag::int("cpu-shares", "Relative weight of CPU time").short('c'),
    Flag::value("cpus", "decimal", "Number of CPUs").check(check_cpus),
    Flag::string("cpuset-cpus", "CPUs to run on (0-3, 0,1)"),
    Flag::string("cpuset-mems", "Memory nodes to use (0-3, 0,1)"),
    Flag::list("device", "Add a device of the host"),
    Flag::list("device-cgroup-rule", "Allow devices by a cgroup rule (c 1:3 rwm)").check(device::check_rule),
    Flag::list("device-read-bps", "Limit reads of a device in bytes a second").check(device::check_bps).default("[]"),
    Flag::list("device-read-iops", "Limit reads of a device in operations a second")
        .check(device::check_iops)
        .default("[]"),
    Flag::list("device-write-bps", "Limit writes to a device in bytes a second").check(device::check_bps).default("[]"),
    Flag::list("device-write-iops", "Limit writes to a device in operations a second")
        .check(device::check_iops)
        .default("[]"),
    Flag::switch("disable-content-trust", "Accept unsigned images").default("true"),
    Flag::list("dns", "Use this DNS server").check(hosts::check_address),
    Flag::list("dns-option", "Add an option to resolv.conf").alias("dns-opt"),
    Flag::list("dns-search", "Search names in this domain").check(hosts::check_domain),
    Flag::string("domainname", "NIS domain name"),
    Flag::string("entrypoint", "Run this in place of the image's entry point"),
    Flag::list("env", "Set a variable of the environment").short('e').check(hosts::check_env),
    Flag::list("env-file", "Read variables from a file"),
    Flag::list("expose", "Expose a port or a range of ports"),
    Flag::value("gpus", "gpu-request", "Add GPUs ('all' for every one)").check(gpus::check),
    Flag::list("group-add", "Join another group"),
    Flag::string("health-cmd", "Command that tells whether the container is healthy"),
    Flag::duration("health-interval", "Time between two health checks (ms|s|m|h)").default("0s"),
    Flag::int("health-retries", "Failures in a row that mean unhealthy"),
    Flag::duration("health-start-interval", "Time between two health checks while the container starts (ms|s|m|h)")
        .default("0s"),
    Flag::duration("health-start-period", "Time for the container to start before failures count (ms|s|m|h)")
        .default("0s"),
    Flag::duration("health-timeout", "Longest time of one health check (ms|s|m|h)").default("0s"),
    Flag::string("hostname", "Host name in the container").short('h'),
    Flag::switch("init", "Run a small init that reaps processes and passes signals on"),
    Flag::switch("interactive", "Keep standard input open").short('i'),
    Flag::bytes("io-maxbandwidth", "Highest I/O bandwidth of the system drive (Windows only)"),
    Flag::value("io-maxiops", "uint", "Most I/O operations of the system drive (Windows only)").check(check_u64),
    Flag::string("ip", "IPv4 address"),
    Flag::string("ip6", "IPv6 address"),
    Flag::string("ipc", "IPC namespace to use"),
    Flag::string("isolation", "Isolation technology (Windows only)"),
    Flag::bytes("kernel-memory", "Limit of kernel memory (no effect)"),
    Flag::list("label", "Set a label").short('l'),
    Flag::list("label-file", "Read labels from a file"),
    Flag::list("link", "Link to another container").check(hosts::check_link),
    Flag::list("link-local-ip", "Link-local address"),
    Flag::string("log-driver", "Driver that keeps the output"),
    Flag::list("log-opt", "Option of the log driver"),
    Flag::string("mac-address", "MAC address"),
    Flag::bytes("memory", "Limit of memory").short('m'),
    Flag::bytes("memory-reservation", "Memory that is kept when the host runs short"),
    Flag::value("memory-swap", "bytes", "Limit of memory and swap together; -1 for unlimited swap").check(check_swap),
    Flag::int("memory-swappiness", "How eagerly memory is swapped, 0 to 100").default("-1"),
    Flag::list("mount", "Attach a file system").of("mount").check(mount::check),
    Flag::string("name", "Name of the container"),
    Flag::list("network", "Connect to a network").of("network").alias("net").check(network::check),
    Flag::list("network-alias", "Another name on the network").alias("net-alias"),
    Flag::switch("no-healthcheck", "Turn the image's health check off"),
    Flag::switch("oom-kill-disable", "Do not kill the container when memory runs out"),
    Flag::int("oom-score-adj", "How likely the container is killed when memory runs out, -1000 to 1000"),
    Flag::string("pid", "PID namespace to use"),
    Flag::int("pids-limit", "Most processes; -1 for no limit"),
    Flag::string("platform", "Platform of the image, where it has several"),
    Flag::switch("privileged", "Give the container all privileges"),
    Flag::list("publish", "Publish a port to the host").short('p'),
    Flag::switch("publish-all", "Publish all exposed ports to free ports of the host").short('P'),
    Flag::string("pull", "Pull the image first (\"always\", \"missing\", \"never\")").default("missing"),
    Flag::switch("quiet", "Do not print the progress of a pull").short('q'),
    Flag::switch("read-only", "Mount the root file system read-only"),
    Flag::string("restart", "What to do when the container exits").default("no"),
    Flag::switch("rm", "Remove the container and its anonymous volumes when it exits"),
    Flag::string("runtime", "Runtime to use"),
    Flag::list("security-opt", "Security option"),
    Flag::bytes("shm-size", "Size of /dev/shm"),
    Flag::string("stop-signal", "Signal that stops the container"),
    Flag::int("stop-timeout", "Seconds to wait for the container to stop"),
    Flag::list("storage-opt", "Option of the storage driver"),
    Flag::list("sysctl", "Set a kernel parameter").of("map").check(hosts::check_sysctl).default("map[]"),
    Flag::list("tmpfs", "Mount a tmpfs on a directory"),
    Flag::switch("tty", "Give the container a terminal").short('t'),
    Flag::list("ulimit", "Set a resource limit").of("ulimit").check(ulimit::check).default("[]"),
    Flag::switch("use-api-socket", "Give the container the API's socket"),
    Flag::string("user", "User to run as (<name|uid>[:<group|gid>])").short('u'),
    Flag::string("userns", "User namespace to use"),
    Flag::string("uts", "UTS namespace to use"),
    Flag::list("volume", "Mount a volume or a directory of the host").short('v'),
    Flag::string("volume-driver", "Driver of the volumes that are created"),
    Flag::list("volumes-from", "Mount the volumes of another container"),
    Flag::string("workdir", "Directory to start in").short('w'),
    // `run` alone.
    Flag::switch("detach", "Leave the container in the background and print its ID").short('d'),
    Flag::string("detach-keys", "Keys that detach from the container"),
    Flag::switch("sig-proxy", "Pass signals on to the container").default("true"),
];

fn check_u16(text: &str) -> Result<(), String> {
    unsigned(text, u64::from(u16::MAX))
}

fn check_u64(text: &str) -> Result<(), String> {
    unsigned(text, u64::MAX)
}

fn unsigned(text: &str, most: u64) -> Result<(), String> {
    match parse_int(text).ok().and_then(|value| u64::try_from(value).ok()) {
        Some(value) if value <= most => Ok(()),
        Some(_) => Err(format!("strconv.ParseUint: parsing {text:?}: value out of range")),
        None => Err(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")),
    }
}

/// `-1` means unlimited.
fn check_swap(text: &str) -> Result<(), String> {
    if text == "-1" { Ok(()) } else { crate::human::parse_bytes(text).map(drop) }
}

fn check_cpus(text: &str) -> Result<(), String> {
    nano_cpus(text).map(drop)
}

/// `1.5`, `.5` or `3/2` CPUs in billionths.
pub(super) fn nano_cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let value = match text.split_once('/') {
        Some((top, bottom)) => {
            let (top, bottom): (f64, f64) =
                (top.parse().map_err(|_| invalid())?, bottom.parse().map_err(|_| invalid())?);
            top / bottom
        }
        None => text.parse::<f64>().map_err(|_| invalid())?,
    };
    if !value.is_finite() {
        return Err(invalid());
    }
    let nano = value * 1e9;
    if (nano - nano.round()).abs() > 1e-4 {
        return Err("value is too precise".to_owned());
    }
    Ok(nano.round() as i64)
}

/// Some of the flags, by name, for the commands that share them.
pub(super) const fn select<const N: usize>(names: &[&str; N]) -> [Flag; N] {
    let mut chosen = [FLAGS[0]; N];
    let mut at = 0;
    while at < N {
        let mut known = 0;
        while !same(FLAGS[known].long, names[at]) {
            known += 1;
        }
        chosen[at] = FLAGS[known];
        at += 1;
    }
    chosen
}

/// `==` of texts, which a constant cannot use.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
