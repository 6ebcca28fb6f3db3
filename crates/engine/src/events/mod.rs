//! What happened on this node, in order: a bounded history and a live feed. Publishing never waits; a subscriber that
//! does not keep up loses events rather than hold the engine up.

mod filter;

pub use filter::EventFilter;

use crate::limits::{EVENT_HISTORY, EVENT_QUEUE};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::broadcast;

/// The kind of object an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The daemon.
    Daemon,
}

impl Scope {
    /// As in the event's `Type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub scope: Scope,
    /// What happened: `start`, `exec_create: sh -c true`.
    pub action: String,
    /// Id of the object.
    pub id: String,
    /// `Attributes` of the actor.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

/// The events component. A clone is another handle on the same history.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    history: Mutex<VecDeque<Arc<Event>>>,
    feed: broadcast::Sender<Arc<Event>>,
}

/// `GET /events`.
#[derive(Clone, Debug, Default)]
pub struct EventOptions {
    /// From this moment on, from the history.
    pub since: Option<Timestamp>,
    /// The stream ends at this moment.
    pub until: Option<Timestamp>,
    /// Conditions.
    pub filter: EventFilter,
}

impl Default for Events {
    fn default() -> Self {
        let (feed, _) = broadcast::channel(EVENT_QUEUE);
        Self { shared: Arc::new(Shared { history: Mutex::default(), feed }) }
    }
}

impl Events {
    /// Publishes one event, dated now. Events of one process are never dated earlier than the one before.
    pub fn publish(
        &self,
        scope: Scope,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let mut history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        let time = history.back().map_or(now, |last| now.max(last.time));
        let event = Arc::new(Event { scope, action: action.into(), id: id.into(), attributes, time });
        if history.len() == EVENT_HISTORY {
            history.pop_front();
        }
        history.push_back(event.clone());
        // Nobody listening is no error. Sent under the lock, so that a subscriber sees each event once.
        let _ = self.shared.feed.send(event);
    }

    /// How many listen.
    pub fn subscribers(&self) -> i64 {
        i64::try_from(self.shared.feed.receiver_count()).unwrap_or(i64::MAX)
    }

    /// The events `options` asks for: those of the history first, then what comes.
    pub fn subscribe(&self, options: EventOptions) -> EventStream {
        let history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = self.shared.feed.subscribe();
        let wanted = |event: &&Arc<Event>| {
            options.since.is_some_and(|since| event.time >= since)
                && options.until.is_none_or(|until| event.time <= until)
                && options.filter.matches(event)
        };
        // As in dockerd: without `since` only an `until` in the past looks at the history.
        let past: VecDeque<_> = match options.since {
            Some(_) => history.iter().filter(wanted).cloned().collect(),
            None => VecDeque::new(),
        };
        EventStream { past, feed, options }
    }
}

/// A subscription. Dropping it ends it.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<Arc<Event>>,
    feed: broadcast::Receiver<Arc<Event>>,
    options: EventOptions,
}

impl EventStream {
    /// The next event; `None` once `until` has passed or the engine has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        let left = self.options.until.map(|until| until.duration_since(Timestamp::now()));
        let left = left.map(|left| std::time::Duration::try_from(left).unwrap_or_default());
        match left {
            None => self.live().await,
            Some(left) => tokio::time::timeout(left, self.live()).await.ok().flatten(),
        }
    }

    async fn live(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.feed.recv().await {
                Ok(event) if self.options.until.is_some_and(|until| event.time > until) => return None,
                Ok(event) if self.options.filter.matches(&event) => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "a client of the event stream is too slow");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[tokio::test]
    async fn the_history_comes_first_and_nothing_twice() {
        let events = Events::default();
        let since = Timestamp::now();
        events.publish(Scope::Container, "create", "c1", attributes(&[("name", "web")]));
        let mut stream = events.subscribe(EventOptions { since: Some(since), ..Default::default() });
        events.publish(Scope::Container, "start", "c1", attributes(&[]));
        assert_eq!(stream.next().await.unwrap().action, "create");
        assert_eq!(stream.next().await.unwrap().action, "start");
    }

    #[tokio::test]
    async fn a_stream_with_an_end_in_the_past_ends_at_once() {
        let events = Events::default();
        events.publish(Scope::Volume, "create", "v", attributes(&[]));
        let options = EventOptions {
            since: Some(Timestamp::UNIX_EPOCH),
            until: Some(Timestamp::now()),
            filter: EventFilter::default(),
        };
        let mut stream = events.subscribe(options);
        assert_eq!(stream.next().await.unwrap().action, "create");
        assert!(stream.next().await.is_none());
    }

    #[test]
    fn the_history_is_bounded() {
        let events = Events::default();
        for number in 0..EVENT_HISTORY + 10 {
            events.publish(Scope::Daemon, "reload", number.to_string(), attributes(&[]));
        }
        let stream = events.subscribe(EventOptions { since: Some(Timestamp::UNIX_EPOCH), ..Default::default() });
        assert_eq!(stream.past.len(), EVENT_HISTORY);
        assert_eq!(stream.past[0].id, "10");
    }
}
