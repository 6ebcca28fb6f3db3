//! Names of repositories and tags, by the grammar of the distribution specification.

use rorqual_error::{Error, Result};
use std::fmt;

/// The longest name: with a registry's host it must stay below 255, which clients check.
const NAME_MAX: usize = 255;
/// The longest tag.
const TAG_MAX: usize = 128;

/// The name of a repository: `library/busybox`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Repository {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > NAME_MAX || !text.split('/').all(is_component) {
            return Err(Error::invalid("invalid repository name"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// Reads a tag.
    pub fn parse(text: &str) -> Result<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = text.len() <= TAG_MAX
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
        if good { Ok(Self(text.to_owned())) } else { Err(Error::invalid("invalid tag name")) }
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(|byte| alphanumeric(*byte)))
        && bytes
            .split(|byte| alphanumeric(*byte))
            .filter(|joint| !joint.is_empty())
            .all(|joint| matches!(joint, b"." | b"_" | b"__") || joint.iter().all(|byte| *byte == b'-'))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "a/b", "library/busybox", "a.b_c__d---e/0", &"a".repeat(NAME_MAX)] {
            assert!(Repository::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a_",
            "_a",
            "a..b",
            "a___b",
            "a/../b",
            "a b",
            "ä",
            &"a".repeat(NAME_MAX + 1),
        ] {
            assert!(Repository::parse(bad).is_err(), "{bad}");
        }
        for good in ["latest", "_x", "1.0-rc", "A", &"t".repeat(TAG_MAX)] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", "ä", &"t".repeat(TAG_MAX + 1)] {
            assert!(Tag::parse(bad).is_err(), "{bad}");
        }
    }
}
