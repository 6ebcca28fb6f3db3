//! The one way from bytes to a document: size, depth and repeated keys are checked before serde sees them.

use super::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX};
use rorqual_error::{Context, Error, Result};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
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
    // What is ignored is not decoded: nothing else would see that this is no JSON.
    std::str::from_utf8(bytes).map_err(|_| Error::invalid("the document is not UTF-8"))?;
    check_depth(bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let keys = reader.deserialize_map(KeysVisitor).context("invalid JSON").map_err(as_invalid)?;
    reader.end().context("invalid JSON").map_err(as_invalid)?;
    Ok(keys)
}

/// Refuses a manifest or an index with a key that others would take for one that we do not: readers written in Go, nearly
/// all there are, find a field by its name in any case. What to us is an unknown key must not be layers to them.
pub(super) fn check_spelling(bytes: &[u8]) -> Result<()> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Fields::Document.deserialize(&mut reader).context("invalid JSON").map_err(as_invalid)
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

/// The fields of an object, or of each object in a list.
#[derive(Clone, Copy)]
enum Fields {
    Document,
    Descriptor,
    Platform,
    /// Ours to ignore, and everyone's.
    Any,
}

impl Fields {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Document => &[
                "schemaVersion",
                "mediaType",
                "artifactType",
                "config",
                "layers",
                "manifests",
                "subject",
                "annotations",
                "fsLayers",
            ],
            Self::Descriptor => {
                &["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"]
            }
            Self::Platform => &["architecture", "os", "os.version", "os.features", "variant"],
            Self::Any => &[],
        }
    }

    /// Those of what stands under `name`.
    fn below(self, name: &str) -> Self {
        match (self, name) {
            (Self::Document, "config" | "layers" | "manifests" | "subject") => Self::Descriptor,
            (Self::Descriptor, "platform") => Self::Platform,
            _ => Self::Any,
        }
    }
}

/// Whether Go takes `key` for the field `name`, which is ASCII: two characters beyond ASCII fold to letters of it.
fn folds_to(key: &str, name: &str) -> bool {
    let one = |character| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(one).eq(name.chars().map(one))
}

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        match self {
            Self::Any => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let name = self.names().iter().find(|name| folds_to(&key, name));
            if let Some(name) = name.filter(|name| **name != key) {
                return Err(serde::de::Error::custom(format_args!("a key that others take for {name:?}")));
            }
            map.next_value_seed(self.below(&key))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    // What else stands where an object is expected, decoding refuses.

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<(), E> {
        Ok(())
    }
}
