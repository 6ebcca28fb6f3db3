//! Times as dockerd writes them.

use jiff::Timestamp;
use rorqual_error::{Error, Result};

/// What Go prints for a time that was never set.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 in UTC with as many digits of a second as are needed, as Go's `RFC3339Nano`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.to_string()
}

/// RFC 3339 in UTC with whole seconds, as dockerd writes the creation of a volume.
pub(crate) fn rfc3339_seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// As [`rfc3339`], or Go's zero time.
pub(crate) fn optional(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), rfc3339)
}

/// A time from nanoseconds since 1970; out of range is the epoch.
pub(crate) fn from_ns(ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The moment an `until` filter names: seconds since 1970, RFC 3339, or a duration back from now (`24h`, `10m`).
pub(crate) fn parse_until(text: &str) -> Result<Timestamp> {
    let shown: String = text.chars().take(128).collect();
    let invalid = || Error::invalid(format!("invalid filter 'until={shown}'"));
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = (seconds * 1e9) as i128;
        return Timestamp::from_nanosecond(ns).map_err(|_| invalid());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(span) = text.parse::<jiff::SignedDuration>() {
        return Timestamp::now().checked_sub(span).map_err(|_| invalid());
    }
    let civil = text.parse::<jiff::civil::DateTime>().map_err(|_| invalid())?;
    Ok(civil.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| invalid())?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_like_gos() {
        let time = from_ns(1_700_000_000_120_000_000);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.12Z");
        assert_eq!(rfc3339_seconds(time), "2023-11-14T22:13:20Z");
        assert_eq!(optional(None), NEVER);
    }

    #[test]
    fn an_until_is_a_moment_or_a_distance() {
        assert_eq!(parse_until("1700000000").unwrap(), from_ns(1_700_000_000_000_000_000));
        assert_eq!(parse_until("2023-11-14T22:13:20Z").unwrap(), from_ns(1_700_000_000_000_000_000));
        let hour = Timestamp::now().duration_since(parse_until("1h0m").unwrap());
        assert!((3590..3610).contains(&hour.as_secs()));
        assert!(parse_until("2023-11-14T22:13:20").is_ok());
        assert!(parse_until("soon").is_err());
    }
}
