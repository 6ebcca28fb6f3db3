//! A network of one's own: the daemon's namespace, and an outside client one cable away.
//!
//! `198.51.100.2` and `2001:db8::2` (the client) reach `198.51.100.1` and `2001:db8::1` (the daemon's machine), which
//! has a second address of its own, `192.0.2.1`. There is no IPv4 default route: what is not here must fail at once. The
//! IPv6 one leads to the client, because containers have one only where the machine has.

use crate::command::{self, Finished};
use std::sync::atomic::{AtomicU32, Ordering};

/// The machine's address on the cable.
pub const HOST: &str = "198.51.100.1";
/// The outside client's address on the cable.
pub const CLIENT: &str = "198.51.100.2";
/// The machine's address on the cable, IPv6.
pub const HOST_V6: &str = "2001:db8::1";
/// Another address of the machine.
pub const SECOND: &str = "192.0.2.1";

/// Two joined network namespaces. They are removed by the fixture that made them, see [`crate::Daemon`].
#[derive(Clone, Debug)]
pub struct Netns {
    /// The name of the daemon's namespace.
    pub name: String,
    /// The name of the outside client's namespace.
    pub client: String,
}

impl Netns {
    /// Makes both namespaces; `label` becomes part of their names.
    pub fn new(label: &str) -> Self {
        let this = Self { name: format!("rq-{label}"), client: format!("rq-{label}-c") };
        let (name, client) = (&this.name, &this.client);
        command::shell(&format!(
            "set -e; ip netns add {name}; ip netns add {client}; ip -n {name} link set lo up; ip -n {client} link set lo up
             nsenter --net=/run/netns/{name} sysctl -qw net.ipv4.ip_forward=1
             ip -n {name} address add {SECOND}/32 dev lo
             ip -n {name} link add ext0 type veth peer name eth0 netns {client}
             ip -n {name} address add {HOST}/24 dev ext0; ip -n {client} address add {CLIENT}/24 dev eth0
             ip -n {name} address add {HOST_V6}/64 dev ext0 nodad; ip -n {client} address add 2001:db8::2/64 dev eth0 nodad
             ip -n {name} link set ext0 up; ip -n {client} link set eth0 up
             ip -n {client} route add {SECOND}/32 via {HOST}
             ip -n {name} -6 route add default via 2001:db8::2"
        ))
        .ok();
        this
    }

    /// Runs a line of shell in the daemon's namespace.
    pub fn inside(&self, line: &str) -> Finished {
        command::run("nsenter", [&format!("--net=/run/netns/{}", self.name), "sh", "-c", line])
    }

    /// Runs a line of shell as the outside client.
    pub fn outside(&self, line: &str) -> Finished {
        command::run("nsenter", [&format!("--net=/run/netns/{}", self.client), "sh", "-c", line])
    }
}

/// A name no other fixture of this machine has, short enough for a link.
pub fn unique(label: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{label}{:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
