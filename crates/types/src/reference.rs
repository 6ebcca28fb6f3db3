//! Image references in the form clients type and in the form that names one repository
//! (the reference grammar of the OCI distribution specification and Docker's familiar names).

use crate::Digest;
use rorqual_error::{Error, Result};
use std::{fmt, str::FromStr};

/// `domain/path[:tag][@digest]`, normalised: `busybox` is `docker.io/library/busybox`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `docker.io/library/busybox`.
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

const DEFAULT_DOMAIN: &str = "docker.io";
/// The longest name without tag or digest (the limit of the reference grammar).
const NAME_MAX: usize = 255;

impl Reference {
    /// The normalised name: `docker.io/library/busybox`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag, where one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The registry: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        self.name.split_once('/').map_or(DEFAULT_DOMAIN, |(domain, _)| domain)
    }

    /// The same reference with tag `latest` where it had neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// The same name with this tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(invalid());
        }
        Ok(Self { name: self.name.clone(), tag: Some(tag.to_owned()), digest: None })
    }

    /// The same name with this digest and without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { name: self.name.clone(), tag: None, digest: Some(digest) }
    }

    /// The name as users type it: `busybox`, without tag or digest. It is as short as it can be and still name the same.
    pub fn familiar_name(&self) -> &str {
        let Some(short) = self.name.strip_prefix("docker.io/") else { return &self.name };
        match short.strip_prefix("library/") {
            Some(bare) if !bare.contains('/') && !is_identifier(bare) => bare,
            _ if short.split_once('/').is_some_and(|(first, _)| names_domain(first)) => &self.name,
            _ => short,
        }
    }

    /// As users type it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, name: &str) -> String {
        let mut text = name.to_owned();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

fn invalid() -> Error {
    Error::invalid("invalid reference format")
}

/// Whether the first of several components is a registry.
fn names_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first
}

/// Whether it is the whole ID of an image or container, which is never a name.
fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    bytes
        .split(|b| alphanumeric(*b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > 1024 {
            return Err(invalid());
        }
        if is_identifier(text) {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| invalid())?)),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to the domain's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid());
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path)) if names_domain(first) => (first, path),
            _ => (DEFAULT_DOMAIN, name),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            let library = if domain == DEFAULT_DOMAIN && !path.contains('/') { "library/" } else { "" };
            return Err(Error::invalid(
                "invalid reference format: repository name (".to_owned()
                    + library
                    + &path.chars().take(200).collect::<String>()
                    + ") must be lowercase",
            ));
        }
        if !is_domain(domain) || path.is_empty() || !path.split('/').all(is_path_component) {
            return Err(invalid());
        }
        let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
        let library = if domain == DEFAULT_DOMAIN && !path.contains('/') { "library/" } else { "" };
        let name = format!("{domain}/{library}{path}");
        if name.len() > NAME_MAX {
            return Err(Error::invalid(format!("repository name must not be more than {NAME_MAX} characters")));
        }
        Ok(Self { name, tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Reference {
    /// The normalised form: `docker.io/library/busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised() {
        for (typed, full, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("user/app", "docker.io/user/app", "user/app"),
            ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
            ("localhost:5000/a/b:t", "localhost:5000/a/b:t", "localhost:5000/a/b:t"),
            ("ghcr.io/a/b__c.d", "ghcr.io/a/b__c.d", "ghcr.io/a/b__c.d"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
        ] {
            let reference: Reference = typed.parse().unwrap();
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar), "{typed}");
        }
    }

    #[test]
    fn a_familiar_name_is_never_another_registry() {
        let hex = "0a".repeat(32);
        for (full, familiar) in [
            ("docker.io/example.org/app", "docker.io/example.org/app"),
            ("docker.io/localhost/app", "docker.io/localhost/app"),
            ("docker.io/library/example.org", "example.org"),
            ("docker.io/library/localhost", "localhost"),
            (&format!("docker.io/library/{hex}"), &format!("library/{hex}")),
        ] {
            let reference: Reference = full.parse().unwrap();
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn malformed_references_are_refused() {
        for bad in
            ["", ":tag", "a//b", "-a", "a_", "a:", "a b", "a@sha256:0", "../a", "a/../b", "Aa", &"a".repeat(64 * 40)]
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        assert!("0".repeat(64).parse::<Reference>().is_err());
    }
}
