//! From a path to what it names. A name contains slashes, so paths are read from their end.

use crate::{
    name::{Repository, Tag},
    refusal::{Code, Refusal, Result, shown},
};
use hyper::Uri;
use rorqual_types::Digest;
use serde_json::json;

/// A tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Tag(Tag),
    Digest(Digest),
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/NAME/tags/list`
    Tags(Repository),
    /// `/v2/NAME/manifests/REFERENCE`
    Manifest(Repository, Target),
    /// `/v2/NAME/blobs/DIGEST`
    Blob(Repository, Digest),
    /// `/v2/NAME/blobs/uploads/`
    Uploads(Repository),
    /// `/v2/NAME/blobs/uploads/ID`
    Upload(Repository, String),
    /// `/v2/NAME/referrers/DIGEST`
    Referrers(Repository, Digest),
}

impl Route {
    /// The repository it is about.
    pub(crate) fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
        }
    }

    /// Reads a path; `None` where it is none of ours.
    pub(crate) fn parse(path: &str) -> Result<Option<Self>> {
        let path = unescape(path, false).ok_or_else(|| Refusal::new(Code::NameInvalid, "malformed path"))?;
        let Some(rest) = path.strip_prefix("/v2").filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
            return Ok(None);
        };
        match rest {
            "" | "/" => return Ok(Some(Self::Base)),
            "/_catalog" => return Ok(Some(Self::Catalog)),
            _ => {}
        }
        let rest = rest.get(1..).unwrap_or_default();
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Some(Self::Tags(repository(name)?)));
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
            return Ok(Some(Self::Uploads(repository(name)?)));
        }
        let Some((before, last)) = rest.rsplit_once('/') else { return Ok(None) };
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return Ok(Some(Self::Upload(repository(name)?, last.to_owned())));
        }
        let Some((name, kind)) = before.rsplit_once('/') else { return Ok(None) };
        match kind {
            "manifests" => Ok(Some(Self::Manifest(repository(name)?, target(last)?))),
            "blobs" => Ok(Some(Self::Blob(repository(name)?, digest(last)?))),
            "referrers" => Ok(Some(Self::Referrers(repository(name)?, digest(last)?))),
            _ => Ok(None),
        }
    }
}

fn repository(text: &str) -> Result<Repository> {
    Repository::parse(text)
        .map_err(|error| Refusal::new(Code::NameInvalid, error.to_string()).about(json!({"name": shown(text)})))
}

/// A digest that a client sent.
pub(crate) fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|error: rorqual_error::Error| {
        Refusal::new(Code::DigestInvalid, format!("{error}: this registry takes sha256"))
            .about(json!({"digest": shown(text)}))
    })
}

fn target(text: &str) -> Result<Target> {
    if text.contains(':') {
        return digest(text).map(Target::Digest);
    }
    let tag = Tag::parse(text)
        .map_err(|error| Refusal::new(Code::TagInvalid, error.to_string()).about(json!({"tag": shown(text)})))?;
    Ok(Target::Tag(tag))
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads it; malformed escapes make a parameter absent.
    pub(crate) fn of(uri: &Uri) -> Self {
        let parts = uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
        Self(
            parts
                .filter_map(|part| {
                    let (name, value) = part.split_once('=').unwrap_or((part, ""));
                    Some((unescape(name, true)?, unescape(value, true)?))
                })
                .collect(),
        )
    }

    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Undoes percent-escapes, and `+` where it stands for a space; `None` where they are malformed.
fn unescape(text: &str, plus: bool) -> Option<String> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|value| u8::try_from(value).ok());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next())? << 4 | digit(rest.next())?,
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// `text` so that it can stand as a value in a query.
pub(crate) fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let hex = "0a".repeat(32);
        let named = |name: &str| Repository::parse(name).unwrap();
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        for (path, wanted) in [
            ("/v2/".to_owned(), Some(Route::Base)),
            ("/v2".to_owned(), Some(Route::Base)),
            ("/v2/_catalog".to_owned(), Some(Route::Catalog)),
            ("/v2/a/b/tags/list".to_owned(), Some(Route::Tags(named("a/b")))),
            ("/v2/tags/list/tags/list".to_owned(), Some(Route::Tags(named("tags/list")))),
            (format!("/v2/a/manifests/sha256:{hex}"), Some(Route::Manifest(named("a"), Target::Digest(digest)))),
            (format!("/v2/a/manifests/sha256%3A{hex}"), Some(Route::Manifest(named("a"), Target::Digest(digest)))),
            (format!("/v2/blobs/uploads/blobs/sha256:{hex}"), Some(Route::Blob(named("blobs/uploads"), digest))),
            ("/v2/a/blobs/uploads/".to_owned(), Some(Route::Uploads(named("a")))),
            ("/v2/a/blobs/uploads/x".to_owned(), Some(Route::Upload(named("a"), "x".into()))),
            (format!("/v2/a/referrers/sha256:{hex}"), Some(Route::Referrers(named("a"), digest))),
            ("/v1/".to_owned(), None),
            ("/v2x/".to_owned(), None),
            ("/v2/a/other/b".to_owned(), None),
            ("/".to_owned(), None),
        ] {
            assert_eq!(Route::parse(&path).unwrap(), wanted, "{path}");
        }
        for bad in ["/v2/A/tags/list", "/v2/a/blobs/sha256:0", "/v2/a/blobs/sha512:00", "/v2/a/manifests/.x", "/v2/%zz"]
        {
            assert!(Route::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_survives_a_query() {
        let uri: Uri = format!("/?last={}&n=5", escape("a b/ä+&=%")).parse().unwrap();
        let query = Query::of(&uri);
        assert_eq!((query.get("last"), query.get("n"), query.get("x")), (Some("a b/ä+&=%"), Some("5"), None));
    }
}
