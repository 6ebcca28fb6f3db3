//! Every option of the daemon: its flag, its key in `daemon.json`, its kind, what it does here, and its help. An option is
//! data: the command line, the file, the help and the refusals are all read from this table.

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On or off; a bare flag is on.
    Bool,
    /// A whole number.
    Int,
    /// Any text.
    Text,
    /// A number of bytes with a unit, as `64m`.
    Bytes,
    /// Given once for each item.
    List,
    /// `name=value`, given once for each item.
    Map,
    /// `name=bool`, given once for each item.
    BoolMap,
    /// `name=path`, given once for each runtime.
    Runtimes,
    /// `name=soft[:hard]`, given once for each limit.
    Ulimits,
    /// A form only the file and other flags know; kept as text.
    Other,
}

/// What an option does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What it says.
    Works,
    /// It changes nothing; the reason is logged where it is set.
    None(&'static str),
    /// It is refused where it is set (to anything but off or empty); the reason is the error.
    Refused(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The flag without its dashes; empty where only the file has it.
    pub flag: &'static str,
    /// The flag's letter.
    pub short: Option<char>,
    /// The key in the file; empty where only the command line has it.
    pub key: &'static str,
    /// Its values.
    pub kind: Kind,
    /// What it does.
    pub effect: Effect,
    /// One line of help.
    pub help: &'static str,
}

const fn opt(flag: &'static str, key: &'static str, kind: Kind, effect: Effect, help: &'static str) -> Opt {
    Opt { flag, short: None, key, kind, effect, help }
}

const fn short(letter: char, option: Opt) -> Opt {
    Opt { short: Some(letter), ..option }
}

use Effect::{None as NoEffect, Refused, Works};
use Kind::{Bool, BoolMap, Bytes, Int, List, Map, Other, Runtimes, Text, Ulimits};

const NO_CONTAINERD: Effect = NoEffect("there is no containerd here");
const NO_REGISTRY: Effect = NoEffect("registries are not supported yet");
const NO_NETWORKS: Effect = NoEffect("user-defined networks are not supported yet");
const NO_SWARM: Effect = NoEffect("swarm mode is not supported yet");
const NO_REALTIME: Effect = Refused("real-time scheduling of the parent cgroup is not supported");

/// All options, by flag.
pub const OPTIONS: &[Opt] = &[
    opt("add-runtime", "runtimes", Runtimes, Works, "Register an OCI runtime, as name=path"),
    opt(
        "allow-direct-routing",
        "allow-direct-routing",
        Bool,
        NoEffect("published ports decide alone what is reachable"),
        "Allow remote access to published ports on container addresses",
    ),
    opt(
        "allow-insecure-tcp",
        "allow-insecure-tcp",
        Bool,
        Works,
        "With --tls=false, listen on tcp without TLS off loopback too: whoever reaches the port is root on this host",
    ),
    opt(
        "authorization-plugin",
        "authorization-plugins",
        List,
        Refused("authorization plugins are not supported yet"),
        "Authorization plugins",
    ),
    opt("bip", "bip", Text, Works, "IPv4 address and prefix of the default bridge"),
    opt("bip6", "bip6", Text, Works, "IPv6 address and prefix of the default bridge"),
    opt("", "blob-peers", Other, Works, ""),
    opt(
        "blob-server",
        "blob-server",
        List,
        Works,
        "Give other nodes the blobs of this one: address=:5002, htpasswd=FILE, tls-cert=FILE, tls-key=FILE",
    ),
    short(
        'b',
        opt("bridge", "bridge", Text, Works, "Name of the default bridge (rorqual0); none turns bridge networking off"),
    ),
    opt("", "builder", Other, NoEffect("there is no builder yet"), ""),
    opt(
        "cdi-spec-dir",
        "cdi-spec-dirs",
        List,
        NoEffect("CDI devices are not supported yet"),
        "CDI specification directories",
    ),
    opt("cgroup-parent", "cgroup-parent", Text, Works, "Parent cgroup of all containers"),
    opt("config-file", "", Text, Works, "Configuration file (/etc/docker/daemon.json)"),
    opt("containerd", "containerd", Text, NO_CONTAINERD, "Address of containerd"),
    opt("containerd-namespace", "containerd-namespace", Text, NO_CONTAINERD, "Namespace in containerd"),
    opt(
        "containerd-plugins-namespace",
        "containerd-plugin-namespace",
        Text,
        NO_CONTAINERD,
        "Namespace of plugins in containerd",
    ),
    opt("cpu-rt-period", "cpu-rt-period", Int, NO_REALTIME, "Real-time period of the parent cgroup in microseconds"),
    opt(
        "cpu-rt-runtime",
        "cpu-rt-runtime",
        Int,
        NO_REALTIME,
        "Real-time run time of the parent cgroup in microseconds",
    ),
    opt("cri-containerd", "cri-containerd", Bool, NO_CONTAINERD, "Start containerd with CRI"),
    opt("data-root", "data-root", Text, Works, "Directory of what must survive a reboot (/var/lib/rorqual)"),
    short('D', opt("debug", "debug", Bool, Works, "Log at debug level")),
    opt("default-address-pool", "default-address-pools", Other, NO_NETWORKS, "Address pools of networks"),
    opt("default-cgroupns-mode", "default-cgroupns-mode", Text, Works, "Default cgroup namespace: host or private"),
    opt(
        "default-gateway",
        "default-gateway",
        Text,
        Refused("a gateway of its own for the default bridge is not supported yet"),
        "IPv4 gateway of the default bridge",
    ),
    opt(
        "default-gateway-v6",
        "default-gateway-v6",
        Text,
        Refused("a gateway of its own for the default bridge is not supported yet"),
        "IPv6 gateway of the default bridge",
    ),
    opt("default-ipc-mode", "default-ipc-mode", Text, Works, "Default IPC namespace: private or shareable"),
    opt("default-network-opt", "default-network-opts", Other, NO_NETWORKS, "Options of networks"),
    opt("default-runtime", "default-runtime", Text, Works, "Runtime used where a container names none"),
    opt("default-shm-size", "default-shm-size", Bytes, Works, "Default size of /dev/shm"),
    opt("default-ulimit", "default-ulimits", Ulimits, Works, "Default limits of containers, as nofile=1024:2048"),
    opt("dns", "dns", List, Works, "Name servers of containers"),
    opt("dns-opt", "dns-opts", List, Works, "Resolver options of containers"),
    opt("dns-search", "dns-search", List, Works, "Search domains of containers"),
    opt("exec-opt", "exec-opts", List, Works, "Execution options: native.cgroupdriver=cgroupfs"),
    opt("exec-root", "exec-root", Text, Works, "Directory of what need not survive a reboot (/var/run/rorqual)"),
    opt("experimental", "experimental", Bool, Works, "Report experimental features as on; there are none"),
    opt(
        "feature",
        "features",
        BoolMap,
        NoEffect("the image store is always the content-addressed one"),
        "Features, as name=true",
    ),
    opt("firewall-backend", "firewall-backend", Text, Works, "Firewall: nftables is the only one"),
    opt("fixed-cidr", "fixed-cidr", Text, Works, "Part of the default bridge's IPv4 subnet that containers get"),
    opt("fixed-cidr-v6", "fixed-cidr-v6", Text, Works, "Part of the default bridge's IPv6 subnet that containers get"),
    short('G', opt("group", "group", Text, Works, "Group of the unix socket (docker)")),
    opt("help", "", Bool, Works, "Print this"),
    short('H', opt("host", "hosts", List, Works, "Where to listen: unix://PATH, tcp://HOST:PORT, fd://; many times")),
    opt("host-gateway-ip", "host-gateway-ips", List, Works, "What host-gateway means in --add-host"),
    opt("http-proxy", "http-proxy", Text, Works, "Proxy for http, reported by info"),
    opt("https-proxy", "https-proxy", Text, Works, "Proxy for https, reported by info"),
    opt("icc", "icc", Bool, Works, "Containers reach each other on the default bridge (on)"),
    opt("", "image-gc", Other, Works, ""),
    opt("init", "init", Bool, Works, "Run an init in every container"),
    opt("init-path", "init-path", Text, NoEffect("the init is built in"), "Path of the init"),
    opt("insecure-registry", "insecure-registries", List, Works, "Registries that may be spoken to without TLS"),
    opt("ip", "ip", Text, Works, "Address that ports are published on (0.0.0.0)"),
    opt("ip-forward", "ip-forward", Bool, Works, "Turn on IP forwarding (on)"),
    opt(
        "ip-forward-no-drop",
        "ip-forward-no-drop",
        Bool,
        NoEffect("the FORWARD policy is never changed"),
        "Leave the FORWARD policy alone",
    ),
    opt("ip-masq", "ip-masq", Bool, Works, "Masquerade what leaves the default bridge (on)"),
    opt(
        "ip6tables",
        "ip6tables",
        Bool,
        NoEffect("IPv6 rules are kept together with IPv4 rules; see --iptables"),
        "Keep IPv6 firewall rules (on)",
    ),
    opt("iptables", "iptables", Bool, Works, "Keep firewall rules (on)"),
    opt("ipv6", "ipv6", Bool, Works, "IPv6 on the default bridge (on)"),
    opt("label", "labels", List, Works, "Labels of the daemon, as key=value"),
    opt(
        "live-restore",
        "live-restore",
        Bool,
        NoEffect("containers always outlive the daemon"),
        "Keep containers running without the daemon (always)",
    ),
    opt("log-driver", "log-driver", Text, Works, "Default log driver of containers (json-file)"),
    opt("log-format", "log-format", Text, Works, "Format of the daemon's own log: text or json"),
    short(
        'l',
        opt("log-level", "log-level", Text, Works, "Level of the daemon's own log: debug, info, warn, error or fatal"),
    ),
    opt("log-opt", "log-opts", Map, Works, "Default log options of containers, as name=value"),
    opt("max-concurrent-downloads", "max-concurrent-downloads", Int, Works, "Layers that a pull fetches at once (3)"),
    opt("max-concurrent-uploads", "max-concurrent-uploads", Int, Works, "Layers that a push sends at once (5)"),
    opt("max-download-attempts", "max-download-attempts", Int, NO_REGISTRY, "Attempts of a download"),
    opt("metrics-addr", "metrics-addr", Text, Refused("metrics are not supported yet"), "Address of metrics"),
    opt("mtu", "mtu", Int, Works, "Maximum transmission unit of the default bridge"),
    opt(
        "network-control-plane-mtu",
        "network-control-plane-mtu",
        Int,
        NO_SWARM,
        "Maximum transmission unit of the cluster's control plane",
    ),
    opt("no-new-privileges", "no-new-privileges", Bool, Works, "Set no-new-privileges in every container"),
    opt("no-proxy", "no-proxy", Text, Works, "Hosts reached without a proxy"),
    opt("node-generic-resource", "node-generic-resources", List, NO_SWARM, "Resources of this node"),
    short('p', opt("pidfile", "pidfile", Text, Works, "File for the daemon's process id (/var/run/docker.pid)")),
    opt("", "proxies", Other, Works, ""),
    opt("pull-policy", "pull-policy", Text, Works, "File that says which images may be pulled"),
    opt("raw-logs", "raw-logs", Bool, NoEffect("the log has no colours"), "Log without colours"),
    opt("registry", "registry", Bool, Works, "Serve a registry besides, on 127.0.0.1:5000 and in DATA-ROOT/registry"),
    opt("registry-mirror", "registry-mirrors", List, Works, "Mirrors of Docker Hub"),
    opt(
        "registry-opt",
        "registry-opts",
        List,
        Works,
        "Option of that registry, as address=:5000: every flag of rorqual registry serve is one",
    ),
    opt("", "registry-rules", Other, Works, ""),
    opt("rootless", "rootless", Bool, Refused("running without root is not supported yet"), "Run without root"),
    opt("seccomp-profile", "seccomp-profile", Text, Works, "Seccomp profile file; builtin or unconfined"),
    opt("selinux-enabled", "selinux-enabled", Bool, Refused("SELinux is not supported yet"), "Use SELinux"),
    opt("shim", "shim", Text, Works, "Program that supervises a container (rorqual-shim beside this program)"),
    opt(
        "shutdown-timeout",
        "shutdown-timeout",
        Int,
        NoEffect("containers are not stopped with the daemon"),
        "Seconds for containers to stop with the daemon",
    ),
    short(
        's',
        opt(
            "storage-driver",
            "storage-driver",
            Text,
            NoEffect("storage is overlayfs; there is no other"),
            "Storage driver",
        ),
    ),
    opt(
        "storage-opt",
        "storage-opts",
        List,
        Works,
        "Options of the storage driver: layers=erofs, mounted from their archives where the kernel can, or directories",
    ),
    opt(
        "swarm-default-advertise-addr",
        "swarm-default-advertise-addr",
        Text,
        NO_SWARM,
        "Address advertised in a swarm",
    ),
    opt("tls", "tls", Bool, Works, "TLS on tcp, without asking clients for certificates"),
    opt("tlscacert", "tlscacert", Text, Works, "Certificates that clients' are checked against (~/.docker/ca.pem)"),
    opt("tlscert", "tlscert", Text, Works, "The daemon's certificate (~/.docker/cert.pem)"),
    opt("tlskey", "tlskey", Text, Works, "The daemon's key (~/.docker/key.pem)"),
    opt("tlsverify", "tlsverify", Bool, Works, "TLS on tcp, and clients need a certificate"),
    opt(
        "userland-proxy",
        "userland-proxy",
        Bool,
        NoEffect("published ports need no proxy"),
        "Use a process for each published port",
    ),
    opt(
        "userland-proxy-path",
        "userland-proxy-path",
        Text,
        NoEffect("published ports need no proxy"),
        "Path of that process",
    ),
    opt(
        "userns-remap",
        "userns-remap",
        Text,
        Works,
        "One user namespace for all containers, by user[:group]; host for none",
    ),
    opt("validate", "", Bool, Works, "Check the configuration and quit"),
    short('v', opt("version", "", Bool, Works, "Print the version and quit")),
];

/// The option with this flag.
pub fn by_flag(flag: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| !flag.is_empty() && option.flag == flag)
}

/// The option with this letter.
pub fn by_letter(letter: char) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.short == Some(letter))
}

/// The option with this key.
pub fn by_key(key: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| !key.is_empty() && option.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_letter_or_key_means_two_options() {
        for (index, option) in OPTIONS.iter().enumerate() {
            for other in &OPTIONS[index + 1..] {
                assert!(option.flag.is_empty() || option.flag != other.flag, "{}", option.flag);
                assert!(option.key.is_empty() || option.key != other.key, "{}", option.key);
                assert!(option.short.is_none() || option.short != other.short, "{}", option.flag);
            }
        }
    }

    #[test]
    fn every_flag_harnesses_give_is_known() {
        let given = "config-file data-root exec-root pidfile userland-proxy containerd containerd-namespace \
            containerd-plugins-namespace host debug storage-driver live-restore init experimental ipv6 fixed-cidr \
            fixed-cidr-v6 bip bip6 bridge default-address-pool default-network-opt icc ip-forward ip-forward-no-drop \
            allow-direct-routing iptables ip6tables dns host-gateway-ip default-ipc-mode default-cgroupns-mode \
            default-runtime exec-opt seccomp-profile userns-remap log-driver log-opt log-level authorization-plugin \
            insecure-registry registry-mirror http-proxy https-proxy no-proxy cdi-spec-dir feature \
            swarm-default-advertise-addr tlsverify tlscacert tlscert tlskey";
        for flag in given.split_whitespace() {
            assert!(by_flag(flag).is_some(), "{flag}");
        }
        assert!(by_letter('D').is_some() && by_letter('H').is_some());
    }
}
