//! Values of options, from either side, and how dockerd prints them.

use super::options::{Kind, Opt};
use rorqual_types::parse_bytes;
use serde_json::Value as Json;
use std::{collections::BTreeMap, fmt};

/// The value of one option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`] and [`Kind::Bytes`].
    Int(i64),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<String>),
    /// Of [`Kind::Map`].
    Map(BTreeMap<String, String>),
    /// Of the other kinds: what the file holds, or what the flags would write there.
    Json(Json),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::List(items) => write!(f, "[{}]", items.join(" ")),
            Self::Map(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                write!(f, "map[{}]", pairs.join(" "))
            }
            Self::Json(Json::Object(pairs)) => {
                let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                write!(f, "map[{}]", pairs.join(" "))
            }
            Self::Json(value) => write!(f, "{value}"),
        }
    }
}

impl Value {
    /// Whether it says nothing: off, empty or zero.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Text(value) => value.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Map(pairs) => pairs.is_empty(),
            Self::Json(value) => value.is_null(),
        }
    }

    /// Adds what a flag says to what the same flag said before; the error is the reason in dockerd's words.
    pub fn add(before: Option<Self>, option: &Opt, text: &str) -> Result<Self, String> {
        match option.kind {
            Kind::Bool => boolean(text).map(Self::Bool),
            Kind::Int => {
                text.parse().map(Self::Int).map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }
            Kind::Bytes => parse_bytes(text).ok().map(Self::Int).ok_or_else(|| format!("invalid size: '{text}'")),
            Kind::Text => Ok(Self::Text(text.to_owned())),
            Kind::List => {
                check_item(option.flag, text)?;
                let mut items = if let Some(Self::List(items)) = before { items } else { Vec::new() };
                items.push(text.to_owned());
                Ok(Self::List(items))
            }
            Kind::Map => {
                let mut pairs = if let Some(Self::Map(pairs)) = before { pairs } else { BTreeMap::new() };
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                pairs.insert(name.to_owned(), value.to_owned());
                Ok(Self::Map(pairs))
            }
            Kind::BoolMap | Kind::Runtimes | Kind::Ulimits => {
                let mut members =
                    if let Some(Self::Json(Json::Object(members))) = before { members } else { Default::default() };
                let (name, value) = pair(option, text)?;
                members.insert(name, value);
                Ok(Self::Json(Json::Object(members)))
            }
            Kind::Other => {
                let mut items = if let Some(Self::Json(Json::Array(items))) = before { items } else { Vec::new() };
                items.push(Json::String(text.to_owned()));
                Ok(Self::Json(Json::Array(items)))
            }
        }
    }

    /// Reads the value of a key in the file; the error is in the words of Go's decoder.
    pub fn from_file(option: &Opt, json: &Json) -> Result<Self, String> {
        let wrong = |wanted: &str, place: &str, json: &Json| {
            let kind = match json {
                Json::Null => "null",
                Json::Bool(_) => "bool",
                Json::Number(_) => "number",
                Json::String(_) => "string",
                Json::Array(_) => "array",
                Json::Object(_) => "object",
            };
            let key = option.key;
            Err(format!(
                "invalid JSON: json: cannot unmarshal {kind} into Go struct field Config.{key}{place} of type {wanted}"
            ))
        };
        match (option.kind, json) {
            (Kind::Bool, Json::Bool(value)) => Ok(Self::Bool(*value)),
            (Kind::Bool, other) => wrong("bool", "", other),
            (Kind::Int | Kind::Bytes, Json::Number(number)) if number.is_i64() => {
                Ok(Self::Int(number.as_i64().unwrap_or_default()))
            }
            (Kind::Bytes, Json::String(text)) => Self::add(None, option, text),
            (Kind::Int | Kind::Bytes, other) => wrong("int", "", other),
            (Kind::Text, Json::String(text)) => Ok(Self::Text(text.clone())),
            (Kind::Text, other) => wrong("string", "", other),
            (Kind::List, Json::Array(items)) => {
                let mut list = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let Json::String(text) = item else { return wrong("string", &format!(".{index}"), item) };
                    list.push(text.clone());
                }
                Ok(Self::List(list))
            }
            (Kind::List, other) => wrong("[]string", "", other),
            (Kind::Map, Json::Object(members)) => {
                let mut pairs = BTreeMap::new();
                for (name, value) in members {
                    let Json::String(text) = value else { return wrong("string", &format!(".{name}"), value) };
                    pairs.insert(name.clone(), text.clone());
                }
                Ok(Self::Map(pairs))
            }
            (Kind::Map, other) => wrong("map[string]string", "", other),
            (Kind::BoolMap, Json::Object(members)) => match members.iter().find(|(_, value)| !value.is_boolean()) {
                Some((name, value)) => wrong("bool", &format!(".{name}"), value),
                None => Ok(Self::Json(json.clone())),
            },
            (Kind::BoolMap, other) => wrong("map[string]bool", "", other),
            (Kind::Runtimes | Kind::Ulimits, Json::Object(members)) => {
                match members.iter().find(|(_, value)| !value.is_object()) {
                    Some((name, value)) => wrong("object", &format!(".{name}"), value),
                    None => Ok(Self::Json(json.clone())),
                }
            }
            (Kind::Runtimes | Kind::Ulimits, other) => wrong("map[string]object", "", other),
            (Kind::Other, other) => Ok(Self::Json(other.clone())),
        }
    }
}

/// The words Go takes for a truth value.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// What dockerd checks of a list's item while it reads the flags.
fn check_item(flag: &str, text: &str) -> Result<(), String> {
    match flag {
        "label" if !is_label(text) => Err(format!("bad attribute format: {text}")),
        "host" => crate::listen::Address::parse(text).map(drop).map_err(|error| error.to_string()),
        "dns" | "host-gateway-ip" if text.parse::<std::net::IpAddr>().is_err() => {
            Err(format!("{text} is not an ip address"))
        }
        _ => Ok(()),
    }
}

/// Whether a label is `key=value`.
pub(crate) fn is_label(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
}

/// The name and the file's form of `name=value`.
fn pair(option: &Opt, text: &str) -> Result<(String, Json), String> {
    match option.kind {
        Kind::BoolMap => {
            let (name, value) = text.split_once('=').unwrap_or((text, "true"));
            Ok((name.to_owned(), Json::Bool(boolean(value)?)))
        }
        Kind::Runtimes => match text.split_once('=') {
            Some((name, path)) if !name.trim().is_empty() && !path.trim().is_empty() => {
                Ok((name.trim().to_owned(), serde_json::json!({ "path": path.trim() })))
            }
            _ => Err(format!("invalid runtime argument: {text}")),
        },
        _ => {
            let invalid = || format!("invalid ulimit argument: {text}");
            let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
            let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
            let number = |text: &str| text.parse::<i64>().map_err(|_| invalid());
            Ok((name.to_owned(), serde_json::json!({ "Name": name, "Soft": number(soft)?, "Hard": number(hard)? })))
        }
    }
}
