//! What `docker ps` prints under STATUS. Pure.

use super::{record::Status, state::Phase};
use jiff::{SignedDuration, Timestamp};

/// The text, as of `now`.
pub fn text(status: &Status, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| time.map(|time| human(now.duration_since(time))).unwrap_or_default();
    let last = &status.last;
    match &status.phase {
        Phase::Running { paused: true, .. } => format!("Up {} (Paused)", since(last.started_at)),
        Phase::Running { paused: false, .. } => format!("Up {}", since(last.started_at)),
        Phase::Restarting => format!("Restarting ({}) {} ago", last.exit_code, since(last.finished_at)),
        Phase::Removing => "Removal In Progress".into(),
        Phase::Dead => "Dead".into(),
        Phase::Created | Phase::Starting => "Created".into(),
        Phase::Exited => match last.finished_at {
            Some(_) => format!("Exited ({}) {} ago", last.exit_code, since(last.finished_at)),
            None => String::new(),
        },
    }
}

/// A duration for people, in the one unit that fits, as docker writes it.
pub fn human(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (3 * 3600, "3 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (15 * 86_400, "2 weeks"),
            (90 * 86_400, "3 months"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(human(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn an_exit_shows_its_code() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1000);
        let mut status = Status::created();
        assert_eq!(text(&status, now), "Created");
        status.phase = Phase::Exited;
        status.last.exit_code = 3;
        status.last.finished_at = Some(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(990));
        assert_eq!(text(&status, now), "Exited (3) 10 seconds ago");
    }
}
