//! The daemon's configuration: flags and `daemon.json`, merged by dockerd's rules, checked, and made into [`Settings`].

pub mod arguments;
pub mod options;
mod settings;
mod value;

pub use settings::{Settings, Tls};

use anyhow::{Context, Result, anyhow, bail};
use arguments::Flags;
use options::{Effect, Opt, by_flag, by_key};
use serde_json::{Map, Value as Json};
use std::{collections::BTreeMap, fs, io};
use value::Value;

/// Where the file is, unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/docker/daemon.json";

/// Options that are set, by flag or, where there is none, by key; each with its option.
#[derive(Clone, Debug, Default)]
pub struct Merged(BTreeMap<&'static str, (&'static Opt, Value)>);

/// Reads the file that `flags` name (or the default one, which may be missing), and merges both.
pub fn load(flags: &Flags) -> Result<Merged> {
    let named = match flags.get("config-file") {
        Some(Value::Text(path)) => Some(path.as_str()),
        _ => None,
    };
    let path = named.unwrap_or(DEFAULT_FILE);
    let failed = || format!("unable to configure the Docker daemon with file {path}");
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => String::new(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(anyhow!("open {path}: no such file or directory")).with_context(failed);
        }
        Err(error) => return Err(error).with_context(failed),
    };
    let merged = file(&text).and_then(|file| merge(flags, file)).with_context(failed)?;
    Settings::check(&merged)
        .context("merged configuration validation from file and command line flags failed")
        .with_context(failed)?;
    Ok(merged)
}

/// The options of the file's text.
fn file(text: &str) -> Result<Merged> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(Merged::default());
    }
    let json: Json = serde_json::from_str(text).map_err(|error| {
        if error.is_eof() {
            anyhow!("invalid JSON: unexpected end of JSON input")
        } else {
            anyhow!("invalid JSON: {error}")
        }
    })?;
    let Json::Object(members) = json else {
        let kind = if json.is_array() { "array" } else { "value" };
        bail!("invalid JSON: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
    };
    let unknown: Vec<_> = members.keys().filter(|key| by_key(key).is_none()).map(String::as_str).collect();
    if !unknown.is_empty() {
        bail!("the following directives don't match any configuration option: {}", unknown.join(", "));
    }
    let mut found = Merged::default();
    for (key, json) in flattened(members)? {
        let Some(option) = by_key(&key) else { continue };
        if !json.is_null() {
            let value = Value::from_file(option, &json).map_err(|why| anyhow!(why))?;
            found.0.insert(name(option), (option, value));
        }
    }
    Ok(found)
}

/// `proxies` holds three options of its own.
fn flattened(mut members: Map<String, Json>) -> Result<Map<String, Json>> {
    if let Some(Json::Object(proxies)) = members.remove("proxies") {
        for (key, value) in proxies {
            if !matches!(key.as_str(), "http-proxy" | "https-proxy" | "no-proxy") {
                bail!("the following directives don't match any configuration option: {key}");
            }
            members.insert(key, value);
        }
    }
    Ok(members)
}

/// Flags and file together; an option in both is an error.
fn merge(flags: &Flags, mut file: Merged) -> Result<Merged> {
    let conflicts: Vec<_> = flags
        .iter()
        .filter_map(|(flag, value)| {
            let (option, other) = file.0.get(flag)?;
            Some(format!("{}: (from flag: {value}, from file: {other})", option.key))
        })
        .collect();
    if !conflicts.is_empty() {
        bail!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            conflicts.join(", ")
        );
    }
    for (flag, value) in flags {
        if let Some(option) = by_flag(flag) {
            file.0.insert(flag, (option, value.clone()));
        }
    }
    Ok(file)
}

/// What an option is called in messages and as our key.
fn name(option: &Opt) -> &'static str {
    if option.flag.is_empty() { option.key } else { option.flag }
}

impl Merged {
    /// The value of an option, by its flag.
    fn get(&self, flag: &str) -> Option<&Value> {
        self.0.get(flag).map(|(_, value)| value)
    }

    fn text(&self, flag: &str) -> Option<&str> {
        match self.get(flag) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The value of a key of a shape of its own.
    fn other(&self, key: &str) -> Option<&Json> {
        match self.get(key) {
            Some(Value::Json(json)) => Some(json),
            _ => None,
        }
    }

    fn flag(&self, flag: &str) -> Option<bool> {
        match self.get(flag) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    fn number(&self, flag: &str) -> Option<i64> {
        match self.get(flag) {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        }
    }

    fn list(&self, flag: &str) -> &[String] {
        match self.get(flag) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    fn map(&self, flag: &str) -> BTreeMap<String, String> {
        match self.get(flag) {
            Some(Value::Map(pairs)) => pairs.clone(),
            _ => BTreeMap::new(),
        }
    }

    fn json(&self, flag: &str) -> Option<&Json> {
        match self.get(flag) {
            Some(Value::Json(json)) => Some(json),
            _ => None,
        }
    }

    /// Options that are set and change nothing, with the reason.
    pub fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.0.values().filter_map(|(option, _)| match option.effect {
            Effect::None(why) => Some((name(option), why)),
            _ => None,
        })
    }

    /// The first option that is set and refused, with the reason.
    fn refused(&self) -> Option<(&'static str, &'static str)> {
        self.0.values().find_map(|(option, value)| match option.effect {
            Effect::Refused(why) if !value.is_nothing() => Some((name(option), why)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
