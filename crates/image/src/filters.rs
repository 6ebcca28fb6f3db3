//! Filters of image lists and prunes.

use crate::{name::is_dangling, oci::ImageConfig};
use jiff::Timestamp;
use rorqual_error::{Error, Result};
use rorqual_types::{Filters, Reference};

/// The creation time of an image in seconds since 1970; 0 where it says nothing or nonsense.
pub(crate) fn created(config: Option<&ImageConfig>) -> i64 {
    created_ns(config).map_or(0, |ns| ns.div_euclid(1_000_000_000) as i64)
}

pub(crate) fn created_ns(config: Option<&ImageConfig>) -> Option<i128> {
    parse_time(config?.created.as_deref()?)
}

/// An RFC 3339 time in nanoseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Option<i128> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_nanosecond)
}

/// The moment an `until` filter names, in nanoseconds since 1970: a time, seconds since 1970, or a Go duration back
/// from `now`.
pub(crate) fn until(filters: &Filters, now: Timestamp) -> Result<Option<i128>> {
    let text = match filters.get("until") {
        [] => return Ok(None),
        [one] => one,
        _ => return Err(Error::invalid("more than one until filter specified")),
    };
    let seconds = || -> Option<i128> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction: i128 = format!("{fraction:0<9.9}").parse().ok()?;
        Some(whole.parse::<i128>().ok()? * 1_000_000_000 + fraction)
    };
    let date = || -> Option<i128> {
        let date: jiff::civil::DateTime = text.parse().ok()?;
        date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_nanosecond())
    };
    let shown: String = text.chars().take(100).collect();
    duration_ns(text)
        .map(|back| now.as_nanosecond() - back)
        .or_else(|| parse_time(text))
        .or_else(seconds)
        .or_else(date)
        .map(Some)
        .ok_or_else(|| Error::invalid(format!("failed to parse value as time or duration: \"{shown}\"")))
}

/// A Go duration: `1h30m`, `10s`, `1.5h`.
pub(crate) fn duration_ns(text: &str) -> Option<i128> {
    let (mut rest, mut total, mut any) = (text, 0i128, false);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |at| end + at);
        let unit: f64 = match &rest[end..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += (number * unit) as i128;
        (rest, any) = (&rest[unit_end..], true);
    }
    any.then_some(total)
}

/// Whether one of the `reference` filters fits the name: a pattern for `busybox` or for `busybox:latest`, both in the
/// familiar and in the full form.
pub(crate) fn matches_reference(filters: &Filters, name: &str) -> bool {
    if !filters.contains("reference") {
        return true;
    }
    if is_dangling(name) {
        return false;
    }
    let Ok(reference) = name.parse::<Reference>() else { return false };
    let forms = [
        reference.familiar(),
        reference.familiar_name().to_owned(),
        reference.to_string(),
        reference.name().to_owned(),
    ];
    filters.get("reference").iter().any(|pattern| forms.iter().any(|form| glob(pattern.as_bytes(), form.as_bytes())))
}

/// Go's `path.Match`: `*` and `?` do not cross a slash; `[a-z]`; `\` quotes. A malformed pattern fits nothing.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let Some(steps) = compile(pattern) else { return false };
    // Every place in `text` that a prefix of the pattern may end at; so the work is bounded by both lengths.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for step in steps {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            if matches!(step, Step::Any) {
                next[at] |= ends[at] || at > 0 && next[at - 1] && text[at - 1] != b'/';
            } else if at > 0 {
                next[at] = ends[at - 1] && step.fits(text[at - 1]);
            }
        }
        ends = next;
    }
    ends[text.len()]
}

/// One element of a pattern.
enum Step<'a> {
    /// `*`
    Any,
    /// `?`
    One,
    /// `[…]`, `[^…]`
    Class { negated: bool, class: &'a [u8] },
    /// The byte itself.
    Byte(u8),
}

impl Step<'_> {
    fn fits(&self, byte: u8) -> bool {
        match self {
            Self::Any => false,
            Self::One => byte != b'/',
            Self::Class { negated, class } => byte != b'/' && in_class(class, byte) != *negated,
            Self::Byte(own) => *own == byte,
        }
    }
}

fn compile(mut pattern: &[u8]) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    while let Some((first, rest)) = pattern.split_first() {
        let (step, rest) = match first {
            b'*' => (Step::Any, rest),
            b'?' => (Step::One, rest),
            b'[' => {
                let end = rest.iter().skip(1).position(|byte| *byte == b']')? + 1;
                let (negated, class) = match rest[..end].split_first() {
                    Some((b'^', class)) => (true, class),
                    _ => (false, &rest[..end]),
                };
                (Step::Class { negated, class }, &rest[end + 1..])
            }
            b'\\' => rest.split_first().map(|(quoted, rest)| (Step::Byte(*quoted), rest))?,
            byte => (Step::Byte(*byte), rest),
        };
        steps.push(step);
        pattern = rest;
    }
    Some(steps)
}

fn in_class(mut class: &[u8], byte: u8) -> bool {
    while let Some((low, rest)) = class.split_first() {
        let (high, rest) = match rest {
            [b'-', high, rest @ ..] => (high, rest),
            _ => (low, rest),
        };
        if (*low..=*high).contains(&byte) {
            return true;
        }
        class = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, text, fits) in [
            ("busy*", "busybox:latest", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?x", "box", true),
            ("b[a-p]x", "box", true),
            ("b[^a-p]x", "box", false),
            ("a\\*", "a*", true),
            ("", "a", false),
            ("[", "a", false),
            ("a*b*c", "axxbxxc", true),
            (&"*a".repeat(50), &"a".repeat(49), false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn until_takes_times_seconds_and_durations() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (text, seconds) in
            [("1h30m", 1_000_000 - 5400), ("999", 999), ("1970-01-02", 86400), ("1970-01-01T00:01:00Z", 60)]
        {
            let mut filters = Filters::default();
            filters.add("until", text);
            assert_eq!(until(&filters, now).unwrap(), Some(seconds * 1_000_000_000), "{text}");
        }
        let mut filters = Filters::default();
        filters.add("until", "soon");
        assert!(until(&filters, now).is_err());
    }
}
