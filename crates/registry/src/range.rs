//! `Range` of requests for blobs, and `Content-Range` of chunks on their way in.

/// What of a blob is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    All,
    /// Bytes `start..end`.
    Part(u64, u64),
    /// Nothing that is there.
    Nothing,
}

/// Reads `Range` for a blob of `size` bytes. More than one range, another unit and malformed text ask for all, as HTTP
/// allows.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(range) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::All };
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::All };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    match (first, last) {
        ("", length) => match number(length) {
            None => Wanted::All,
            Some(0) => Wanted::Nothing,
            Some(_) if size == 0 => Wanted::Nothing,
            Some(length) => Wanted::Part(size.saturating_sub(length), size),
        },
        (first, "") => match number(first) {
            None => Wanted::All,
            Some(first) if first >= size => Wanted::Nothing,
            Some(first) => Wanted::Part(first, size),
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => Wanted::All,
            (Some(first), Some(_)) if first >= size => Wanted::Nothing,
            (Some(first), Some(last)) => Wanted::Part(first, size.min(last.saturating_add(1))),
            _ => Wanted::All,
        },
    }
}

/// Reads the `Content-Range` of a chunk, `FIRST-LAST` as the distribution specification writes it; `bytes FIRST-LAST/ALL`
/// as HTTP does is taken too. Returns where it begins and how long it is.
pub fn chunk(text: &str) -> Option<(u64, u64)> {
    let text = text.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let text = text.split('/').next().unwrap_or_default();
    let (first, last) = text.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return None;
    }
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some((first, last.checked_sub(first)?.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_means_them() {
        for (header, size, expected) in [
            ("bytes=0-0", 10, Wanted::Part(0, 1)),
            ("bytes=2-4", 10, Wanted::Part(2, 5)),
            ("bytes=2-", 10, Wanted::Part(2, 10)),
            ("bytes=-3", 10, Wanted::Part(7, 10)),
            ("bytes=-30", 10, Wanted::Part(0, 10)),
            ("bytes=2-99", 10, Wanted::Part(2, 10)),
            ("bytes=2-18446744073709551615", 10, Wanted::Part(2, 10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=10-20", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=-1", 0, Wanted::Nothing),
            ("bytes=4-2", 10, Wanted::All),
            ("bytes=0-1,3-4", 10, Wanted::All),
            ("bytes=+1-2", 10, Wanted::All),
            ("lines=0-1", 10, Wanted::All),
            ("bytes=99999999999999999999-", 10, Wanted::All),
            ("bytes=", 10, Wanted::All),
        ] {
            assert_eq!(wanted(Some(header), size), expected, "{header} of {size}");
        }
        assert_eq!(wanted(None, 10), Wanted::All);
    }

    #[test]
    fn chunks_say_where_they_begin_and_end() {
        for (text, expected) in [
            ("0-0", Some((0, 1))),
            ("5-9", Some((5, 5))),
            ("bytes 5-9/10", Some((5, 5))),
            ("bytes=5-9", Some((5, 5))),
            ("9-5", None),
            ("5-", None),
            ("-5", None),
            ("a-b", None),
            ("+1-2", None),
            ("", None),
            ("0-18446744073709551615", None),
            ("1-18446744073709551615", Some((1, u64::MAX))),
        ] {
            assert_eq!(chunk(text), expected, "{text}");
        }
    }
}
