//! One entry as a line of JSON, byte for byte as docker's json-file driver writes it.
//!
//! Like it, `<`, `>`, `&`, U+2028 and U+2029 are escaped, and each byte that is not UTF-8 becomes U+FFFD.

use crate::{Stream, time};

/// Turns times into text; the part down to the second is kept between lines.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    second: Option<i64>,
    text: Vec<u8>,
}

impl Stamp {
    fn push(&mut self, out: &mut Vec<u8>, nanos: i64) {
        let second = nanos.div_euclid(1_000_000_000);
        if self.second != Some(second) {
            self.text.clear();
            time::push_seconds(&mut self.text, second);
            self.second = Some(second);
        }
        out.extend_from_slice(&self.text);
        time::push_fraction(out, nanos.rem_euclid(1_000_000_000) as u32);
    }
}

/// Appends the entry. `attrs` is a JSON object or empty; `ended` says whether the line's newline belongs to it.
pub(crate) fn push_entry(
    out: &mut Vec<u8>,
    stamp: &mut Stamp,
    line: &[u8],
    ended: Ended,
    stream: Stream,
    attrs: &[u8],
    nanos: i64,
) {
    out.extend_from_slice(b"{\"log\":\"");
    push_escaped(out, line);
    out.extend_from_slice(match (ended, stream) {
        (Ended::Newline, Stream::Stdout) => b"\\n\",\"stream\":\"stdout\"",
        (Ended::Newline, Stream::Stderr) => b"\\n\",\"stream\":\"stderr\"",
        (Ended::Cut, Stream::Stdout) => b"\",\"stream\":\"stdout\"",
        (Ended::Cut, Stream::Stderr) => b"\",\"stream\":\"stderr\"",
    });
    if !attrs.is_empty() {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attrs);
    }
    out.extend_from_slice(b",\"time\":\"");
    stamp.push(out, nanos);
    out.extend_from_slice(b"\"}\n");
}

/// How an entry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By a newline of the program.
    Newline,
    /// By the limit on entries, or with the stream.
    Cut,
}

/// Bytes looked at in one go: the compiler makes a few vector instructions of it.
const CHUNK_BYTES: usize = 32;

/// Length of the longest start of `bytes` that needs no escape.
fn plain_length(bytes: &[u8]) -> usize {
    let plain = |chunk: &&[u8; CHUNK_BYTES]| !chunk.iter().fold(false, |found, byte| found | is_special(*byte));
    let (chunks, _) = bytes.as_chunks::<CHUNK_BYTES>();
    let at = chunks.iter().take_while(plain).count() * CHUNK_BYTES;
    at + bytes[at..].iter().take_while(|byte| !is_special(**byte)).count()
}

/// Without a branch, for [`plain_length`]: `<` is 0x3c and `>` is 0x3e.
fn is_special(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) >= 0x60) | (byte == b'"') | (byte == b'\\') | (byte == b'&') | (byte & !2 == b'<')
}

fn push_escaped(out: &mut Vec<u8>, mut bytes: &[u8]) {
    loop {
        let (plain, rest) = bytes.split_at(plain_length(bytes));
        out.extend_from_slice(plain);
        let Some(first) = rest.first() else { return };
        if first.is_ascii() {
            push_special(out, *first);
            bytes = &rest[1..];
        } else {
            let run = rest.iter().take_while(|byte| !byte.is_ascii()).count();
            push_wide(out, &rest[..run]);
            bytes = &rest[run..];
        }
    }
}

/// An ASCII byte that JSON or docker escapes.
fn push_special(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// A run of bytes beyond ASCII.
fn push_wide(out: &mut Vec<u8>, run: &[u8]) {
    for chunk in run.utf8_chunks() {
        let mut valid = chunk.valid();
        while let Some(at) = valid.find(['\u{2028}', '\u{2029}']) {
            out.extend_from_slice(&valid.as_bytes()[..at]);
            out.extend_from_slice(if valid[at..].starts_with('\u{2028}') { b"\\u2028" } else { b"\\u2029" });
            valid = &valid[at + 3..];
        }
        out.extend_from_slice(valid.as_bytes());
        chunk.invalid().iter().for_each(|_| out.extend_from_slice(b"\\ufffd"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(line: &[u8]) -> String {
        let mut out = Vec::new();
        push_escaped(&mut out, line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_entry_reads_as_docker_writes_it() {
        let mut out = Vec::new();
        let mut stamp = Stamp::default();
        push_entry(&mut out, &mut stamp, b"a", Ended::Newline, Stream::Stdout, b"", 1_500_000_000);
        push_entry(&mut out, &mut stamp, b"b", Ended::Cut, Stream::Stderr, br#"{"k":"v"}"#, 2_000_000_000);
        let expected = concat!(
            r#"{"log":"a\n","stream":"stdout","time":"1970-01-01T00:00:01.5Z"}"#,
            "\n",
            r#"{"log":"b","stream":"stderr","attrs":{"k":"v"},"time":"1970-01-01T00:00:02Z"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn escapes() {
        for (line, text) in [
            (&b"plain text, longer than a word"[..], "plain text, longer than a word"),
            (b"a\tb\x1b[0m\r\n\x00\x7f", "a\\u0009b\\u001b[0m\\r\\n\\u0000\x7f"),
            (b"\"\\<>&", "\\\"\\\\\\u003c\\u003e\\u0026"),
            ("12345678\u{e9}\u{20ac}\u{1f600}".as_bytes(), "12345678\u{e9}\u{20ac}\u{1f600}"),
            ("\u{2028}x\u{2029}".as_bytes(), "\\u2028x\\u2029"),
            (b"\xff\xe2\x82z\xc3", "\\ufffd\\ufffd\\ufffdz\\ufffd"),
        ] {
            assert_eq!(encoded(line), text);
        }
    }

    proptest! {
        #[test]
        fn the_fast_scan_finds_what_the_slow_one_finds(bytes in proptest::collection::vec(prop_oneof![20 => 0x20u8..0x80, 1 => any::<u8>()], 0..128)) {
            let is_plain = |byte: &&u8| (0x20..0x80).contains(*byte) && !b"\"\\<>&".contains(byte);
            let slow = bytes.iter().take_while(is_plain).count();
            prop_assert_eq!(plain_length(&bytes), slow);
        }

        #[test]
        fn any_text_survives(text in "\\PC{0,64}|[ -~\n\t<>&\"\\\\]{0,64}") {
            let json = format!("\"{}\"", encoded(text.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
