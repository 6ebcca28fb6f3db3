//! Times as dockerd writes them.

use jiff::Timestamp;

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
}
