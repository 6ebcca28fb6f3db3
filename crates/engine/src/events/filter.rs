//! The filters of the event stream.

use super::{Event, Scope};
use rorqual_error::Result;
use rorqual_types::{Filters, Reference};

/// The filter names dockerd accepts.
const ACCEPTED: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Conditions on events: of one name any value suffices, all names must hold, all labels must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    filters: Filters,
}

impl EventFilter {
    /// Checks the names.
    pub fn new(filters: Filters) -> Result<Self> {
        filters.validate(&ACCEPTED)?;
        Ok(Self { filters })
    }

    /// Whether the event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        if self.filters.is_empty() {
            return true;
        }
        self.filters.exact("type", event.scope.as_str())
            && self.filters.exact("scope", "local")
            && self.action(event)
            && self.object("container", Scope::Container, event)
            && self.object("volume", Scope::Volume, event)
            && self.object("network", Scope::Network, event)
            && self.object("daemon", Scope::Daemon, event)
            && self.image(event)
            && ["config", "node", "plugin", "secret", "service"].iter().all(|name| !self.filters.contains(name))
            && self.filters.match_labels(&event.attributes)
    }

    /// `exec_create` matches `exec_create: sh`, and so does the whole.
    fn action(&self, event: &Event) -> bool {
        if !self.filters.contains("event") {
            return true;
        }
        let head = event.action.split(':').next().unwrap_or_default();
        self.filters.get("event").iter().any(|wanted| *wanted == event.action || wanted == head)
    }

    /// By id, a prefix of it, or the `name` attribute, without a leading slash.
    fn object(&self, filter: &str, scope: Scope, event: &Event) -> bool {
        if !self.filters.contains(filter) {
            return true;
        }
        let name = event.attributes.get("name");
        event.scope == scope
            && self.filters.get(filter).iter().any(|wanted| {
                let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
                !wanted.is_empty() && (event.id.starts_with(wanted) || name.is_some_and(|name| name == wanted))
            })
    }

    /// Events of an image, and of the containers made from it; with or without the tag.
    fn image(&self, event: &Event) -> bool {
        if !self.filters.contains("image") {
            return true;
        }
        let named = match event.scope {
            Scope::Image => event.attributes.get("name"),
            _ => event.attributes.get("image"),
        };
        let untagged = |text: &str| text.parse::<Reference>().map(|r| r.familiar_name().to_owned()).ok();
        self.filters.get("image").iter().any(|wanted| {
            (event.scope == Scope::Image && event.id == *wanted)
                || named.is_some_and(|named| named == wanted || untagged(named).as_ref() == Some(wanted))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn event(scope: Scope, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        Event {
            scope,
            action: action.into(),
            id: id.into(),
            attributes: attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    fn check(filters: &[(&str, &str)], event: &Event, wanted: bool) {
        let mut set = Filters::default();
        for (name, value) in filters {
            set.add(*name, *value);
        }
        assert_eq!(EventFilter::new(set).unwrap().matches(event), wanted, "{filters:?} {event:?}");
    }

    #[test]
    fn filters_choose_as_dockerd_does() {
        let exec = event(
            Scope::Container,
            "exec_create: sh -c true",
            "abcdef",
            &[("name", "web"), ("image", "busybox:1"), ("tier", "front")],
        );
        check(&[], &exec, true);
        check(&[("type", "container")], &exec, true);
        check(&[("type", "image")], &exec, false);
        check(&[("type", "image"), ("type", "container")], &exec, true);
        check(&[("event", "exec_create")], &exec, true);
        check(&[("event", "exec_start")], &exec, false);
        check(&[("container", "abc")], &exec, true);
        check(&[("container", "web")], &exec, true);
        check(&[("container", "we")], &exec, false);
        check(&[("image", "busybox")], &exec, true);
        check(&[("image", "busybox:1")], &exec, true);
        check(&[("image", "busybox:2")], &exec, false);
        check(&[("label", "tier"), ("label", "tier=front")], &exec, true);
        check(&[("label", "tier"), ("label", "other")], &exec, false);
        check(&[("volume", "web")], &exec, false);
        check(&[("scope", "local")], &exec, true);
        check(&[("scope", "swarm")], &exec, false);
    }
}
