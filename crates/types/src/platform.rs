//! `os/architecture[/variant]` (OCI image specification, image index, `platform`).

use rorqual_error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The platform an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// Go's name of it: `amd64`, `arm64`.
    pub architecture: String,
    /// `v7`, `v8`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        let (architecture, variant) = normalise(std::env::consts::ARCH, "");
        Self { os: "linux".into(), architecture, variant }
    }

    /// Whether an image for `self` runs where `wanted` is asked for; an unset variant on either side matches.
    pub fn satisfies(&self, wanted: &Platform) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (self.variant == wanted.variant || self.variant.is_empty() || wanted.variant.is_empty())
    }
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", v) => ("arm64", v),
        ("armhf", "") => ("arm", "v7"),
        ("armel", "") => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("i386" | "x86", _) => ("386", ""),
        other => other,
    };
    (architecture.into(), variant.into())
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let shown: String = text.chars().take(256).collect();
        let lower = text.to_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let ok = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        if parts.len() > 3 || !parts.iter().all(ok) {
            return Err(Error::invalid(format!("\"{shown}\": unknown operating system or architecture")));
        }
        let (os, architecture, variant) = match parts.as_slice() {
            ["linux" | "windows" | "freebsd" | "darwin"] => (parts[0], std::env::consts::ARCH, ""),
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => return Err(Error::invalid(format!("\"{shown}\": invalid platform"))),
        };
        let (architecture, variant) = normalise(architecture, variant);
        Ok(Self { os: os.into(), architecture, variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_platform_are_one() {
        for text in ["linux/amd64", "x86_64", "linux/x86-64", "amd64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), "linux/amd64", "{text}");
        }
        assert_eq!("linux/arm64/v8".parse::<Platform>().unwrap().to_string(), "linux/arm64");
        for bad in ["", "a/b/c/d", "linux/", "linux/a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
