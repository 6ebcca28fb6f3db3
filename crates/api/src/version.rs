//! Versions of the API: what a client may ask for, and dockerd's words where it may not.

use rorqual_error::{Error, Result};
use std::fmt;

/// A version of the API, as `1.51`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    major: u32,
    minor: u32,
}

/// The newest version, taken where a request names none.
pub const CURRENT: ApiVersion = ApiVersion::new(1, 51);
/// The oldest version.
pub const OLDEST: ApiVersion = ApiVersion::new(1, 24);

impl ApiVersion {
    /// The version `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The version of a `/v1.51` prefix, given without its `v`; an error if it is outside what this daemon speaks.
    pub fn negotiate(text: &str) -> Result<Self> {
        let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
        let asked = Self { major: parts.next().unwrap_or(0), minor: parts.next().unwrap_or(0) };
        let beyond = parts.any(|part| part > 0);
        let shown: String = text.chars().take(crate::limits::SHOWN).collect();
        if asked < OLDEST {
            return Err(Error::invalid(format!(
                "client version {shown} is too old. Minimum supported API version is {OLDEST}, please upgrade your client \
                 to a newer version"
            )));
        }
        if asked > CURRENT || (asked == CURRENT && beyond) {
            return Err(Error::invalid(format!(
                "client version {shown} is too new. Maximum supported API version is {CURRENT}"
            )));
        }
        Ok(asked)
    }

    /// Whether it is `1.minor` or newer.
    pub fn at_least(self, minor: u32) -> bool {
        self >= Self::new(1, minor)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_outside_the_range_are_refused_in_dockerds_words() {
        for good in ["1.24", "1.51", "1.40", "1.051", "1.45."] {
            assert!(ApiVersion::negotiate(good).is_ok(), "{good}");
        }
        for (bad, text) in [
            (
                "1.23",
                "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a \
                 newer version",
            ),
            ("1.52", "client version 1.52 is too new. Maximum supported API version is 1.51"),
            ("1.51.1", "client version 1.51.1 is too new. Maximum supported API version is 1.51"),
            ("2", "client version 2 is too new. Maximum supported API version is 1.51"),
            (
                "99999999999999999999",
                "client version 99999999999999999999 is too old. Minimum supported API version is \
                 1.24, please upgrade your client to a newer version",
            ),
        ] {
            assert_eq!(ApiVersion::negotiate(bad).unwrap_err().to_string(), text);
        }
    }
}
