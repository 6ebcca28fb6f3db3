//! Which containers `GET /containers/json` shows, and in which order.

use super::{Containers, ListOptions, Sizes, handle::Handle, inspect, record::View};
use jiff::Timestamp;
use rorqual_api_types::container::Summary;
use rorqual_error::{Error, Result};
use rorqual_types::{ContainerId, Digest, Filters};
use std::{collections::BTreeMap, sync::Arc};

/// The filter names dockerd accepts.
const FILTERS: [&str; 17] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "driver",
];

/// The states a `status` filter may name.
const STATES: [&str; 7] = ["paused", "restarting", "running", "dead", "created", "exited", "removing"];

impl Containers {
    /// A line for each container, newest first. Touches the disk only for `size`.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Summary>> {
        let views = self.choose(&options)?;
        let now = Timestamp::now();
        let mut summaries = Vec::with_capacity(views.len());
        for view in views {
            let sizes = if options.size { Some(self.sizes_of(&view).await?) } else { None };
            summaries.push(inspect::summary(&self.parts, &view, now, sizes));
        }
        Ok(summaries)
    }

    /// All of them, newest first, with these sizes of their directories.
    pub(crate) async fn usage(&self, sizes: BTreeMap<ContainerId, u64>) -> Result<Vec<Summary>> {
        let views = self.choose(&ListOptions { all: true, ..ListOptions::default() })?;
        let (parts, now) = (self.parts.clone(), Timestamp::now());
        let summary = move |view: &Arc<View>| {
            let image = &view.record.image;
            let rw = sizes.get(&view.record.id).copied().unwrap_or_default().cast_signed();
            let sizes = Sizes { rw, root_fs: rw + parts.unpacked_size(&image.id, &image.manifest.digest) };
            inspect::summary(&parts, view, now, Some(sizes))
        };
        crate::parts::blocking(move || Ok(views.iter().map(summary).collect())).await
    }

    fn choose(&self, options: &ListOptions) -> Result<Vec<Arc<View>>> {
        let choice = Choice::new(self, options)?;
        let mut views: Vec<Arc<View>> = self.parts.index().all().map(|handle: &Arc<Handle>| handle.view()).collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.record.created));
        let chosen = views.into_iter().filter(|view| choice.matches(view));
        Ok(chosen.take(options.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX)).collect())
    }

    /// Its own layer, and with the image's.
    pub(super) async fn sizes_of(&self, view: &View) -> Result<Sizes> {
        let (parts, record) = (self.parts.clone(), view.record.clone());
        crate::parts::blocking(move || {
            let rw = i64::try_from(parts.snapshots.usage(&record.id)?).unwrap_or(i64::MAX);
            Ok(Sizes { rw, root_fs: rw + parts.unpacked_size(&record.image.id, &record.image.manifest.digest) })
        })
        .await
    }
}

/// The filters, parsed once for all containers.
struct Choice<'a> {
    all: bool,
    filters: &'a Filters,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    ancestors: Vec<Ancestor>,
    exited: Vec<i64>,
    ports: Vec<(&'static str, u16, u16, String)>,
}

struct Ancestor {
    name: String,
    id: Option<Digest>,
}

impl<'a> Choice<'a> {
    fn new(containers: &Containers, options: &'a ListOptions) -> Result<Self> {
        let filters = &options.filters;
        filters.validate(&FILTERS)?;
        let invalid = |name: &str, value: &str| Error::invalid(format!("invalid filter '{name}={value}'"));
        for state in filters.get("status") {
            if !STATES.contains(&state.as_str()) {
                let expected = "must be one of created, running, paused, restarting, removing, exited, dead";
                return Err(Error::invalid(format!(
                    "invalid filter 'status={state}': invalid value for state ({state}): {expected}"
                )));
            }
        }
        for health in filters.get("health") {
            if !["none", "starting", "healthy", "unhealthy"].contains(&health.as_str()) {
                let expected = "must be one of none, starting, healthy, or unhealthy";
                return Err(Error::invalid(format!("invalid value for health ({health}): {expected}")));
            }
        }
        let exited = filters.get("exited").iter();
        let exited = exited.map(|code| parse_code(code)).collect::<Result<_>>()?;
        let created = |name: &str| match filters.get(name).last() {
            Some(container) => containers.find(container).map(|handle| Some(handle.view().record.created)),
            None => Ok(None),
        };
        let parts = &containers.parts;
        let ancestor = |name: &String| Ancestor { name: name.clone(), id: parts.image_id(name) };
        let mut ports = Vec::new();
        for kind in ["publish", "expose"] {
            for value in filters.get(kind) {
                let (first, last, protocol) = parse_ports(value).ok_or_else(|| invalid(kind, value))?;
                ports.push((kind, first, last, protocol));
            }
        }
        Ok(Self {
            // Asking for a state, a code or a number of containers looks at those that do not run too.
            all: options.all
                || options.limit.is_some_and(|limit| limit > 0)
                || filters.contains("status")
                || filters.contains("exited"),
            filters,
            before: created("before")?,
            since: created("since")?,
            ancestors: filters.get("ancestor").iter().map(ancestor).collect(),
            exited,
            ports,
        })
    }

    fn matches(&self, view: &View) -> bool {
        let (record, status, filters) = (&view.record, &view.status, self.filters);
        let any = |name: &str, test: &dyn Fn(&str) -> bool| {
            !filters.contains(name) || filters.get(name).iter().any(|value| test(value))
        };
        (self.all || status.phase.is_running())
            && any("status", &|state| status.phase.status() == state)
            && any("health", &|health| health == "none")
            && any("isolation", &|isolation| isolation.is_empty() || isolation == "default")
            && any("is-task", &|task| matches!(task, "false" | "0"))
            && any("id", &|id| record.id.as_str().starts_with(id))
            && any("name", &|name| name_matches(name, record.name.as_str()))
            && any("network", &|network| self.on_network(view, network))
            && any("volume", &|volume| uses_volume(view, volume))
            && filters.match_labels(record.config.labels.as_ref().unwrap_or(&Default::default()))
            && self.before.is_none_or(|before| record.created < before)
            && self.since.is_none_or(|since| record.created > since)
            && (self.exited.is_empty() || self.exited_with(view))
            && (self.ancestors.is_empty() || self.ancestors.iter().any(|ancestor| ancestor.matches(view)))
            && self.has_ports(view)
    }

    fn exited_with(&self, view: &View) -> bool {
        let ended = !view.status.phase.is_live() && view.status.last.started_at.is_some();
        ended && self.exited.contains(&view.status.last.exit_code)
    }

    fn on_network(&self, view: &View, network: &str) -> bool {
        let mode = &view.record.host_config.network_mode;
        let id = view.status.endpoint.as_ref().map(|endpoint| endpoint.network_id.as_str());
        mode == network || id.is_some_and(|id| !network.is_empty() && id.starts_with(network))
    }

    fn has_ports(&self, view: &View) -> bool {
        let exposed: Vec<(u16, &str)> = view
            .record
            .config
            .exposed_ports
            .iter()
            .flatten()
            .filter_map(|(key, _)| {
                let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
                Some((port.parse().ok()?, protocol))
            })
            .collect();
        let published: Vec<(u16, String)> = view
            .status
            .endpoint
            .iter()
            .flat_map(|endpoint| &endpoint.ports)
            .map(|port| (port.host_port, port.protocol.to_string()))
            .collect();
        ["publish", "expose"].iter().all(|kind| {
            let wanted: Vec<_> = self.ports.iter().filter(|port| port.0 == *kind).collect();
            wanted.is_empty()
                || wanted.iter().any(|(_, first, last, protocol)| {
                    let fits = |port: u16, kind: &str| (*first..=*last).contains(&port) && kind == protocol;
                    if *kind == "publish" {
                        published.iter().any(|(port, protocol)| fits(*port, protocol))
                    } else {
                        exposed.iter().any(|(port, protocol)| fits(*port, protocol))
                    }
                })
        })
    }
}

impl Ancestor {
    fn matches(&self, view: &View) -> bool {
        let image = &view.record.image;
        self.id.is_some_and(|id| id == image.id) || image.name == self.name
    }
}

/// An exit code; the message is the one clients know.
fn parse_code(text: &str) -> Result<i64> {
    let shown: String = text.chars().take(64).collect();
    text.parse().map_err(|_| {
        Error::invalid(format!("invalid filter 'exited={shown}': strconv.Atoi: parsing {shown:?}: invalid syntax"))
    })
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn parse_ports(text: &str) -> Option<(u16, u16, String)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let known = ["tcp", "udp", "sctp"].contains(&protocol);
    (known && first <= last).then(|| (first, last, protocol.to_owned()))
}

/// dockerd takes a regular expression; this takes what clients send of those: a part of the name, with or without a
/// leading slash, `^` for the beginning and `$` for the end.
fn name_matches(pattern: &str, name: &str) -> bool {
    let (from_start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (to_end, rest) = match rest.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let slashed = rest.strip_prefix("/?").or_else(|| rest.strip_prefix('/'));
    // A slash that must be there is the beginning of the name.
    let from_start = from_start || (rest.starts_with('/') && !rest.starts_with("/?"));
    let text = slashed.unwrap_or(rest).replace("\\.", ".").replace("\\-", "-");
    match (from_start, to_end) {
        (true, true) => name == text,
        (true, false) => name.starts_with(&text),
        (false, true) => name.ends_with(&text),
        (false, false) => name.contains(&text),
    }
}

fn uses_volume(view: &View, wanted: &str) -> bool {
    let trimmed = wanted.trim_end_matches('/');
    view.record.mounts.iter().any(|mount| {
        (!mount.name.is_empty() && mount.name == wanted) || mount.destination == trimmed || mount.source == trimmed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_part_or_anchored() {
        for (pattern, name, matches) in [
            ("web", "myweb1", true),
            ("/web", "web1", true),
            ("/web", "myweb", false),
            ("^web$", "web", true),
            ("^/web$", "web", true),
            ("^/?web$", "web", true),
            ("^web", "myweb", false),
            ("a\\.b", "a.b", true),
        ] {
            assert_eq!(name_matches(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn port_filters_have_ranges_and_protocols() {
        assert_eq!(parse_ports("80"), Some((80, 80, "tcp".into())));
        assert_eq!(parse_ports("80-90/udp"), Some((80, 90, "udp".into())));
        for bad in ["", "x", "90-80", "80/x"] {
            assert_eq!(parse_ports(bad), None, "{bad}");
        }
    }
}
