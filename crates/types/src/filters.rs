//! The `filters` query parameter: a JSON map of maps, or of lists for API versions before 1.22.

use rorqual_error::{Error, Result};
use std::collections::BTreeMap;

/// Filter names and their values; parsed from JSON by `api`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Adds one value.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().push(value.into());
    }

    /// The values of `name`; empty where it was not given.
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether `name` was given.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether no filter was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses a name outside `accepted`, as dockerd does.
    pub fn validate(&self, accepted: &[&str]) -> Result<()> {
        match self.0.keys().find(|name| !accepted.contains(&name.as_str())) {
            Some(name) => {
                let shown: String = name.chars().take(256).collect();
                Err(Error::invalid(format!("invalid filter '{shown}'")))
            }
            None => Ok(()),
        }
    }

    /// Whether `value` is one of the values of `name`, or `name` was not given.
    pub fn exact(&self, name: &str, value: &str) -> bool {
        !self.contains(name) || self.get(name).iter().any(|v| v == value)
    }

    /// The one boolean value of `name`: 1, true, 0 or false.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        let values = self.get(name);
        if values.is_empty() {
            return Ok(None);
        }
        let truth = |v: &String| match v.as_str() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        };
        match values {
            [one] => truth(one).map(Some),
            _ => None,
        }
        .ok_or_else(|| Error::invalid(format!("invalid filter '{name}=[{}]'", values.join(" "))))
    }

    /// Whether every `label` (or `label!`) filter holds for `labels`: `key` or `key=value`.
    pub fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |filter: &String| match filter.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
            None => labels.contains_key(filter.as_str()),
        };
        self.get("label").iter().all(has) && !self.get("label!").iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_match_by_key_or_by_key_and_value() {
        let labels = BTreeMap::from([("a".into(), "1".into())]);
        let mut filters = Filters::default();
        assert!(filters.match_labels(&labels));
        filters.add("label", "a");
        filters.add("label", "a=1");
        assert!(filters.match_labels(&labels));
        filters.add("label!", "a=1");
        assert!(!filters.match_labels(&labels));
    }

    #[test]
    fn an_unknown_filter_is_named() {
        let mut filters = Filters::default();
        filters.add("colour", "red");
        assert_eq!(filters.validate(&["label"]).unwrap_err().to_string(), "invalid filter 'colour'");
    }
}
