//! Replaces what differs between two runs of the same command: ids, digests, times, places.

/// The text with ids as `<id>` and `<short>`, digests as `sha256:<digest>`, times as `<time>`, ages as `<age>`.
pub fn normal(text: &str, directory: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = if directory.is_empty() { text } else { text.replace(directory, "<dir>") };
    text.lines().map(|line| ages(&words(line))).map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Replaces word by word, a word being a run of letters and digits (and what times are written with).
fn words(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if length == 0 {
            let first = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..first]);
            rest = &rest[first..];
            continue;
        }
        if let Some(length) = time(rest) {
            out.push_str("<time>");
            rest = &rest[length..];
            continue;
        }
        let word = &rest[..length];
        let hex = word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        out.push_str(match length {
            64 if hex && out.ends_with("sha256:") => "<digest>",
            64 if hex => "<id>",
            12 if hex && word.bytes().any(|byte| byte.is_ascii_digit()) => "<short>",
            _ => word,
        });
        rest = &rest[length..];
    }
    out
}

/// The length of an RFC 3339 time at the start of `text`.
fn time(text: &str) -> Option<usize> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let fits = |(have, want): (&u8, &u8)| if *want == b'0' { have.is_ascii_digit() } else { have == want };
    if bytes.len() < SHAPE.len() || !bytes.iter().zip(SHAPE).all(fits) {
        return None;
    }
    let mut length = SHAPE.len();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if bytes.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    match bytes.get(length) {
        Some(b'Z') => length += 1,
        Some(b'+' | b'-') if bytes.len() >= length + 6 => length += 6,
        _ => {}
    }
    Some(length)
}

/// Replaces `3 seconds ago`, `Up Less than a second`, `About a minute ago`.
fn ages(line: &str) -> String {
    const UNITS: [&str; 7] = ["second", "minute", "hour", "day", "week", "month", "year"];
    let mut words: Vec<&str> = line.split(' ').collect();
    let mut at = 0;
    while at < words.len() {
        let unit = |at: usize| words.get(at).is_some_and(|word| UNITS.iter().any(|unit| word.starts_with(unit)));
        let length = match words[at] {
            "Less" if words.get(at + 1) == Some(&"than") && unit(at + 3) => 4,
            "About" if unit(at + 2) => 3,
            word if word.parse::<u32>().is_ok() && unit(at + 1) => 2,
            _ => 0,
        };
        if length > 0 {
            words.splice(at..at + length, ["<age>"]);
        }
        at += 1;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(normal(text, "/tmp/x"), format!("{expected}\n"));
    }

    #[test]
    fn what_differs_between_runs_is_replaced() {
        let id = "0123456789abcdef".repeat(4);
        check(&format!("{id} {}", &id[..12]), "<id> <short>");
        check(&format!("sha256:{id}"), "sha256:<digest>");
        check("2026-01-02T03:04:05.678901234Z hello", "<time> hello");
        check("at=2026-01-02T03:04:05+01:00.", "at=<time>.");
        check("Up 3 seconds, Exited (0) Less than a second ago", "Up <age> Exited (0) <age> ago");
        check("file /tmp/x/y", "file <dir>/y");
    }

    #[test]
    fn ordinary_words_stay() {
        check("deadbeef 123456 2026-01-02 décor 12 apples", "deadbeef 123456 2026-01-02 décor 12 apples");
    }
}
