//! When to try again: exponential waits with jitter, and never longer than their limits.

use crate::limits;
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The waits of this crate. Tests shorten them.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
    pub(crate) retry_after_max: Duration,
    pub(crate) answer: Duration,
    pub(crate) stall: Duration,
    pub(crate) commit: Duration,
    pub(crate) token_margin: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: limits::BACKOFF_FIRST,
            max: limits::BACKOFF_MAX,
            retry_after_max: limits::RETRY_AFTER_MAX,
            answer: limits::ANSWER_DEADLINE,
            stall: limits::STALL_DEADLINE,
            commit: limits::COMMIT_DEADLINE,
            token_margin: limits::TOKEN_MARGIN,
        }
    }
}

/// Counts the attempts at one thing.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    attempts_max: u32,
    first: Duration,
    max: Duration,
    after_max: Duration,
}

impl Backoff {
    /// The first attempt is being made.
    pub(crate) fn new(pace: &Pace, attempts_max: u32) -> Self {
        Self { attempts: 1, attempts_max, first: pace.first, max: pace.max, after_max: pace.retry_after_max }
    }

    /// How long to wait before the next attempt; `None` when there is none. `after` is what the server asks for.
    pub(crate) fn next(&mut self, after: Option<Duration>) -> Option<Duration> {
        if self.attempts >= self.attempts_max || after.is_some_and(|after| after > self.after_max) {
            return None;
        }
        let doubled = self.first.saturating_mul(1u32 << (self.attempts - 1).min(16)).min(self.max);
        self.attempts += 1;
        Some(jitter(doubled).max(after.unwrap_or_default()))
    }

    /// There was progress: attempts count anew.
    pub(crate) fn reset(&mut self) {
        self.attempts = 1;
    }
}

/// Between half of `wait` and all of it, so that many clients of one server do not come back together.
fn jitter(wait: Duration) -> Duration {
    // The standard library seeds each of these from the system; no more randomness than that is needed here.
    let random = RandomState::new().build_hasher().finish();
    let half = wait / 2;
    let nanoseconds = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
    half + Duration::from_nanos(random.checked_rem(nanoseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_limits() {
        let mut backoff = Backoff::new(&Pace::default(), 5);
        let waits: Vec<Duration> = std::iter::from_fn(|| backoff.next(None)).collect();
        assert_eq!(waits.len(), 4);
        for (at, wait) in waits.iter().enumerate() {
            let full = limits::BACKOFF_FIRST * (1 << at);
            assert!(*wait >= full / 2 && *wait <= full, "{at}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next(None).is_some());
        assert_eq!(Backoff::new(&Pace::default(), 1).next(None), None);
    }

    #[test]
    fn a_server_may_ask_for_a_bounded_wait() {
        let next = |seconds| Backoff::new(&Pace::default(), 5).next(Some(Duration::from_secs(seconds)));
        assert_eq!(next(59), Some(Duration::from_secs(59)));
        assert_eq!(next(60), Some(Duration::from_secs(60)));
        assert_eq!(next(61), None);
    }
}
