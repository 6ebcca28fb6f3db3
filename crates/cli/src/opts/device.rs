//! Devices, their cgroup rules, and the block I/O limits that name a device.

use super::object;
use crate::{human, value::Value};

/// `HOST[:CONTAINER[:rwm]]`; a name with `=` is a device of CDI.
pub fn parse(text: &str) -> Result<Value, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_mode = |mode: &str| {
        !mode.is_empty() && mode.len() <= 3 && mode.chars().all(|c| "rwm".contains(c)) && {
            let mut letters: Vec<char> = mode.chars().collect();
            letters.sort_unstable();
            letters.windows(2).all(|pair| pair[0] != pair[1])
        }
    };
    let bad = || format!("bad format for path: {text}");
    let (host, container, mode) = match parts.as_slice() {
        [""] => return Err(bad()),
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(bad()),
    };
    let path = |path: &str| {
        if path.starts_with('/') { Ok(super::absolute(path)) } else { Err(format!("{path} is not an absolute path")) }
    };
    let container = path(container)?;
    Ok(object([("PathOnHost", host.into()), ("PathInContainer", container.into()), ("CgroupPermissions", mode.into())]))
}

/// Whether a `--device` names a device of CDI: `vendor.com/class=name`.
pub fn is_cdi(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else { return false };
    !text.starts_with('/') && kind.contains('/') && !name.is_empty()
}

/// `c 1:3 rwm`.
pub fn check_rule(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split(' ').collect();
    let number = |part: &str| part == "*" || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let holds = match parts.as_slice() {
        [kind, numbers, access] => {
            matches!(*kind, "a" | "b" | "c")
                && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && (1..=3).contains(&access.len())
                && access.chars().all(|c| "rwm".contains(c))
        }
        _ => false,
    };
    if holds { Ok(()) } else { Err(format!("invalid device cgroup format '{text}'")) }
}

fn path_and(text: &str) -> Result<(&str, &str), String> {
    let (path, value) =
        text.rsplit_once(':').filter(|(path, _)| !path.is_empty()).ok_or(format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

/// `/dev/sda:200`.
pub fn parse_weight(text: &str) -> Result<Value, String> {
    let (path, value) = path_and(text)?;
    let weight: u16 = value.parse().map_err(|_| format!("invalid weight for device: {text}"))?;
    if weight != 0 && !(10..=1000).contains(&weight) {
        return Err(format!("invalid weight for device: {text}"));
    }
    Ok(object([("Path", path.into()), ("Weight", Value::Int(i64::from(weight)))]))
}

/// `/dev/sda:1mb`.
pub fn parse_bps(text: &str) -> Result<Value, String> {
    let (path, value) = path_and(text)?;
    let rate = human::parse_bytes(value).map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(object([("Path", path.into()), ("Rate", Value::Int(rate))]))
}

/// `/dev/sda:100`.
pub fn parse_iops(text: &str) -> Result<Value, String> {
    let (path, value) = path_and(text)?;
    let rate: u64 = value.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )
    })?;
    Ok(object([("Path", path.into()), ("Rate", i64::try_from(rate).map_or(Value::Uint(rate), Value::Int))]))
}

/// The check of a weight flag.
pub fn check_weight(text: &str) -> Result<(), String> {
    parse_weight(text).map(drop)
}

/// The check of a flag in bytes a second.
pub fn check_bps(text: &str) -> Result<(), String> {
    parse_bps(text).map(drop)
}

/// The check of a flag in operations a second.
pub fn check_iops(text: &str) -> Result<(), String> {
    parse_iops(text).map(drop)
}
