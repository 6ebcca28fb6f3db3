//! `GET /events`.

use crate::{
    call::Call,
    query::go_number,
    reply::{self, Reply},
};
use jiff::Timestamp;
use rorqual_api_types::event::{Actor, Event};
use rorqual_engine::events::{Event as EngineEvent, EventFilter, EventOptions, Scope};
use rorqual_error::{Error, Result};

/// Events of the history and as they happen, one JSON document a line.
pub(crate) async fn stream(call: Call) -> Result<Reply> {
    let since = time(call.query.text("since"))?;
    let until = time(call.query.text("until"))?;
    if let (Some(from), Some(to)) = (since, until)
        && from > to
    {
        return Err(Error::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            call.query.text("since"),
            call.query.text("until")
        )));
    }
    let filter = EventFilter::new(call.query.filters()?)?;
    let events = call.engine().events.subscribe(EventOptions { since, until, filter });
    let items = futures_util::stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((present(&event), events))
    });
    Ok(reply::documents(items))
}

fn present(event: &EngineEvent) -> Event {
    let legacy = matches!(event.scope, Scope::Container | Scope::Image);
    let image = event.attributes.get("image").filter(|_| event.scope == Scope::Container);
    let of_legacy = |text: &String| if legacy { text.clone() } else { String::new() };
    Event {
        status: of_legacy(&event.action),
        id: of_legacy(&event.id),
        from: image.cloned().unwrap_or_default(),
        kind: event.scope.as_str().into(),
        action: event.action.clone(),
        actor: Actor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".into(),
        time: event.time.as_second(),
        time_nano: i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX),
    }
}

/// A moment as clients send it: seconds, with a fraction of up to nine digits. `None` where it is empty.
pub(crate) fn time(text: &str) -> Result<Option<Timestamp>> {
    if text.is_empty() {
        return Ok(None);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = go_number("strconv.ParseInt", whole)?;
    let nanoseconds = if fraction.is_empty() {
        0
    } else {
        let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
        go_number("strconv.ParseInt", &digits)?
    };
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default();
    Timestamp::new(seconds, if whole.starts_with('-') { -nanoseconds } else { nanoseconds })
        .map(Some)
        .map_err(|cause| Error::invalid(format!("the time {seconds}")).caused_by(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_up_to_nine_digits() {
        for (text, wanted) in [
            ("5", 5_000_000_000),
            ("5.5", 5_500_000_000),
            ("5.000000001", 5_000_000_001),
            ("1.0000000019", 1_000_000_001),
        ] {
            assert_eq!(time(text).unwrap().unwrap().as_nanosecond(), wanted, "{text}");
        }
        assert_eq!(time("").unwrap(), None);
        assert_eq!(time("abc").unwrap_err().to_string(), "strconv.ParseInt: parsing \"abc\": invalid syntax");
        assert!(time("99999999999999").is_err());
    }

    #[test]
    fn containers_and_images_say_it_twice() {
        let event = |scope| EngineEvent {
            scope,
            action: "start".into(),
            id: "i".into(),
            attributes: [("image".to_owned(), "busybox".to_owned())].into(),
            time: Timestamp::new(3, 7).unwrap(),
        };
        let text = |scope| serde_json::to_string(&present(&event(scope))).unwrap();
        assert_eq!(
            text(Scope::Container),
            r#"{"status":"start","id":"i","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"i","Attributes":{"image":"busybox"}},"scope":"local","time":3,"timeNano":3000000007}"#
        );
        assert_eq!(
            text(Scope::Volume),
            r#"{"Type":"volume","Action":"start","Actor":{"ID":"i","Attributes":{"image":"busybox"}},"scope":"local","time":3,"timeNano":3000000007}"#
        );
    }
}
