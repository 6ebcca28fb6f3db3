//! Sizes as Docker's clients write and print them.

use rorqual_error::{Error, Result};

/// Parses `64m`, `1.5GiB`, `1024`: binary units (1 k = 1024), as flags such as `--memory` mean them.
pub fn parse_bytes(text: &str) -> Result<i64> {
    let shown: String = text.chars().take(256).collect();
    let invalid = || Error::invalid(format!("invalid size: '{shown}'"));
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let value: f64 = number.parse().map_err(|_| invalid())?;
    let unit = unit.trim().to_lowercase();
    let scale = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if unit.is_empty() || unit == "b" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return Err(invalid()),
    };
    let bytes = value * scale as f64;
    if bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(invalid()) }
}

/// Prints a size with four significant digits in decimal units, as `docker images` does: `4.26MB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(value, 4), UNITS[unit])
}

/// `%.{digits}g` of C for values below 10^digits.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_mean_binary_units() {
        for (text, bytes) in [("1024", 1024), ("64m", 64 << 20), ("1.5GiB", 3 << 29), ("10kb", 10240), ("5b", 5)] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1.2.3", "9999999p"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_print_as_docker_prints_them() {
        for (bytes, text) in
            [(0, "0B"), (999, "999B"), (4_261_550, "4.262MB"), (1_000_000, "1MB"), (123_456_789, "123.5MB")]
        {
            assert_eq!(human_size(bytes), text);
        }
    }
}
