//! The query of a request, and its values as dockerd reads them.

use crate::limits::SHOWN;
use rorqual_error::{Error, Result};
use rorqual_types::Filters;
use serde_json::Value;

/// Names and values in the order sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `a=1&b=%20`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let pairs = text.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((unescape(name, true)?, unescape(value, true)?))
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }

    /// The first value of `name`; empty where it is missing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.given(name).unwrap_or_default()
    }

    /// The first value of `name`, where it was given.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of `name`, where it was given and is not empty.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether `name` is set: dockerd takes anything but these words as true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        !matches!(self.text(name).trim().to_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// As [`Query::flag`], with a value where it is missing.
    pub(crate) fn flag_or(&self, name: &str, missing: bool) -> bool {
        if self.given(name).is_some() { self.flag(name) } else { missing }
    }

    /// The number `name`, in the words of Go's `strconv.Atoi` where it is none (and with the status dockerd gives that).
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        self.filled(name).map(|value| go_number("strconv.Atoi", value)).transpose()
    }

    /// `filters`: a JSON map of maps, or of lists as very old clients send it.
    pub(crate) fn filters(&self) -> Result<Filters> {
        let mut filters = Filters::default();
        let Some(text) = self.filled("filters") else { return Ok(filters) };
        let invalid = || Error::invalid("invalid filter");
        let Ok(Value::Object(names)) = crate::decode::document(text.as_bytes()) else { return Err(invalid()) };
        for (name, values) in names {
            match values {
                Value::Object(set) => {
                    for (value, wanted) in set {
                        match wanted {
                            Value::Bool(_) => filters.add(name.as_str(), value),
                            _ => return Err(invalid()),
                        }
                    }
                }
                Value::Array(list) => {
                    for value in list {
                        match value {
                            Value::String(value) => filters.add(name.as_str(), value),
                            _ => return Err(invalid()),
                        }
                    }
                }
                Value::Null => {}
                _ => return Err(invalid()),
            }
        }
        Ok(filters)
    }
}

/// A number in Go's words where it is none.
pub(crate) fn go_number(function: &str, value: &str) -> Result<i64> {
    value.parse().map_err(|cause: std::num::ParseIntError| {
        let why = match cause.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        let shown: String = value.chars().take(SHOWN).collect();
        Error::internal(format!("{function}: parsing {shown:?}: {why}"))
    })
}

/// Undoes percent-escapes, and `+` where it stands for a space.
pub(crate) fn unescape(text: &str, plus: bool) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let value = match tail {
                    [high, low, after @ ..] => {
                        rest = after;
                        hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low)
                    }
                    _ => None,
                };
                let shown = || String::from_utf8_lossy(&tail[..tail.len().min(2)]).into_owned();
                bytes.push(value.ok_or_else(|| Error::invalid(format!("invalid URL escape \"%{}\"", shown())))?);
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("the URL is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unescaped() {
        let query = Query::parse("a=1&b=x%20y+z&c&names=p&names=q%2Fr&d=%C3%A4").unwrap();
        assert_eq!(query.text("b"), "x y z");
        assert_eq!(query.given("c"), Some(""));
        assert_eq!(query.all("names"), ["p", "q/r"]);
        assert_eq!(query.text("d"), "ä");
        for bad in ["a=%", "a=%z1", "a=%1", "a=%ff"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_are_dockers() {
        let query = Query::parse("a=1&b=0&c=&d=False&e=yes&f=none&g=no&h=true").unwrap();
        let set: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|name| query.flag(name)).into();
        assert_eq!(set, [true, false, false, false, true, false, false, true, false]);
        assert!(query.flag_or("i", true));
        assert!(!query.flag_or("c", true));
    }

    #[test]
    fn a_bad_number_is_told_as_go_tells_it() {
        let query = Query::parse("t=x&n=5&o=99999999999999999999").unwrap();
        assert_eq!(query.number("t").unwrap_err().to_string(), "strconv.Atoi: parsing \"x\": invalid syntax");
        assert_eq!(query.number("n").unwrap(), Some(5));
        assert_eq!(query.number("none").unwrap(), None);
        assert!(query.number("o").unwrap_err().to_string().ends_with("value out of range"));
    }

    #[test]
    fn filters_come_as_maps_or_lists() {
        let filters = |text: &str| {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            Query::parse(&format!("filters={escaped}")).unwrap().filters()
        };
        assert_eq!(filters(r#"{"label":{"a=b":true,"c":true}}"#).unwrap().get("label"), ["a=b", "c"]);
        assert_eq!(filters(r#"{"label":["a"]}"#).unwrap().get("label"), ["a"]);
        assert!(filters("{}").unwrap().is_empty());
        for bad in ["foo", r#"{"label":"a"}"#, r#"{"label":{"a":1}}"#, "[]", r#"{"label":[1]}"#] {
            assert_eq!(filters(bad).unwrap_err().to_string(), "invalid filter", "{bad}");
        }
    }
}
