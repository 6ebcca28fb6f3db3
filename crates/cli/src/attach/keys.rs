//! The key sequence that detaches from a container's terminal, `ctrl-p,ctrl-q` unless the user says otherwise.

use crate::failure::{Failure, Result};

/// Watches input for the sequence; what turns out not to belong to it is passed on.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

const DEFAULT: &str = "ctrl-p,ctrl-q";

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` or `a,ctrl-b`; empty means the default.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = if text.is_empty() { DEFAULT } else { text };
        let key = |name: &str| match name.strip_prefix("ctrl-") {
            Some("@") => Some(0),
            Some("[") => Some(27),
            Some("\\") => Some(28),
            Some("]") => Some(29),
            Some("^") => Some(30),
            Some("_") => Some(31),
            Some(letter) => match letter.as_bytes() {
                [b @ b'a'..=b'z'] => Some(b - b'a' + 1),
                _ => None,
            },
            None => match name.as_bytes() {
                [byte] => Some(*byte),
                _ => None,
            },
        };
        let keys = text.split(',').map(|name| key(name).ok_or_else(|| name.to_owned())).collect::<Result<_, _>>();
        let keys = keys.map_err(|name: String| {
            Failure::message(format!("invalid detach keys ({text}): Unknown character: '{name}'"))
        })?;
        Ok(Self { keys, matched: 0 })
    }

    /// What of `input` goes to the container, and whether the sequence is complete.
    pub(crate) fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for byte in input {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            // Not the sequence after all: what was held back goes first.
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str, pieces: &[&[u8]], want: &[u8], detached: bool) {
        let mut keys = DetachKeys::parse(keys).unwrap();
        let mut out = Vec::new();
        let mut found = false;
        for piece in pieces {
            let (passed, done) = keys.filter(piece);
            out.extend(passed);
            found |= done;
        }
        assert_eq!((out.as_slice(), found), (want, detached), "{pieces:?}");
    }

    #[test]
    fn the_sequence_is_found_across_reads() {
        check("", &[b"ab\x10", b"\x11"], b"ab", true);
        check("", &[b"a\x10b"], b"a\x10b", false);
        check("", &[b"\x10\x10\x11"], b"\x10", true);
        check("a,ctrl-b", &[b"xa", b"\x02"], b"x", true);
        assert!(DetachKeys::parse("foo").is_err());
    }
}
