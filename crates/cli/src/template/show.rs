//! How Go prints a value: `[a b]`, `map[a:1 b:2]`, `<no value>`.

use crate::value::Value;

/// As `{{.}}` prints it.
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        _ => inner(value),
    }
}

fn inner(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Float(value) => float(*value),
        Value::Str(text) => text.clone(),
        Value::List(items) => {
            let words: Vec<String> = items.iter().map(inner).collect();
            format!("[{}]", words.join(" "))
        }
        Value::Map(entries) if is_struct(entries) => {
            let words: Vec<String> = entries.iter().map(|(_, value)| inner(value)).collect();
            format!("{{{}}}", words.join(" "))
        }
        Value::Map(entries) => {
            // Beside lists a null is an empty list, as the closed ports among the published ones.
            let lists = entries.iter().any(|(_, value)| matches!(value, Value::List(_)));
            let text = |value: &Value| match value {
                Value::Null if lists => "[]".to_owned(),
                value => inner(value),
            };
            let mut pairs: Vec<String> = entries.iter().map(|(key, value)| format!("{key}:{}", text(value))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Method(_) => "<func>".to_owned(),
    }
}

/// Whether these fields belong to one of Go's types rather than to a map with keys of the user's: several names, all
/// of them words that begin with a capital letter.
fn is_struct(entries: &[(String, Value)]) -> bool {
    let word = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
    };
    entries.len() > 1 && entries.iter().all(|(name, _)| word(name) && name.chars().any(|c| c.is_ascii_lowercase()))
}

/// `%v` of a float: the shortest text that reads back the same.
fn float(value: f64) -> String {
    let exponent = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    if !(-4..21).contains(&exponent) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}
