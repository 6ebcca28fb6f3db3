//! The functions: those of Go's templates and those that docker adds.

use super::{eval::truth, printf::printf, show::show};
use crate::value::Value;
use std::cmp::Ordering;

const NAMES: [&str; 27] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf", "println",
    "html", "js", "urlquery", "json", "join", "split", "lower", "upper", "title", "pad", "truncate", "table",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let text = |index: usize| arguments.get(index).map(show).unwrap_or_default();
    let wanted = |count: usize| match arguments.len() == count {
        true => Ok(()),
        false => Err(format!("wrong number of args for {name}: want {count} got {}", arguments.len())),
    };
    match name {
        "not" => wanted(1).map(|()| Value::Bool(!truth(&arguments[0]))),
        "eq" => equal(arguments).map(Value::Bool),
        "ne" => {
            wanted(2)?;
            equal(arguments).map(|same| Value::Bool(!same))
        }
        "lt" | "le" | "gt" | "ge" => {
            wanted(2)?;
            let order = compare(&arguments[0], &arguments[1])?;
            Ok(Value::Bool(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }))
        }
        "len" => {
            wanted(1)?;
            length(&arguments[0]).map(|n| Value::Int(n as i64))
        }
        "index" => index(arguments),
        "slice" => slice(arguments),
        "print" => Ok(Value::Str(print(arguments))),
        "println" => {
            let words: Vec<String> = arguments.iter().map(show).collect();
            Ok(Value::Str(words.join(" ") + "\n"))
        }
        "printf" => {
            let format = arguments.first().and_then(Value::as_str).ok_or("wrong type for the format: want string")?;
            Ok(Value::Str(printf(format, &arguments[1..])))
        }
        "html" => Ok(Value::Str(html(&print(arguments)))),
        "js" => {
            Ok(Value::Str(serde_json::to_string(&print(arguments)).unwrap_or_default().trim_matches('"').to_owned()))
        }
        "urlquery" => Ok(Value::Str(urlquery(&print(arguments)))),
        "json" => wanted(1).map(|()| Value::Str(arguments[0].json())),
        "join" => {
            wanted(2)?;
            let words: Vec<String> = arguments[0].items().iter().map(show).collect();
            Ok(Value::Str(words.join(&text(1))))
        }
        "split" => {
            wanted(2)?;
            let (whole, separator) = (text(0), text(1));
            let parts: Vec<Value> = match separator.is_empty() {
                true => whole.chars().map(|c| Value::Str(c.to_string())).collect(),
                false => whole.split(&separator).map(Value::from).collect(),
            };
            Ok(Value::List(parts))
        }
        "lower" => wanted(1).map(|()| Value::Str(text(0).to_lowercase())),
        "upper" => wanted(1).map(|()| Value::Str(text(0).to_uppercase())),
        "title" => wanted(1).map(|()| Value::Str(title(&text(0)))),
        "pad" => {
            wanted(3)?;
            let spaces = |index: usize| " ".repeat(arguments[index].as_int().unwrap_or(0).clamp(0, 4096) as usize);
            let whole = text(0);
            Ok(Value::Str(if whole.is_empty() { whole } else { spaces(1) + &whole + &spaces(2) }))
        }
        "truncate" => {
            wanted(2)?;
            let most = arguments[1].as_int().unwrap_or(0).max(0) as usize;
            Ok(Value::Str(text(0).chars().take(most).collect()))
        }
        "table" => Ok(Value::Str(print(arguments))),
        _ => Err(format!("function {name:?} not defined")),
    }
}

/// Go's `Print`: a space between two values neither of which is text.
fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut before: Option<&Value> = None;
    for value in arguments {
        if let Some(before) = before
            && before.as_str().is_none()
            && value.as_str().is_none()
        {
            out.push(' ');
        }
        out.push_str(&show(value));
        before = Some(value);
    }
    out
}

fn equal(arguments: &[Value]) -> Result<bool, String> {
    let (first, rest) = arguments.split_first().ok_or("missing argument for comparison")?;
    if rest.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in rest {
        let same = match (first, other) {
            (Value::Null, Value::Null) => true,
            (Value::Null, _) | (_, Value::Null) => false,
            (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
                return Err("non-comparable type".to_owned());
            }
            (a, b) => compare(a, b)? == Ordering::Equal,
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    let number = |value: &Value| match value {
        Value::Int(v) => Some(*v as f64),
        Value::Uint(v) => Some(*v as f64),
        Value::Float(v) => Some(*v),
        _ => None,
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => Ok(a.total_cmp(&b)),
            _ => Err("incompatible types for comparison".to_owned()),
        },
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Str(text) => Ok(text.len()),
        Value::List(items) => Ok(items.len()),
        Value::Map(entries) => Ok(entries.len()),
        Value::Null => Err("len of nil pointer".to_owned()),
        other => Err(format!("len of type {}", show(other))),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let (first, keys) = arguments.split_first().ok_or("wrong number of args for index: want at least 1 got 0")?;
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Map(entries), Value::Str(name)) => {
                entries.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
            }
            (Value::List(items), Value::Int(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| items.get(at));
                found.cloned().ok_or_else(|| format!("reflect: slice index out of range: {at}"))?
            }
            (Value::Str(text), Value::Int(at)) => {
                let byte = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at).copied());
                Value::Int(i64::from(byte.ok_or_else(|| format!("index out of range: {at}"))?))
            }
            (Value::Null, _) => return Err("index of untyped nil".to_owned()),
            (other, key) => return Err(format!("can't index item of type {} with {}", show(other), show(key))),
        };
    }
    Ok(value)
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let (first, bounds) = arguments.split_first().ok_or("wrong number of args for slice: want at least 1 got 0")?;
    let length = length(first)?;
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(value) => value
            .as_int()
            .and_then(|bound| usize::try_from(bound).ok())
            .filter(|bound| *bound <= length)
            .ok_or_else(|| format!("index out of range: {}", show(value))),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match first {
        Value::Str(text) => {
            text.get(from..to).map(Value::from).ok_or_else(|| "slice cuts a character in two".to_owned())
        }
        Value::List(items) => Ok(Value::List(items[from..to].to_vec())),
        other => Err(format!("can't slice item of type {}", show(other))),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let upper = start && c.is_alphabetic();
            start = !c.is_alphanumeric() && c != '_' && c != '\'';
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;")
}

fn urlquery(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b' ' => out.push('+'),
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}
