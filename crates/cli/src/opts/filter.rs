//! `--filter name=value` as the API's `filters` parameter: a JSON map of maps.

use std::collections::{BTreeMap, BTreeSet};

/// Filters to send.
#[derive(Clone, Debug, Default)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads the texts of the flag; names are lower-cased, spaces around both parts taken off.
    pub fn parse(texts: &[String]) -> Self {
        let mut filters = Self::default();
        for (name, value) in texts.iter().filter_map(|text| text.split_once('=')) {
            filters.add(&name.trim().to_lowercase(), value.trim());
        }
        filters
    }

    /// Adds one.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// Whether there is a filter of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether there is that very filter.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_some_and(|values| values.contains(value))
    }

    /// Each filter as the user writes it.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")))
    }

    /// The parameter; none where there is no filter.
    pub fn query(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let maps: BTreeMap<&String, BTreeMap<&String, bool>> =
            self.0.iter().map(|(name, values)| (name, values.iter().map(|value| (value, true)).collect())).collect();
        serde_json::to_string(&maps).ok()
    }
}
