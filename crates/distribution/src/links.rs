//! The small headers of the protocol: `Link`, `Range`, `Content-Range`, `Retry-After`.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};
use std::time::Duration;

/// The target of the `Link` with `rel="next"`, as it is written.
pub fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, parameters) = after.split_once('>')?;
        let (own, others) = parameters.split_once('<').unwrap_or((parameters, ""));
        let next = own.split([';', ',']).any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else { return false };
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel") && value.split(' ').any(|word| word.eq_ignore_ascii_case("next"))
        });
        if next {
            return Some(target);
        }
        if others.is_empty() {
            return None;
        }
        rest = parameters.get(parameters.len() - others.len() - 1..)?;
    }
}

/// First byte, last byte and length of `Content-Range: bytes 5-9/10`; the length may be `*`.
pub fn content_range(header: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, length) = header.trim().strip_prefix("bytes ")?.trim_start_matches(' ').split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let length = if length == "*" { None } else { Some(number(length)?) };
    (first <= last && length.is_none_or(|length| last < length)).then_some((first, last, length))
}

/// How many bytes of an upload a server has, by its `Range: 0-9`. `0-0` is nothing, as Docker's registry means it.
pub fn upload_range(header: &str) -> Option<u64> {
    let text = header.trim();
    let (first, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    match (number(first)?, number(last)?) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}

/// How long `Retry-After` asks to wait: seconds, or a date.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let text = header.trim();
    if let Some(seconds) = number(text) {
        return Some(Duration::from_secs(seconds));
    }
    let moment = DateTimeParser::new().parse_timestamp(text).ok()?;
    let wait: SignedDuration = moment.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

/// Decimal digits alone: no sign, no blank.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_page_is_found() {
        for (header, next) in [
            (r#"</v2/a/tags/list?last=x&n=2>; rel="next""#, Some("/v2/a/tags/list?last=x&n=2")),
            ("<b>;rel=next", Some("b")),
            (r#"<a>; rel="prev", <b>; rel="next""#, Some("b")),
            (r#"<a>; title="x"; REL="last next""#, Some("a")),
            (r#"<a>; rel="prev""#, None),
            ("<a", None),
            ("a; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), next, "{header}");
        }
    }

    #[test]
    fn ranges_are_strict() {
        for (header, range) in [
            ("bytes 5-9/10", Some((5, 9, Some(10)))),
            ("bytes 0-0/*", Some((0, 0, None))),
            ("bytes 5-10/10", None),
            ("bytes 6-5/10", None),
            ("bytes */10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-9/18446744073709551616", None),
            ("5-9/10", None),
            ("bytes5-9/10", None),
            ("bytes\t5-9/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(header), range, "{header}");
        }
        for (header, bytes) in [
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            ("0-0", Some(0)),
            ("1-9", None),
            ("0-18446744073709551615", None),
            ("9", None),
        ] {
            assert_eq!(upload_range(header), bytes, "{header}");
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let seconds = |header: &str| retry_after(header, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Thu, 01 Jan 2026 00:01:00 GMT"), Some(60));
        assert_eq!(seconds("Wed, 31 Dec 2025 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-1"), None);
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(header in "[ -~]{0,100}") {
            next_link(&header);
            content_range(&header);
            upload_range(&header);
            retry_after(&header, Timestamp::UNIX_EPOCH);
        }

        #[test]
        fn a_written_range_is_read(first in 0u64..1000, length in 1u64..1000, more in 0u64..1000) {
            let (last, total) = (first + length - 1, first + length + more);
            let read = content_range(&format!("bytes {first}-{last}/{total}"));
            prop_assert_eq!(read, Some((first, last, Some(total))));
        }

        #[test]
        fn a_next_link_survives_its_neighbours(target in "[a-z/?=&]{1,20}", other in "[a-z]{1,9}") {
            let header = format!("<{other}>; rel=\"prev\", <{target}>; rel=\"next\", <{other}>; rel=\"last\"");
            prop_assert_eq!(next_link(&header), Some(target.as_str()));
        }
    }
}
