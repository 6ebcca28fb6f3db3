//! Detach keys: their syntax (`ctrl-p,ctrl-q`, `ctrl-@`, `a`) and a scanner over a session's input.

use rorqual_error::{Error, Result};

/// What ends a session where nothing else is asked for: ctrl-p, ctrl-q.
pub const DEFAULT_DETACH_KEYS: [u8; 2] = [16, 17];

/// Reads a comma-separated list of keys: a single character, or `ctrl-` and one of `a-z @ [ \ ] ^ _`.
pub fn parse_detach_keys(text: &str) -> Result<Vec<u8>> {
    let key = |name: &str| -> Option<u8> {
        if let [byte] = name.as_bytes() {
            return Some(*byte);
        }
        match name.strip_prefix("ctrl-")?.as_bytes() {
            [b'@'] => Some(0),
            [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            [sign @ b'['..=b'_'] => Some(sign - b'[' + 27),
            _ => None,
        }
    };
    if text.is_empty() {
        return Ok(DEFAULT_DETACH_KEYS.to_vec());
    }
    text.split(',')
        .map(|name| {
            let shown: String = name.chars().take(64).collect();
            key(name).ok_or_else(|| Error::invalid(format!("Unknown character: '{shown}'")))
        })
        .collect()
}

/// Looks for the keys in a stream of input, holding back what may be their beginning.
#[derive(Clone, Debug)]
pub struct DetachScanner {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachScanner {
    /// A scanner for `keys`; none never detaches.
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Appends to `pass` what of `input` goes on to the container. Returns whether the keys were complete; what follows
    /// them is dropped.
    pub fn scan(&mut self, input: &[u8], pass: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            pass.extend_from_slice(input);
            return false;
        }
        for byte in input {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return true;
                }
                continue;
            }
            pass.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(*byte == self.keys[0]);
            if self.matched == 0 {
                pass.push(*byte);
            } else if self.keys.len() == 1 {
                return true;
            }
        }
        false
    }

    /// What is held back when the input ends.
    pub fn held(&self) -> &[u8] {
        &self.keys[..self.matched]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str, input: &[&[u8]], passed: &[u8], detached: bool) {
        let mut scanner = DetachScanner::new(parse_detach_keys(keys).unwrap());
        let mut pass = Vec::new();
        let ended = input.iter().any(|chunk| scanner.scan(chunk, &mut pass));
        assert_eq!((pass.as_slice(), ended), (passed, detached), "{keys} {input:?}");
    }

    #[test]
    fn keys_are_found_across_chunks_and_false_starts_are_passed_on() {
        check("", &[b"ls\r\x10\x11"], b"ls\r", true);
        check("", &[b"a\x10", b"\x11b"], b"a", true);
        check("", &[b"\x10\x10\x11"], b"\x10", true);
        check("", &[b"\x10x\x11"], b"\x10x\x11", false);
        check("ctrl-@", &[b"ab\0c"], b"ab", true);
        check("a,b,c", &[b"ababc"], b"ab", true);
        check("q", &[b"xyz"], b"xyz", false);
    }

    #[test]
    fn key_names_follow_dockers_syntax() {
        assert_eq!(parse_detach_keys("ctrl-a,ctrl-[,ctrl-_,x").unwrap(), [1, 27, 31, b'x']);
        for bad in ["ctrl-A", "ctrl-", "ab", "ctrl-p,", ","] {
            assert!(parse_detach_keys(bad).is_err(), "{bad}");
        }
    }
}
