//! The daemon's own log: one line an event on standard error, as text or JSON, with a level that can change.

use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer as _, Registry,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload::{self, Handle},
    util::SubscriberInitExt,
};

/// Changes the level of the log.
#[derive(Clone, Debug)]
pub struct Level(Handle<LevelFilter, Registry>);

impl Level {
    /// From now on.
    pub fn set(&self, level: LevelFilter) {
        let _ = self.0.reload(level);
    }
}

/// Starts the log.
pub fn start(level: LevelFilter, json: bool) -> Level {
    let (filter, handle) = reload::Layer::new(level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    if json {
        registry.with(lines.event_format(Json).with_filter(filter)).init();
    } else {
        let text = tracing_subscriber::fmt::format().with_ansi(false).with_target(true).with_timer(Clock);
        registry.with(lines.with_ansi(false).event_format(text).with_filter(filter)).init();
    }
    Level(handle)
}

/// RFC 3339 with nanoseconds.
struct Clock;

impl tracing_subscriber::fmt::time::FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Timestamp::now())
    }
}

/// One JSON object a line.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut line = fields.0;
        if let Some(message) = line.remove("message") {
            line.insert("msg".into(), message);
        }
        line.insert("level".into(), event.metadata().level().as_str().to_lowercase().into());
        line.insert("time".into(), Timestamp::now().to_string().into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.0.insert(field.name().into(), text.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}
