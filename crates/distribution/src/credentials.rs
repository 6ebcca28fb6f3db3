//! Credentials as clients send them, and to which host they belong.

use crate::{endpoint::HUB_HOST, limits::AUTH_HEADER_BYTES_MAX, origin::Origin};
use aws_lc_rs::digest::{Context as Hasher, SHA256};
use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rorqual_error::{Error, Result};
use serde::Deserialize;
use std::fmt;

/// The index of Docker Hub, whose users are those of its registry.
pub(crate) const HUB_INDEX: &str = "index.docker.io";

/// What `X-Registry-Auth` and the body of `POST /auth` carry. Nothing of it is ever printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Wire")]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// A refresh token of the registry's token server, got at login.
    pub identitytoken: String,
    /// A bearer token that is sent as it is.
    pub registrytoken: String,
    /// The registry they are for; empty means the one of the reference.
    pub serveraddress: String,
}

/// The same as clients write it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    #[serde(deserialize_with = "nullable")]
    username: String,
    #[serde(deserialize_with = "nullable")]
    password: String,
    #[serde(deserialize_with = "nullable")]
    identitytoken: String,
    #[serde(deserialize_with = "nullable")]
    registrytoken: String,
    #[serde(deserialize_with = "nullable")]
    serveraddress: String,
    /// `base64(username:password)`, from old configuration files; counts where there is no user name.
    #[serde(deserialize_with = "nullable")]
    auth: String,
}

impl From<Wire> for Credentials {
    fn from(wire: Wire) -> Self {
        let Wire { mut username, mut password, identitytoken, registrytoken, serveraddress, auth } = wire;
        let decoded = GeneralPurpose::new(&STANDARD, LENIENT).decode(auth).unwrap_or_default();
        if username.is_empty()
            && let Some((user, secret)) = std::str::from_utf8(&decoded).ok().and_then(|text| text.split_once(':'))
        {
            (username, password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
        Self { username, password, identitytoken, registrytoken, serveraddress }
    }
}

fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

impl Credentials {
    /// No credentials.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// A user name and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into(), ..Self::default() }
    }

    /// Reads `X-Registry-Auth`: JSON in base64url, with or without padding; empty is anonymous.
    ///
    /// # Errors
    /// `InvalidArgument`, without a word of the header.
    pub fn from_header(header: &str) -> Result<Self> {
        let invalid = || Error::invalid("invalid X-Registry-Auth header: not JSON in base64url");
        let header = header.trim();
        if header.len() > AUTH_HEADER_BYTES_MAX {
            return Err(Error::invalid("invalid X-Registry-Auth header: longer than 64 KiB"));
        }
        // Some clients send the standard alphabet.
        let alphabet = if header.contains(['+', '/']) { &STANDARD } else { &URL_SAFE };
        let json = GeneralPurpose::new(alphabet, LENIENT).decode(header).map_err(|_| invalid())?;
        if json.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(&json).map_err(|_| invalid())
    }

    /// Whether there is nothing to authenticate with.
    pub fn is_anonymous(&self) -> bool {
        self.identitytoken.is_empty() && self.registrytoken.is_empty() && !self.has_password()
    }

    pub(crate) fn has_password(&self) -> bool {
        !self.username.is_empty() && !self.password.is_empty()
    }

    /// These for `origin`; anonymous where they are another server's. `registry` is the one of the reference.
    pub(crate) fn only_for(&self, origin: &Origin, registry: &Origin) -> Self {
        let here = match self.serveraddress.trim() {
            "" => origin.same_place(registry),
            address => {
                let (scheme, host) = match address.split_once("://") {
                    Some((scheme, rest)) => (Some(scheme), rest),
                    None => (None, address),
                };
                let host = host.split('/').next().unwrap_or(host).to_ascii_lowercase();
                let hub = ["docker.io", HUB_INDEX, HUB_HOST].contains(&host.as_str());
                let named = if hub { HUB_HOST } else { host.as_str() };
                // Where the client says https, plain HTTP is another server.
                (origin.is_named(named) || (hub && origin.is_named(HUB_INDEX)))
                    && (scheme != Some("https") || origin.is_https())
            }
        };
        if here { self.clone() } else { Self::default() }
    }

    /// What tells two users apart in a cache; not the secrets themselves.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Hasher::new(&SHA256);
        for field in [&self.username, &self.password, &self.identitytoken, &self.registrytoken] {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field.as_bytes());
        }
        let mut out = [0; 32];
        out.copy_from_slice(hasher.finish().as_ref());
        out
    }

    /// The value of `Authorization` for Basic; `None` without user and password.
    pub(crate) fn basic(&self) -> Option<String> {
        self.has_password().then(|| {
            let pair = format!("{}:{}", self.username, self.password);
            format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair))
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            _ if !self.registrytoken.is_empty() => "registry token",
            _ if !self.identitytoken.is_empty() => "identity token",
            _ if self.has_password() => "password",
            _ => "anonymous",
        };
        write!(f, "Credentials({kind})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};

    #[test]
    fn the_header_is_read_with_and_without_padding() {
        let json = r#"{"username":"u?>","password":"p~~","serveraddress":"localhost:5000","email":null}"#;
        for header in [BASE64_URL_SAFE.encode(json), BASE64_URL_SAFE_NO_PAD.encode(json), BASE64_STANDARD.encode(json)]
        {
            let credentials = Credentials::from_header(&header).unwrap();
            assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("u?>", "p~~"), "{header}");
        }
        for empty in ["", "e30=", "e30"] {
            assert!(Credentials::from_header(empty).unwrap().is_anonymous(), "{empty}");
        }
        let old = BASE64_URL_SAFE.encode(format!(r#"{{"auth":"{}"}}"#, BASE64_STANDARD.encode("a:b:c")));
        assert_eq!(Credentials::from_header(&old).unwrap(), Credentials::password("a", "b:c"));
    }

    #[test]
    fn a_bad_header_is_refused_without_being_shown() {
        for bad in ["%%%", &BASE64_URL_SAFE.encode(r#"{"password":"hunter2""#), &BASE64_URL_SAFE.encode("[1]")] {
            let error = Credentials::from_header(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains(bad), "{error}");
        }
        assert!(Credentials::from_header(&"a".repeat(AUTH_HEADER_BYTES_MAX)).is_err());
        assert!(
            Credentials::from_header(&"a".repeat(AUTH_HEADER_BYTES_MAX + 1)).unwrap_err().to_string().contains("64")
        );
    }

    #[test]
    fn the_size_of_the_header_is_limited() {
        let padded = |json: usize| BASE64_URL_SAFE_NO_PAD.encode("{}".to_owned() + &" ".repeat(json - 2));
        // Three bytes are four characters.
        let max = AUTH_HEADER_BYTES_MAX / 4 * 3;
        for (json, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
            assert_eq!(Credentials::from_header(&padded(json)).is_ok(), taken, "{json}");
        }
    }

    #[test]
    fn nothing_is_printed() {
        let mut credentials = Credentials::password("user1", "hunter2");
        credentials.identitytoken = "secret3".into();
        let text = format!("{credentials:?}");
        assert!(!text.contains("hunter2") && !text.contains("secret3") && !text.contains("user1"), "{text}");
    }

    #[test]
    fn credentials_belong_to_one_scheme_host_and_port() {
        let origin = |text: &str| Origin::of(&text.parse().unwrap()).unwrap();
        let hub = origin("https://registry-1.docker.io");
        let with = |server: &str| Credentials { serveraddress: server.into(), ..Credentials::password("u", "p") };
        for (server, url, kept) in [
            ("", "https://reg.corp:5000", true),
            ("", "https://other.corp:5000", false),
            ("", "https://reg.corp:5001", false),
            ("reg.corp:5000", "https://reg.corp:5000", true),
            ("reg.corp:5000", "http://reg.corp:5000", true),
            ("https://reg.corp:5000", "http://reg.corp:5000", false),
            ("https://reg.corp:5000/v2/", "https://reg.corp:5000", true),
            ("reg.corp", "https://reg.corp:5000", false),
            ("reg.corp", "https://reg.corp", true),
            ("reg.corp.evil", "https://reg.corp:5000", false),
            ("https://index.docker.io/v1/", "https://registry-1.docker.io", true),
            ("https://index.docker.io/v1/", "https://reg.corp:5000", false),
            ("docker.io", "https://registry-1.docker.io", true),
        ] {
            let kept_here = !with(server).only_for(&origin(url), &origin("https://reg.corp:5000")).is_anonymous();
            assert_eq!(kept_here, kept, "{server} {url}");
        }
        assert!(!with("").only_for(&hub, &hub).is_anonymous());
    }
}
