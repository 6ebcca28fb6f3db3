//! One line of the file as an entry, and an entry as `docker logs` sends it.

use crate::{Stream, time};
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the program wrote it.
    pub stream: Stream,
    /// When it was written, ns since 1970.
    pub time: i64,
    /// The text with its newline, unless it was cut.
    pub line: Vec<u8>,
    /// Docker's extra attributes, by name.
    pub attrs: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(default)]
    attrs: Option<BTreeMap<String, String>>,
}

impl Entry {
    /// Reads a line; `None` when it is no entry.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
        let stream = match &*raw.stream {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return None,
        };
        Some(Self {
            stream,
            time: time::from_rfc3339(&raw.time)?,
            line: raw.log.into_owned().into_bytes(),
            attrs: raw.attrs.unwrap_or_default().into_iter().collect(),
        })
    }

    /// The bytes `docker logs` sends for it: with its time and its attributes before it as asked.
    pub fn render(&self, timestamps: bool, details: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.line.len() + 32);
        if timestamps {
            out.extend_from_slice(time::to_rfc3339_fixed(self.time).as_bytes());
            out.push(b' ');
        }
        if details {
            for (at, (name, value)) in self.attrs.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                push_query(&mut out, name);
                out.push(b'=');
                push_query(&mut out, value);
            }
            // Also where there are none, as docker.
            out.push(b' ');
        }
        out.extend_from_slice(&self.line);
        out
    }
}

/// Escapes as in the query of a URL.
fn push_query(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b' ' => out.push(b'+'),
            b'-' | b'_' | b'.' | b'~' => out.push(byte),
            byte if byte.is_ascii_alphanumeric() => out.push(byte),
            byte => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_as_docker_sends_them() {
        let line = br#"{"log":"a \u003c\ufffd\n","stream":"stderr","attrs":{"b":"x y","a":"1/2"},"time":"2023-11-14T22:13:20.5Z"}"#;
        let entry = Entry::parse(line).unwrap();
        assert_eq!((entry.stream, entry.time), (Stream::Stderr, 1_700_000_000_500_000_000));
        for (timestamps, details, expected) in [
            (false, false, "a <\u{fffd}\n"),
            (true, false, "2023-11-14T22:13:20.500000000Z a <\u{fffd}\n"),
            (true, true, "2023-11-14T22:13:20.500000000Z a=1%2F2,b=x+y a <\u{fffd}\n"),
        ] {
            assert_eq!(String::from_utf8(entry.render(timestamps, details)).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_entry() {
        for bad in [
            "",
            "{}",
            "x",
            r#"{"log":"a","stream":"x","time":"2023-11-14T22:13:20Z"}"#,
            r#"{"log":"a","stream":"stdout","time":"now"}"#,
            r#"{"log":7,"stream":"stdout","time":"2023-11-14T22:13:20Z"}"#,
        ] {
            assert_eq!(Entry::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
