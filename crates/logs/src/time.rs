//! Nanoseconds since 1970 as RFC 3339 text and back, in UTC. Own code, because the shim links no calendar.

const NANOS: i64 = 1_000_000_000;

/// Year, month, day of a day number (days since 1970-01-01), by the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, u32, u32) {
    // Years are counted from March so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Writes `2026-01-02T03:04:05` for a number of seconds.
pub(crate) fn push_seconds(out: &mut Vec<u8>, seconds: i64) {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second_of_day = seconds.rem_euclid(86_400) as u32;
    push_digits(out, year.clamp(0, 9999) as u32, 4);
    for (separator, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', second_of_day / 3600),
        (b':', second_of_day / 60 % 60),
        (b':', second_of_day % 60),
    ] {
        out.push(separator);
        push_digits(out, value, 2);
    }
}

/// Writes `.123456789Z` without trailing zeros, nothing before the `Z` when there are no nanoseconds.
pub(crate) fn push_fraction(out: &mut Vec<u8>, nanos: u32) {
    if nanos != 0 {
        out.push(b'.');
        push_digits(out, nanos, 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

fn push_digits(out: &mut Vec<u8>, value: u32, digits: usize) {
    let mut text = [b'0'; 10];
    let mut rest = value;
    for slot in text[..digits].iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text[..digits]);
}

/// `2026-01-02T03:04:05.1Z`: as few digits as needed, as in the log file.
pub fn to_rfc3339(nanos: i64) -> String {
    let mut out = Vec::with_capacity(32);
    push_seconds(&mut out, nanos.div_euclid(NANOS));
    push_fraction(&mut out, nanos.rem_euclid(NANOS) as u32);
    String::from_utf8(out).expect("digits and separators are ASCII")
}

/// `2026-01-02T03:04:05.100000000Z`: always nine digits, as `docker logs --timestamps` prints.
pub fn to_rfc3339_fixed(nanos: i64) -> String {
    let mut out = Vec::with_capacity(32);
    push_seconds(&mut out, nanos.div_euclid(NANOS));
    out.push(b'.');
    push_digits(&mut out, nanos.rem_euclid(NANOS) as u32, 9);
    out.push(b'Z');
    String::from_utf8(out).expect("digits and separators are ASCII")
}

/// Nanoseconds since 1970 of an RFC 3339 time with any offset; `None` when it is none, or outside 1678 to 2262.
pub fn from_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let separators = [(4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":")];
    if separators.iter().any(|(at, separator)| bytes.get(*at) != separator.first()) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0i64;
    if bytes.get(at) == Some(&b'.') {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = digits.min(9);
        nanos = number(at + 1, at + 1 + kept)? * 10i64.pow(9 - kept as u32);
        if digits == 0 {
            return None;
        }
        at += 1 + digits;
    }
    let offset = match bytes.get(at..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let seconds = number(at + 1, at + 3)? * 3600 + number(at + 4, at + 6)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days(year, month as u32, day as u32) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(NANOS)?.checked_add(nanos)
}

/// Now.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_both_ways() {
        for (nanos, text, fixed) in [
            (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_100_000_000, "2000-02-29T00:00:00.1Z", "2000-02-29T00:00:00.100000000Z"),
            (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z", "2023-11-14T22:13:20.123456789Z"),
            (-1, "1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(to_rfc3339(nanos), text);
            assert_eq!(to_rfc3339_fixed(nanos), fixed);
            assert_eq!(from_rfc3339(text), Some(nanos));
            assert_eq!(from_rfc3339(fixed), Some(nanos));
        }
        assert_eq!(from_rfc3339("2023-11-15T00:13:20.5+02:00"), Some(1_700_000_000_500_000_000));
    }

    #[test]
    fn every_day_of_four_centuries_survives() {
        for day in -150_000..150_000 {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2023",
            "2023-13-01T00:00:00Z",
            "2023-01-01 00:00:00Z",
            "2023-01-01T00:00:00",
            "9999-01-01T00:00:00Z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00+0200",
            "2023-01-01T00:00:00Zx",
        ] {
            assert_eq!(from_rfc3339(bad), None, "{bad}");
        }
    }
}
