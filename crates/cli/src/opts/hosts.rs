//! `--add-host`, `--dns`, `--link`, `--attach`, `--sysctl` and `--env`: what is checked before the daemon sees it.

use std::net::IpAddr;

/// `name:address`, `name=address`, `name:host-gateway`.
pub fn check_host(text: &str) -> Result<(), String> {
    host(text).map(drop)
}

/// The entry in the daemon's form, `name:address`; brackets around an IPv6 address are taken off.
pub fn host(text: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: {text:?}");
    let (name, address) = match text.split_once('=') {
        Some(pair) => pair,
        None => text.split_once(':').ok_or_else(bad)?,
    };
    if name.is_empty() || address.is_empty() {
        return Err(bad());
    }
    let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if inner != "host-gateway" && inner.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {inner:?}"));
    }
    Ok(format!("{name}:{inner}"))
}

/// An address.
pub fn check_address(text: &str) -> Result<(), String> {
    match text.parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// A search domain, or `.` for none.
pub fn check_domain(text: &str) -> Result<(), String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let trimmed = text.trim().trim_end_matches('.');
    match text.trim() == "." || (trimmed.split('.').all(label) && trimmed.len() < 255) {
        true => Ok(()),
        false => Err(format!("{text} is not a valid domain")),
    }
}

/// `name[:alias]`.
pub fn check_link(text: &str) -> Result<(), String> {
    match text {
        "" => Err("empty string specified for links".to_owned()),
        text if text.matches(':').count() > 1 => Err(format!("bad format for links: {text}")),
        _ => Ok(()),
    }
}

/// `stdin`, `stdout` or `stderr`, in any case.
pub fn check_stream(text: &str) -> Result<(), String> {
    match text.to_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// `NAME` or `NAME=value`.
pub fn check_env(text: &str) -> Result<(), String> {
    match text.starts_with('=') || text.is_empty() {
        true => Err(format!("invalid environment variable: {text}")),
        false => Ok(()),
    }
}

/// `name=value` of a kernel parameter that belongs to a container's namespaces.
pub fn check_sysctl(text: &str) -> Result<(), String> {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let name = text.split_once('=').map(|(name, _)| name);
    match name {
        Some(name) if NAMES.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.") => Ok(()),
        _ => Err(format!("sysctl '{text}' is not allowed")),
    }
}

/// A variable as the body holds it: a name alone takes our own environment's value, or stays bare to unset it.
pub fn env(text: &str) -> String {
    if text.contains('=') {
        return text.to_owned();
    }
    match std::env::var_os(text) {
        Some(value) => format!("{text}={}", value.to_string_lossy()),
        None => text.to_owned(),
    }
}
