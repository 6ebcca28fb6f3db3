//! Identifiers and names of the node's objects.

use rorqual_error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, fmt, str::FromStr};

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);
        text_type!($name);
        impl $name {
            /// The id made of 32 random bytes.
            pub fn from_random(bytes: [u8; 32]) -> Self {
                Self(crate::Digest::from_bytes(bytes).hex())
            }

            /// The first 12 digits, as clients print it.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::invalid(concat!("invalid ", $what, " id")))
                }
            }
        }
    };
}

hex_id!(
    /// A container's id: 64 lower-case hexadecimal digits.
    ContainerId,
    "container"
);
hex_id!(
    /// An exec's id: 64 lower-case hexadecimal digits.
    ExecId,
    "exec"
);

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, the rule dockerd has for names of containers and volumes.
fn is_restricted_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.len() > 1
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Bytes of a name: what a file system takes as one.
const NAME_MAX: usize = 255;

/// A container's name, without the leading slash clients may send.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);
text_type!(ContainerName);

impl FromStr for ContainerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.strip_prefix('/').unwrap_or(text);
        if !is_restricted_name(name) || name.len() > NAME_MAX {
            let shown: String = text.chars().take(256).collect();
            return Err(Error::invalid(format!(
                "Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        Ok(Self(name.to_owned()))
    }
}

/// A volume's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);
text_type!(VolumeName);

impl VolumeName {
    /// The name of an anonymous volume, made of 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(crate::Digest::from_bytes(bytes).hex())
    }
}

impl FromStr for VolumeName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 1 {
            return Err(Error::invalid(
                "volume name is too short, names should be at least two alphanumeric characters",
            ));
        }
        if !is_restricted_name(text) || text.len() > NAME_MAX {
            let shown: String = text.chars().take(256).collect();
            return Err(Error::invalid(format!(
                "\"{shown}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
                 allowed. If you intended to pass a host directory, use absolute path"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["web", "/web", "a1", "A_b.c-d"] {
            assert!(good.parse::<ContainerName>().is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "-a", "a b", "a/b", "..", "ä1"] {
            assert!(bad.parse::<ContainerName>().is_err(), "{bad}");
        }
        assert!("a".repeat(NAME_MAX).parse::<ContainerName>().is_ok());
        assert!("a".repeat(NAME_MAX + 1).parse::<ContainerName>().is_err());
        assert_eq!("/web".parse::<ContainerName>().unwrap().as_str(), "web");
    }

    #[test]
    fn an_id_is_64_hex_digits() {
        let id = ContainerId::from_random([0xab; 32]);
        assert_eq!(id.short(), "abababababab");
        assert!("abc".parse::<ContainerId>().is_err());
    }
}
