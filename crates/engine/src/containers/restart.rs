//! The restart policy: whether a container that ended is started again, and after what pause. Pure.

use crate::limits::{RESTART_DELAY, RESTART_DELAY_MAX, RESTART_RESET};
use rorqual_api_types::container::RestartPolicy;
use rorqual_error::{Error, Result};
use std::time::Duration;

/// `HostConfig.RestartPolicy`, parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// `no` or empty.
    #[default]
    No,
    /// `always`.
    Always,
    /// `unless-stopped`.
    UnlessStopped,
    /// `on-failure`, with a limit where it is not zero.
    OnFailure {
        /// Restarts at most; 0 is no limit.
        limit: u32,
    },
}

impl Policy {
    /// Reads and checks the field, with dockerd's messages.
    pub fn parse(policy: &RestartPolicy) -> Result<Self> {
        let invalid = |text: String| Err(Error::invalid(format!("invalid restart policy: {text}")));
        let count = policy.maximum_retry_count;
        match policy.name.as_str() {
            "on-failure" if count < 0 => invalid("maximum retry count cannot be negative".into()),
            "on-failure" => Ok(Self::OnFailure { limit: u32::try_from(count).unwrap_or(u32::MAX) }),
            "" | "no" | "always" | "unless-stopped" if count != 0 => {
                let hint = if count < 0 { " and cannot be negative" } else { "" };
                invalid(format!("maximum retry count can only be used with 'on-failure'{hint}"))
            }
            "" | "no" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "unless-stopped" => Ok(Self::UnlessStopped),
            other => invalid(format!(
                "unknown policy '{}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
                other.chars().take(256).collect::<String>()
            )),
        }
    }

    /// Whether there is a policy at all.
    pub fn is_none(self) -> bool {
        self == Self::No
    }

    /// Whether a container that ended is started again.
    pub fn wants_restart(self, ended: &Ended) -> bool {
        if ended.by_user {
            return false;
        }
        match self {
            Self::No => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure { limit } => ended.exit_code != 0 && (limit == 0 || ended.restarts < limit),
        }
    }

    /// Whether a container that does not run is started when the daemon opens.
    pub fn wants_start_at_open(self, ended: &Ended) -> bool {
        match self {
            Self::No => false,
            Self::Always => true,
            Self::UnlessStopped => !ended.by_user,
            Self::OnFailure { .. } => self.wants_restart(ended),
        }
    }
}

/// How a run ended, as the policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub exit_code: i64,
    /// Restarts the policy has made so far.
    pub restarts: u32,
    /// Whether a user stopped it.
    pub by_user: bool,
}

/// The pauses between restarts: doubled each time, starting over after a run that lasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    last: Duration,
}

impl Backoff {
    /// The pause after a run that lasted `ran`.
    pub fn next(&mut self, ran: Duration) -> Duration {
        self.last = if ran >= RESTART_RESET || self.last.is_zero() {
            RESTART_DELAY
        } else {
            (self.last * 2).min(RESTART_DELAY_MAX)
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: i64, restarts: u32, by_user: bool) -> Ended {
        Ended { exit_code, restarts, by_user }
    }

    #[test]
    fn pauses_double_until_a_run_lasts() {
        let mut backoff = Backoff::default();
        let short = Duration::from_millis(5);
        let pauses: Vec<u128> = (0..4).map(|_| backoff.next(short).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800]);
        assert_eq!(backoff.next(RESTART_RESET), RESTART_DELAY);
        for _ in 0..20 {
            backoff.next(short);
        }
        assert_eq!(backoff.next(short), RESTART_DELAY_MAX);
    }

    #[test]
    fn policies_decide_by_code_count_and_user() {
        let three = Policy::OnFailure { limit: 3 };
        for (policy, end, restart, at_open) in [
            (Policy::No, ended(1, 0, false), false, false),
            (Policy::Always, ended(0, 99, false), true, true),
            (Policy::Always, ended(137, 0, true), false, true),
            (Policy::UnlessStopped, ended(0, 0, false), true, true),
            (Policy::UnlessStopped, ended(0, 0, true), false, false),
            (three, ended(0, 0, false), false, false),
            (three, ended(1, 2, false), true, true),
            (three, ended(1, 3, false), false, false),
            (Policy::OnFailure { limit: 0 }, ended(1, 99, false), true, true),
        ] {
            assert_eq!(policy.wants_restart(&end), restart, "{policy:?} {end:?}");
            assert_eq!(policy.wants_start_at_open(&end), at_open, "{policy:?} {end:?} at open");
        }
    }

    #[test]
    fn a_wrong_policy_is_refused_in_dockerds_words() {
        let parse = |name: &str, count| {
            Policy::parse(&RestartPolicy { name: name.into(), maximum_retry_count: count }).unwrap_err().to_string()
        };
        assert_eq!(
            parse("foo", 0),
            "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        );
        assert_eq!(
            parse("always", 2),
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        );
        assert_eq!(parse("on-failure", -1), "invalid restart policy: maximum retry count cannot be negative");
    }
}
