//! The budget as `daemon.json` has it.

use crate::limits::BUDGET_YOUNG;
use rorqual_error::{Error, Result};
use rorqual_types::parse_bytes;
use serde::Deserialize;
use std::{str::FromStr, time::Duration};

/// `image-gc` of `daemon.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "File")]
pub struct Budget {
    /// Above this something goes.
    pub high: Mark,
    /// Until this is reached.
    pub low: Mark,
    /// What was of use so recently stays.
    pub minimum_age: Duration,
    /// Patterns of names that stay, as the filter `reference` takes them.
    pub pinned: Vec<String>,
}

/// The key's own form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    high_mark: String,
    low_mark: String,
    /// `90s`, `2m`, `1h`.
    minimum_age: Option<String>,
    #[serde(default)]
    pinned: Vec<String>,
}

/// How much is much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Bytes of all images.
    Bytes(u64),
    /// So many hundredths of the data root's file system are in use, whoever uses them.
    Percent(u8),
}

impl FromStr for Mark {
    type Err = Error;

    /// `80%` or `20GB`.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let shown: String = text.chars().take(64).collect();
            Error::invalid(format!("invalid mark {shown:?}: say a size as 20GB or a percentage as 85%"))
        };
        match text.strip_suffix('%') {
            Some(number) => {
                let percent = number.parse().ok().filter(|percent| (1..=99).contains(percent));
                percent.map(Self::Percent).ok_or_else(invalid)
            }
            None => {
                parse_bytes(text).ok().and_then(|bytes| u64::try_from(bytes).ok()).map(Self::Bytes).ok_or_else(invalid)
            }
        }
    }
}

impl TryFrom<File> for Budget {
    type Error = Error;

    /// Refuses marks that cannot be kept.
    fn try_from(file: File) -> Result<Self> {
        let (high, low) = (file.high_mark.parse()?, file.low_mark.parse()?);
        let is_ordered = match (high, low) {
            (Mark::Bytes(high), Mark::Bytes(low)) => low <= high,
            (Mark::Percent(high), Mark::Percent(low)) => low <= high,
            _ => return Err(Error::invalid("both marks must be sizes, or both percentages")),
        };
        if !is_ordered {
            return Err(Error::invalid("the low mark is above the high one"));
        }
        let minimum_age = file.minimum_age.map_or(Ok(BUDGET_YOUNG), |text| age(&text))?;
        Ok(Self { high, low, minimum_age, pinned: file.pinned })
    }
}

/// A duration of one unit.
fn age(text: &str) -> Result<Duration> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let found = units.iter().find_map(|(unit, seconds)| {
        text.strip_suffix(unit)?.parse::<u32>().ok().map(|number| u64::from(number) * seconds)
    });
    let shown: String = text.chars().take(64).collect();
    found
        .map(Duration::from_secs)
        .ok_or_else(|| Error::invalid(format!("invalid duration {shown:?}: say 90s, 2m or 1h")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_sizes_or_percentages() {
        assert_eq!("85%".parse::<Mark>().unwrap(), Mark::Percent(85));
        assert_eq!("2GB".parse::<Mark>().unwrap(), Mark::Bytes(2 << 30));
        for bad in ["", "%", "0%", "100%", "-1", "x", "85 %"] {
            assert!(bad.parse::<Mark>().is_err(), "{bad}");
        }
    }

    #[test]
    fn marks_must_fit_together() {
        let budget = |high: &str, low: &str| {
            let (high_mark, low_mark) = (high.to_owned(), low.to_owned());
            Budget::try_from(File { high_mark, low_mark, minimum_age: None, pinned: Vec::new() })
        };
        assert!(budget("85%", "80%").is_ok() && budget("1g", "1g").is_ok());
        assert!(budget("80%", "85%").is_err() && budget("1g", "2g").is_err() && budget("85%", "1g").is_err());
    }

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(age("2m").unwrap().as_secs(), 120);
        assert_eq!(age("0s").unwrap().as_secs(), 0);
        assert!(["", "m", "2", "-1s", "2w"].iter().all(|bad| age(bad).is_err()));
    }
}
