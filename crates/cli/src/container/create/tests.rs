//! Command lines against the bodies and refusals measured from docker 28.2 (`tests/golden/create.txt`).

use super::{super::run, *};
use crate::args::parse;
use std::collections::BTreeMap;

const GOLDEN: &str = include_str!("../../../tests/golden/create.txt");

/// A line's words, quotes taken off as a shell does.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, open) = (Some(c), true),
            (None, ' ') => {
                if open {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (None, c) => {
                word.push(c);
                open = true;
            }
        }
    }
    if open {
        words.push(word);
    }
    words
}

fn body(line: &str) -> Result<Value, String> {
    let words = words(line);
    let command = if words[0] == "run" { &run::COMMAND } else { &COMMAND };
    let matches = parse(command, &words[0], &words[1..]).map_err(|failure| failure.text())?;
    let body = create_body::parse(&matches)?;
    check(&matches)?;
    let platform = matches.text("platform");
    if !platform.is_empty() {
        parse_platform(platform).map_err(|failure| failure.text())?;
    }
    if matches.on("detach") && matches.given("attach") {
        return Err("conflicting options: cannot specify both --attach and --detach".to_owned());
    }
    Ok(body.json())
}

/// Each field by its path; an empty object is a field itself.
fn flat(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flat(value, &path, into);
            }
        }
        value => drop(into.insert(path.to_owned(), serde_json::to_string(value).unwrap())),
    }
}

fn entries() -> impl Iterator<Item = (char, &'static str, Vec<&'static str>)> {
    GOLDEN.split("\n\n").filter_map(|entry| {
        let mut lines = entry.trim_matches('\n').lines().filter(|line| !line.starts_with('#'));
        let head = lines.next()?;
        Some((head.chars().next()?, &head[2..], lines.collect()))
    })
}

#[test]
fn bodies_are_dockers() {
    let mut all = entries().filter(|(kind, ..)| *kind == '$');
    let (_, line, bare) = all.next().unwrap();
    assert_eq!(serde_json::to_string(&body(line).unwrap()).unwrap(), bare[0], "the bare body, in its order");
    let mut base = BTreeMap::new();
    flat(&body(line).unwrap(), "", &mut base);
    for (_, line, want) in all {
        let mut fields = BTreeMap::new();
        let body = body(line).unwrap_or_else(|why| panic!("{line}: {why}"));
        flat(&body, "", &mut fields);
        let changed = fields.iter().filter(|(path, text)| base.get(*path) != Some(*text));
        let mut got: Vec<String> = changed.map(|(path, text)| format!("{path}={text}")).collect();
        let mut want: Vec<String> = want.iter().map(|line| (*line).to_owned()).collect();
        got.sort();
        want.sort();
        assert_eq!(got, want, "{line}");
    }
}

#[test]
fn refusals_are_dockers() {
    for (_, line, want) in entries().filter(|(kind, ..)| *kind == '!') {
        let why = body(line).err().unwrap_or_default();
        assert_eq!(why, want[0], "{line}");
    }
}
