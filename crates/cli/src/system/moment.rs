//! Moments as flags take them and as docker prints them.

use crate::human;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// `42m` ago, `2013-01-02T13:23:37Z`, a date, or seconds since the epoch, as the API takes it.
pub fn parse(text: &str) -> Result<String, String> {
    let now = Timestamp::now();
    if let Ok(nanoseconds) = human::parse_duration(text) {
        let then = now.as_nanosecond() - i128::from(nanoseconds);
        return Ok((then.div_euclid(1_000_000_000)).to_string());
    }
    let seconds = text.strip_prefix('-').unwrap_or(text);
    if !seconds.is_empty()
        && seconds.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && seconds.matches('.').count() < 2
    {
        return Ok(text.to_owned());
    }
    let moment = absolute(text).ok_or_else(|| format!("failed to parse value as time or duration: {text:?}"))?;
    Ok(format!("{}.{:09}", moment.as_second(), moment.subsec_nanosecond()))
}

/// A full or shortened RFC 3339 moment; without a zone it is local.
fn absolute(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    let (local, zone) = match text.strip_suffix('Z') {
        Some(rest) => (rest, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let date_time: DateTime = match local.split_once('T') {
        None => local.parse().ok()?,
        Some((_, time)) => match time.matches(':').count() {
            0 => format!("{local}:00:00").parse().ok()?,
            1 => format!("{local}:00").parse().ok()?,
            _ => local.parse().ok()?,
        },
    };
    date_time.to_zoned(zone).ok().map(|zoned| zoned.timestamp())
}

/// Seconds since the epoch as Go prints a time: `2026-11-20 23:53:00 +0000 UTC`.
pub fn go_time(unix_seconds: i64) -> String {
    let Ok(moment) = Timestamp::from_second(unix_seconds) else { return String::new() };
    moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// An RFC 3339 moment as Go prints a time, with the fraction it has: `2026-11-20 23:31:18.0089 +0000 UTC`.
pub fn go_time_of(text: &str) -> String {
    let Ok(moment) = text.parse::<Timestamp>() else { return text.to_owned() };
    let fraction = match moment.subsec_nanosecond() {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    let zone = if text.ends_with('Z') { TimeZone::UTC } else { TimeZone::system() };
    let zoned = moment.to_zoned(zone);
    format!("{}{fraction} {}", zoned.strftime("%Y-%m-%d %H:%M:%S"), zoned.strftime("%z %Z"))
}

/// An RFC 3339 moment as `version` prints it: `Tue Sep 15 11:02:57 2026`; other text as it is.
pub fn build_time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(moment) => moment.to_zoned(TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Nanoseconds since the epoch in local time with all nine digits: `2026-11-21T00:09:11.057939818Z`.
pub fn nano(unix_nanoseconds: i64) -> String {
    let Ok(moment) = Timestamp::from_nanosecond(i128::from(unix_nanoseconds)) else { return String::new() };
    let zoned = moment.to_zoned(TimeZone::system());
    let zone = match zoned.offset().is_zero() {
        true => "Z".to_owned(),
        false => zoned.strftime("%:z").to_string(),
    };
    format!("{}{zone}", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        assert_eq!(parse("2026-01-02T03:04:05.123Z").unwrap(), "1767323045.123000000");
        assert_eq!(parse("2026-01-02Z").unwrap(), "1767312000.000000000");
        assert_eq!(parse("1700000000.5").unwrap(), "1700000000.5");
        assert_eq!(parse("foo").unwrap_err(), "failed to parse value as time or duration: \"foo\"");
    }

    #[test]
    fn moments_are_printed() {
        assert_eq!(go_time_of("2026-11-20T23:31:18.00786223Z"), "2026-11-20 23:31:18.00786223 +0000 UTC");
        assert_eq!(build_time("2026-09-15T11:02:57.000000000+00:00"), "Tue Sep 15 11:02:57 2026");
    }
}
