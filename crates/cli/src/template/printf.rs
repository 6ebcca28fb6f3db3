//! Go's `Printf` for the verbs that templates use.

use super::show::show;
use crate::{human::general, value::Value};

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Widths beyond this are cut: a template must not fill the memory.
const WIDTH_MAX: usize = 4096;

pub(super) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = arguments.iter();
    let mut used = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '+' | '0' | ' ' | '#')) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                ' ' => spec.space = true,
                _ => spec.sharp = true,
            }
        }
        spec.width = number(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => {
                used += 1;
                match next.next() {
                    None => out.push_str(&format!("%!{verb}(MISSING)")),
                    Some(value) => out.push_str(&one(verb, &spec, value)),
                }
            }
        }
    }
    if used < arguments.len() {
        let extra: Vec<String> =
            arguments[used..].iter().map(|value| format!("{}={}", type_name(value), show(value))).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// The digits that come next, if any.
fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut value: Option<usize> = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        value = Some((value.unwrap_or(0) * 10 + digit).min(WIDTH_MAX));
    }
    value
}

fn one(verb: char, spec: &Spec, value: &Value) -> String {
    let text = match (verb, value) {
        ('v' | 's', Value::Str(text)) => cut(text, spec.precision),
        ('v', Value::Int(_) | Value::Uint(_)) | ('d', Value::Int(_) | Value::Uint(_)) => integer(spec, &show(value)),
        ('v', other) => show(other),
        ('s', Value::List(_) | Value::Map(_)) => show(value),
        ('q', Value::Str(text)) => quote(&cut(text, spec.precision)),
        ('q', Value::List(items)) => {
            let words: Vec<String> = items.iter().map(|item| quote(&show(item))).collect();
            format!("[{}]", words.join(" "))
        }
        ('t', Value::Bool(_)) => show(value),
        ('x', Value::Int(n)) => integer(spec, &format!("{}{n:x}", if spec.sharp { "0x" } else { "" })),
        ('X', Value::Int(n)) => integer(spec, &format!("{}{n:X}", if spec.sharp { "0X" } else { "" })),
        ('o', Value::Int(n)) => integer(spec, &format!("{n:o}")),
        ('b', Value::Int(n)) => integer(spec, &format!("{n:b}")),
        ('c', Value::Int(n)) => u32::try_from(*n).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string(),
        ('x', Value::Str(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('f' | 'F', Value::Float(n)) => integer(spec, &format!("{n:.*}", spec.precision.unwrap_or(6))),
        ('g', Value::Float(n)) => match spec.precision {
            Some(precision) => general(*n, precision),
            None => show(value),
        },
        ('T', value) => type_name(value).to_owned(),
        (verb, value) => format!("%!{verb}({}={})", type_name(value), show(value)),
    };
    pad(spec, text)
}

fn cut(text: &str, precision: Option<usize>) -> String {
    match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

fn integer(spec: &Spec, digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None if spec.plus => ("+", digits),
        None if spec.space => (" ", digits),
        None => ("", digits),
    };
    let zeros = match spec.width {
        Some(width) if spec.zero && !spec.minus => width.saturating_sub(sign.len() + digits.len()),
        _ => 0,
    };
    format!("{sign}{}{digits}", "0".repeat(zeros))
}

fn pad(spec: &Spec, text: String) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    match spec.minus {
        true => text + &" ".repeat(missing),
        false => " ".repeat(missing) + &text,
    }
}

fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Uint(_) => "uint64",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        Value::Method(_) => "func",
    }
}
