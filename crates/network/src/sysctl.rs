//! The kernel settings a bridge needs, under `/proc/sys/net`.

use rorqual_error::{Context, Result};
use std::{fs, io, path::Path};

const ROOT: &str = "/proc/sys/net";

fn read(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(ROOT).join(name)).ok().map(|text| text.trim().to_owned())
}

/// Sets `name` unless it has the value already: `/proc/sys` may be mounted read-only with all set right.
fn ensure(name: &str, value: &str) -> Result<()> {
    if read(name).as_deref() == Some(value) {
        return Ok(());
    }
    fs::write(Path::new(ROOT).join(name), value).with_context(|| format!("set net/{name} to {value}"))
}

/// Whether this kernel does IPv6.
pub(crate) fn has_ipv6() -> bool {
    Path::new(ROOT).join("ipv6/conf/all").exists()
}

/// Whether bridged frames pass through the firewall.
pub(crate) fn bridges_are_filtered() -> bool {
    read("bridge/bridge-nf-call-iptables").as_deref() == Some("1")
}

/// Which boot of the machine this is.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Whether any connection is tracked here: asking for all of them costs the kernel a walk through its whole table.
pub(crate) fn tracks_connections() -> bool {
    read("netfilter/nf_conntrack_count").as_deref() != Some("0")
}

/// Turns forwarding on. Returns whether it was off: then we opened this host as a router.
pub(crate) fn enable_forwarding(ipv6: bool) -> Result<bool> {
    let mut opened = false;
    if read("ipv4/ip_forward").as_deref() != Some("1") {
        ensure("ipv4/ip_forward", "1")?;
        opened = true;
    }
    if ipv6 && read("ipv6/conf/all/forwarding").as_deref() != Some("1") {
        keep_router_advertisements();
        ensure("ipv6/conf/all/forwarding", "1")?;
        opened = true;
    }
    Ok(opened)
}

/// A host that forwards ignores router advertisements, and with them its own default route, unless told otherwise.
fn keep_router_advertisements() {
    let Ok(links) = fs::read_dir(Path::new(ROOT).join("ipv6/conf")) else { return };
    for link in links.filter_map(io::Result::ok) {
        let name = link.file_name();
        let setting = format!("ipv6/conf/{}/accept_ra", name.to_string_lossy());
        let listens = name != "all" && read(&setting).as_deref() == Some("1");
        if listens && let Err(error) = ensure(&setting, "2") {
            tracing::warn!(%error, "router advertisements may stop counting on this link");
        }
    }
}

/// Settings of the bridge itself, made before it comes up.
pub(crate) fn prepare_bridge(bridge: &str, ipv6: bool) -> Result<()> {
    // Answers to clients that used 127.0.0.1 come in by the bridge; rules keep everything else from there.
    ensure(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
    if ipv6 {
        ensure(&format!("ipv6/conf/{bridge}/disable_ipv6"), "0")?;
        ensure(&format!("ipv6/conf/{bridge}/accept_ra"), "0")?;
    }
    Ok(())
}
