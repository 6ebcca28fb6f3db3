//! JSON as the daemon sent it: objects keep their order, numbers their text. Templates read it, and `inspect` prints it.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};
use std::{fmt, sync::Arc};

/// A function among an object's fields, such as `.Label "x"` of `ps`.
pub type Method = Arc<dyn Fn(&[Value]) -> Result<Value, String> + Send + Sync>;

/// Any value.
#[derive(Clone, Default)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without a fraction.
    Int(i64),
    /// A number beyond `i64`.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    List(Vec<Value>),
    /// An object, in the order it came.
    Map(Vec<(String, Value)>),
    /// A function.
    Method(Method),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json())
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl Value {
    /// Reads JSON.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// The field of that name, letter by letter.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The field of that name, or one that differs in case only: Go's `ID` is JSON's `Id`.
    pub fn get_any_case(&self, name: &str) -> Option<&Self> {
        self.get(name).or_else(|| match self {
            Self::Map(entries) => {
                entries.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            }
            _ => None,
        })
    }

    /// The value at a path of field names; null where there is none.
    pub fn at(&self, path: &[&str]) -> &Self {
        static NULL: Value = Value::Null;
        path.iter().try_fold(self, |value, name| value.get(name)).unwrap_or(&NULL)
    }

    /// Text, where it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a field; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Self::as_str).unwrap_or_default()
    }

    /// The number of a field; 0 where there is none.
    pub fn int(&self, name: &str) -> i64 {
        self.get(name).and_then(Self::as_int).unwrap_or(0)
    }

    /// A number, where it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Uint(value) => i64::try_from(*value).ok(),
            Self::Float(value) => Some(*value as i64),
            _ => None,
        }
    }

    /// Whether a field is true.
    pub fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Self::Bool(true)))
    }

    /// The elements of a list; none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The fields of an object; none of anything else.
    pub fn entries(&self) -> &[(String, Self)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// As JSON in one line, with the escapes of Go's encoder.
    pub fn json(&self) -> String {
        escape_html(&serde_json::to_string(self).unwrap_or_default())
    }

    /// As JSON with this indentation for each level, as `inspect` prints it.
    pub fn pretty(&self, indent: &str) -> String {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        match self.serialize(&mut serializer) {
            Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        }
    }
}

/// Go's encoder escapes what would end a script element in HTML.
pub fn escape_html(json: &str) -> String {
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json.to_owned();
    }
    json.chars().fold(String::with_capacity(json.len() + 16), |mut out, c| {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
        out
    })
}

/// Lays JSON out over lines without changing any token: escapes, numbers and order stay as they came.
pub fn indent_json(raw: &[u8], indent: &str) -> String {
    let mut out = Vec::with_capacity(raw.len() * 2);
    let (mut depth, mut in_text, mut escaped, mut fresh) = (0usize, false, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(indent.as_bytes().repeat(depth));
    };
    for &byte in raw {
        if in_text {
            out.push(byte);
            (in_text, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        if matches!(byte, b'}' | b']') {
            depth = depth.saturating_sub(1);
            if !fresh {
                line(&mut out, depth);
            }
            fresh = false;
            out.push(byte);
            continue;
        }
        if fresh {
            line(&mut out, depth);
            fresh = false;
        }
        out.push(byte);
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                fresh = true;
            }
            b',' => line(&mut out, depth),
            b':' => out.push(b' '),
            _ => {}
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::Method(_) => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Uint(value) => serializer.serialize_u64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Str(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in entries.iter().filter(|(_, value)| !matches!(value, Self::Method(_))) {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Uint(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_numbers_survive() {
        let text = r#"{"b":1,"a":[18446744073709551615,-2,1.5,null,true],"c":"x<y"}"#;
        let value = Value::parse(text.as_bytes()).unwrap();
        assert_eq!(value.json(), text.replace('<', "\\u003c"));
        assert_eq!(value.pretty(" "), indent_json(text.as_bytes(), " "));
    }

    #[test]
    fn indenting_changes_no_token() {
        let raw = br#"[{"a":{},"b":[],"c":"x\"{,}\u003c\\","d":[1,1.50]}]"#;
        let want = "[\n  {\n    \"a\": {},\n    \"b\": [],\n    \"c\": \"x\\\"{,}\\u003c\\\\\",\n    \"d\": [\n      1,\n      1.50\n    ]\n  }\n]";
        assert_eq!(indent_json(raw, "  "), want);
    }
}
