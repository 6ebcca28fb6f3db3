//! Which volumes a list or a prune is about.

use crate::Volume;
use rorqual_error::Result;
use rorqual_types::Filters;

/// The filters of `volume ls`, checked.
pub(crate) struct Selection<'a> {
    filters: &'a Filters,
    dangling: Option<bool>,
}

impl<'a> Selection<'a> {
    /// Of a list: `name`, `label`, `dangling` and `driver`.
    pub(crate) fn of_list(filters: &'a Filters) -> Result<Self> {
        filters.validate(&["dangling", "name", "driver", "label"])?;
        Ok(Self { filters, dangling: filters.boolean("dangling")? })
    }

    /// Whether `volume`, used by somebody or not, is selected.
    pub(crate) fn matches(&self, volume: &Volume, used: bool) -> bool {
        let names = self.filters.get("name");
        let named = names.is_empty() || names.iter().any(|pattern| name_matches(pattern, volume.name.as_str()));
        named
            && self.filters.exact("driver", &volume.driver)
            && self.filters.match_labels(&volume.labels)
            && self.dangling.is_none_or(|dangling| dangling != used)
    }
}

/// A part of the name; `^` and `$` hold it to the beginning and the end.
fn name_matches(pattern: &str, name: &str) -> bool {
    let (start, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (end, text) = rest.strip_suffix('$').map_or((false, rest), |text| (true, text));
    match (start, end) {
        (true, true) => name == text,
        (true, false) => name.starts_with(text),
        (false, true) => name.ends_with(text),
        (false, false) => name.contains(text),
    }
}

/// The filters of `volume prune`, checked.
pub(crate) struct PruneSelection<'a> {
    filters: &'a Filters,
    all: bool,
}

impl<'a> PruneSelection<'a> {
    pub(crate) fn new(filters: &'a Filters) -> Result<Self> {
        filters.validate(&["all", "label", "label!"])?;
        Ok(Self { filters, all: filters.boolean("all")?.unwrap_or(false) })
    }

    /// Whether an unused `volume` goes.
    pub(crate) fn matches(&self, volume: &Volume) -> bool {
        (self.all || volume.anonymous) && self.filters.match_labels(&volume.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::name_matches;

    #[test]
    fn a_name_is_matched_anywhere_or_where_it_is_held() {
        for (pattern, expected) in [
            ("v2", true),
            ("^net", true),
            ("^v2", false),
            ("v2$", true),
            ("net$", false),
            ("^net-v2$", true),
            ("^net-v$", false),
        ] {
            assert_eq!(name_matches(pattern, "net-v2"), expected, "{pattern}");
        }
    }
}
