//! Waiting for a container: armed at the request, so that nothing between it and the answer is missed.

use super::{WaitCondition, WaitResult, handle::Handle, record::View};
use std::sync::Arc;
use tokio::sync::watch;

/// A wait that is armed: what happens from its creation on counts.
#[derive(Debug)]
pub struct Wait {
    view: watch::Receiver<Arc<View>>,
    condition: WaitCondition,
    /// What was so when it was armed.
    then: Seen,
}

/// What a wait looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    removed: bool,
    running: bool,
    exits: u64,
    removal_error: Option<String>,
}

impl Seen {
    fn of(view: &View) -> Self {
        Self {
            removed: view.removed,
            running: view.status.phase.is_running(),
            exits: view.exits,
            removal_error: view.removal_error.clone(),
        }
    }
}

/// Whether `now` is what was waited for since `then`. An exit is one even where a restart follows at once.
fn met(condition: WaitCondition, then: &Seen, now: &Seen) -> bool {
    match condition {
        _ if now.removed => true,
        WaitCondition::NotRunning => !now.running || now.exits > then.exits,
        WaitCondition::NextExit => now.exits > then.exits,
        WaitCondition::Removed => now.removal_error != then.removal_error,
    }
}

impl Wait {
    pub(super) fn new(handle: &Handle, condition: WaitCondition) -> Self {
        let view = handle.subscribe();
        let then = Seen::of(&view.borrow());
        Self { view, condition, then }
    }

    /// Waits for the condition. Cancel safe.
    pub async fn finished(&mut self) -> WaitResult {
        let (condition, then) = (self.condition, &self.then);
        match self.view.wait_for(|view| met(condition, then, &Seen::of(view))).await {
            Ok(view) => {
                let unremoved = condition == WaitCondition::Removed && !view.removed;
                let error = if unremoved { view.removal_error.clone() } else { None };
                WaitResult { exit_code: view.status.last.exit_code, error }
            }
            Err(_) => WaitResult { exit_code: -1, error: Some("the engine was closed".into()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WaitCondition::{NextExit, NotRunning, Removed};

    #[test]
    fn an_exit_ends_the_waits_for_it_whether_or_not_a_restart_follows() {
        let running = Seen { removed: false, running: true, exits: 3, removal_error: None };
        let restarting = Seen { exits: 4, ..running.clone() };
        let stopped = Seen { running: false, ..restarting.clone() };
        let removed = Seen { removed: true, ..stopped.clone() };
        let failed = Seen { removal_error: Some("why".into()), ..stopped.clone() };
        for (condition, then, now, wanted) in [
            (NotRunning, &running, &running, false),
            (NotRunning, &running, &restarting, true),
            (NotRunning, &running, &stopped, true),
            (NotRunning, &stopped, &stopped, true),
            (NextExit, &running, &running, false),
            (NextExit, &running, &restarting, true),
            (NextExit, &stopped, &stopped, false),
            (Removed, &running, &stopped, false),
            (Removed, &running, &failed, true),
            (Removed, &running, &removed, true),
            (NextExit, &stopped, &removed, true),
        ] {
            assert_eq!(met(condition, then, now), wanted, "{condition:?} {then:?} {now:?}");
        }
    }
}
