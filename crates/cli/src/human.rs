//! Numbers for people: spans, sizes, and the same as flags take them.

use jiff::Timestamp;

/// A rough span, as `ps` prints ages: `About a minute`, `2 weeks`.
pub fn span(seconds: f64) -> String {
    let whole = seconds as i64;
    let minutes = whole / 60;
    let hours = (seconds / 3600.0 + 0.5) as i64;
    match () {
        () if whole < 1 => "Less than a second".to_owned(),
        () if whole == 1 => "1 second".to_owned(),
        () if whole < 60 => format!("{whole} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", whole / 3600 / 24 / 365),
    }
}

/// How long before `now` a moment in seconds since the epoch was: `3 hours ago`.
pub fn ago(unix_seconds: i64, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(unix_seconds) as f64;
    format!("{} ago", span(seconds))
}

/// A size in decimal units with `digits` significant digits: `1.98MB`.
pub fn size(bytes: f64, digits: usize) -> String {
    scaled(bytes, digits, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
}

/// A size in binary units: `64MiB`.
pub fn binary_size(bytes: f64) -> String {
    scaled(bytes, 4, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
}

fn scaled(mut value: f64, digits: usize, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", general(value, digits), units[unit])
}

/// `%.{digits}g` of C and Go.
pub fn general(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Reads `64m`, `1.5GiB`, `1024`: units are binary, as docker's flags mean them.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let at = text.rfind(|c: char| c.is_ascii_digit() || c == '.').ok_or_else(invalid)?;
    let (number, unit) = (&text[..=at], text[at + 1..].trim_start());
    // The number may be followed by one space.
    let number = number.trim_end();
    if number.starts_with(['-', '+']) {
        return Err(invalid());
    }
    let value: f64 = number.parse().map_err(|_| invalid())?;
    let scale = match unit.to_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(format!("invalid suffix: '{unit}'")),
    };
    Ok((value * (1u64 << scale) as f64) as i64)
}

/// Reads `1m30s`, `250ms`, `1.5h` into nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..end];
        let scale = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * scale;
        rest = &rest[end..];
    }
    let total = total.round() as i64;
    Ok(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_as_docker_rounds_them() {
        for (seconds, text) in [
            (0.0, "Less than a second"),
            (1.0, "1 second"),
            (59.0, "59 seconds"),
            (60.0, "About a minute"),
            (119.0, "About a minute"),
            (120.0, "2 minutes"),
            (3599.0, "59 minutes"),
            (3600.0, "About an hour"),
            (5400.0, "2 hours"),
            (86400.0 * 2.0, "2 days"),
            (86400.0 * 14.0, "2 weeks"),
            (86400.0 * 60.0, "2 months"),
            (86400.0 * 730.0, "2 years"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn sizes_have_significant_digits() {
        for (bytes, digits, text) in [
            (0.0, 3, "0B"),
            (999.0, 3, "999B"),
            (1_977_000.0, 3, "1.98MB"),
            (4_261_550.0, 4, "4.262MB"),
            (999_999.0, 3, "1e+03kB"),
            (1_000_000.0, 3, "1MB"),
            (45.0, 3, "45B"),
        ] {
            assert_eq!(size(bytes, digits), text);
        }
        assert_eq!(binary_size(64.0 * 1024.0 * 1024.0), "64MiB");
    }

    #[test]
    fn flags_take_sizes_and_spans() {
        for (text, bytes) in [("64m", 64 << 20), ("1.5GiB", 3 << 29), ("10kb", 10240), ("5b", 5), ("1 k", 1024)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for (text, nanoseconds) in [("1m30s", 90_000_000_000), ("250ms", 250_000_000), ("-1s", -1_000_000_000)] {
            assert_eq!(parse_duration(text), Ok(nanoseconds));
        }
        assert_eq!(parse_duration("1"), Err("time: missing unit in duration \"1\"".to_owned()));
    }
}
