//! The one way from bytes to a document: size, depth and repeated keys are checked before serde sees them.

use super::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX};
use rorqual_error::{Context, Error, Result};
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The keys of a document's outermost object.
pub(super) struct Keys {
    names: Vec<String>,
    media_type: Option<String>,
}

impl Keys {
    /// Whether the key is there with a value that is not null, under any spelling that Go would take for it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|key| key.eq_ignore_ascii_case(name))
    }

    /// The document's own word on its type.
    pub(super) fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }
}

/// Checks size and depth, and lists the keys of the outermost object.
pub(super) fn top_level(bytes: &[u8]) -> Result<Keys> {
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Error::invalid("the document is larger than 4 MiB"));
    }
    check_depth(bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let keys = reader.deserialize_map(KeysVisitor).context("invalid JSON").map_err(as_invalid)?;
    reader.end().context("invalid JSON").map_err(as_invalid)?;
    Ok(keys)
}

/// Decodes a document that [`top_level`] has passed.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).context("invalid JSON").map_err(as_invalid)
}

fn as_invalid(error: Error) -> Error {
    error.with_kind(rorqual_error::Kind::InvalidArgument)
}

/// Counts brackets outside strings; what is not JSON is left to the parser to refuse.
fn check_depth(bytes: &[u8]) -> Result<()> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DOCUMENT_DEPTH_MAX {
            return Err(Error::invalid("the document is nested deeper than 16 levels"));
        }
    }
    Ok(())
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Keys, A::Error> {
        let mut keys = Keys { names: Vec::new(), media_type: None };
        let mut seen = std::collections::BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.to_ascii_lowercase()) {
                return Err(serde::de::Error::custom("a key stands twice in the document"));
            }
            if name == "mediaType" {
                keys.media_type = map.next_value::<Option<String>>()?.filter(|value| !value.is_empty());
                continue;
            }
            if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                keys.names.push(name);
            }
        }
        Ok(keys)
    }
}
