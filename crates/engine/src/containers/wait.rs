//! Waiting for a container: armed at the request, so that nothing between it and the answer is missed.

use super::{WaitCondition, WaitResult, handle::Handle, record::View};
use std::sync::Arc;
use tokio::sync::watch;

/// A wait that is armed: what happens from its creation on counts.
#[derive(Debug)]
pub struct Wait {
    view: watch::Receiver<Arc<View>>,
    condition: WaitCondition,
    /// Rests seen when it was armed.
    stops: u64,
    removal_error: Option<String>,
}

impl Wait {
    pub(super) fn new(handle: &Handle, condition: WaitCondition) -> Self {
        let view = handle.subscribe();
        let (stops, removal_error) = {
            let view = view.borrow();
            (view.stops, view.removal_error.clone())
        };
        Self { view, condition, stops, removal_error }
    }

    /// Waits for the condition. Cancel safe.
    pub async fn finished(&mut self) -> WaitResult {
        let (condition, stops, old) = (self.condition, self.stops, self.removal_error.clone());
        let met = |view: &Arc<View>| match condition {
            _ if view.removed => true,
            WaitCondition::NotRunning => !view.status.phase.is_running(),
            WaitCondition::NextExit => view.stops > stops,
            WaitCondition::Removed => view.removal_error != old,
        };
        let ended = self.view.wait_for(met).await.is_err();
        let view = self.view.borrow();
        if ended && !view.removed {
            return WaitResult { exit_code: -1, error: Some("the engine was closed".into()) };
        }
        let error = match condition {
            WaitCondition::Removed if !view.removed => view.removal_error.clone(),
            _ => None,
        };
        WaitResult { exit_code: view.status.last.exit_code, error }
    }
}
