//! `--ulimit nofile=1024:2048`.

use super::object;
use crate::{args::parse_int, value::Value};
use std::collections::BTreeMap;

const NAMES: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The check of the flag.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

fn parse(text: &str) -> Result<(String, i64, i64), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = match value.split_once(':') {
        None => {
            let limit = parse_int(value)?;
            (limit, limit)
        }
        Some((soft, hard)) => {
            let hard = if hard.contains(':') {
                return Err(format!(
                    "too many limit value arguments - {value}, can only have up to two, `soft[:hard]`"
                ));
            } else {
                hard
            };
            (parse_int(soft)?, parse_int(hard)?)
        }
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok((name.to_owned(), soft, hard))
}

/// All limits of the body, by name; a later one of the same name replaces an earlier one.
pub fn list(texts: &[String]) -> Result<Value, String> {
    let mut all = BTreeMap::new();
    for text in texts {
        let (name, soft, hard) = parse(text)?;
        all.insert(name, (soft, hard));
    }
    let limit = |(name, (soft, hard)): (String, (i64, i64))| {
        object([("Name", name.into()), ("Hard", Value::Int(hard)), ("Soft", Value::Int(soft))])
    };
    Ok(Value::List(all.into_iter().map(limit).collect()))
}
