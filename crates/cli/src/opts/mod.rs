//! The grammars of flags' values: mounts, ports, networks, devices, files of variables, and so on.

pub mod device;
pub mod filter;
pub mod gpus;
pub mod hosts;
pub mod list_file;
pub mod mount;
pub mod network;
pub mod port;
pub mod ulimit;

use crate::value::Value;

/// An object of these fields.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A list of texts; null where it is empty, as Go sends a slice that was never made.
pub fn texts_or_null(texts: &[String]) -> Value {
    if texts.is_empty() { Value::Null } else { texts_list(texts) }
}

/// A list of texts, empty or not.
pub fn texts_list(texts: &[String]) -> Value {
    Value::List(texts.iter().map(|text| Value::from(text.as_str())).collect())
}

/// `key=value` pairs as an object; a later key replaces an earlier one, keys are sorted as Go writes a map.
pub fn pairs(texts: &[String]) -> Value {
    let mut map = std::collections::BTreeMap::new();
    for text in texts {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        map.insert(key.to_owned(), Value::from(value));
    }
    Value::Map(map.into_iter().collect())
}

/// Takes a line of comma-separated values apart: quotes keep commas, a doubled quote is a quote.
pub fn comma_fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(c) => field.push(c),
                    None => {
                        return Err(format!(
                            "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                            text.len() + 1
                        ));
                    }
                }
            }
            if chars.peek().is_some_and(|c| *c != ',') {
                return Err("parse error on line 1: extraneous or missing \" in quoted-field".to_owned());
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                if c == '"' {
                    return Err("parse error on line 1: bare \" in non-quoted-field".to_owned());
                }
                field.push(c);
            }
        }
        fields.push(field);
        if chars.next().is_none() {
            return Ok(fields);
        }
    }
}

/// The absolute form of a path without resolving links: `.` and `..` are taken out by their text.
pub fn absolute(path: &str) -> String {
    let mut whole = match path.starts_with('/') {
        true => String::new(),
        false => std::env::current_dir().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    whole.push('/');
    whole.push_str(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas() {
        assert_eq!(comma_fields("a=1,\"b=2,3\",c").unwrap(), ["a=1", "b=2,3", "c"]);
        assert_eq!(comma_fields("\"a\"\"b\"").unwrap(), ["a\"b"]);
        assert!(comma_fields("a\"b").is_err());
    }

    #[test]
    fn paths_are_cleaned_by_their_text() {
        assert_eq!(absolute("/a/./b/../c/"), "/a/c");
        assert_eq!(absolute("/.."), "/");
    }
}
