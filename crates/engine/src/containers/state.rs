//! The state machine of a container. One function lists every transition; the task applies them, nobody else does.

use jiff::Timestamp;
use rorqual_error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Where a container stands. What outlives the phases (the last run) is in [`LastRun`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Made, never ran.
    Created,
    /// Its processes are being made. After a crash of the daemon this phase says that there may be leftovers.
    Starting,
    /// Its program runs.
    Running {
        /// Process id on the host.
        pid: i32,
        /// Whether it is frozen.
        paused: bool,
    },
    /// Its program ended; the restart policy starts it again soon.
    Restarting,
    /// Its program ended.
    Exited,
    /// It is being removed.
    Removing,
    /// Its removal failed half-way; only another removal is possible.
    Dead,
}

/// What drives the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Someone asked for a start.
    Start,
    /// The program runs.
    Started {
        /// Process id on the host.
        pid: i32,
    },
    /// The start failed; whether it ever ran before decides what it is then.
    StartFailed {
        /// Whether it ran before.
        ran: bool,
    },
    /// The program ended.
    Ended {
        /// Whether the restart policy starts it again.
        restart: bool,
    },
    /// The pending restart was called off.
    CallOff,
    /// Someone asked for it to be frozen.
    Pause,
    /// Someone asked for it to be thawed.
    Unpause,
    /// Someone asked for its removal.
    Remove,
    /// The removal failed half-way.
    RemoveFailed,
}

/// Why an input is refused in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It runs already.
    AlreadyRunning,
    /// It is frozen.
    Paused,
    /// It is not frozen.
    NotPaused,
    /// It does not run.
    NotRunning,
    /// It waits for a restart.
    Restarting,
    /// It is being removed, or that failed.
    Removing,
    /// It must be stopped before it is removed.
    MustStop,
    /// The input cannot come in this phase; our own mistake.
    Impossible,
}

/// The phase after `input`, or why there is none. Every pair is listed.
pub fn next(phase: &Phase, input: Input) -> Result<Phase, Refusal> {
    use Phase as P;
    match (phase, input) {
        (P::Created | P::Exited | P::Restarting, Input::Start) => Ok(P::Starting),
        (P::Running { paused: false, .. } | P::Starting, Input::Start) => Err(Refusal::AlreadyRunning),
        (P::Running { paused: true, .. }, Input::Start) => Err(Refusal::Paused),
        (P::Removing | P::Dead, Input::Start) => Err(Refusal::Removing),

        (P::Starting, Input::Started { pid }) => Ok(P::Running { pid, paused: false }),
        (P::Starting, Input::StartFailed { ran: true }) => Ok(P::Exited),
        (P::Starting, Input::StartFailed { ran: false }) => Ok(P::Created),
        (P::Running { .. } | P::Starting, Input::Ended { restart: true }) => Ok(P::Restarting),
        (P::Running { .. } | P::Starting, Input::Ended { restart: false }) => Ok(P::Exited),
        (
            P::Created | P::Running { .. } | P::Restarting | P::Exited | P::Removing | P::Dead,
            Input::Started { .. } | Input::StartFailed { .. },
        )
        | (P::Created | P::Restarting | P::Exited | P::Removing | P::Dead, Input::Ended { .. }) => {
            Err(Refusal::Impossible)
        }

        (P::Restarting, Input::CallOff) => Ok(P::Exited),
        (P::Created | P::Starting | P::Running { .. } | P::Exited | P::Removing | P::Dead, Input::CallOff) => {
            Err(Refusal::Impossible)
        }

        (P::Running { pid, paused: false }, Input::Pause) => Ok(P::Running { pid: *pid, paused: true }),
        (P::Running { paused: true, .. }, Input::Pause) => Err(Refusal::Paused),
        (P::Restarting, Input::Pause) => Err(Refusal::Restarting),
        (P::Created | P::Starting | P::Exited | P::Removing | P::Dead, Input::Pause) => Err(Refusal::NotRunning),

        (P::Running { pid, paused: true }, Input::Unpause) => Ok(P::Running { pid: *pid, paused: false }),
        (
            P::Running { paused: false, .. }
            | P::Created
            | P::Starting
            | P::Restarting
            | P::Exited
            | P::Removing
            | P::Dead,
            Input::Unpause,
        ) => Err(Refusal::NotPaused),

        (P::Created | P::Exited | P::Dead, Input::Remove) => Ok(P::Removing),
        (P::Running { paused: false, .. } | P::Starting, Input::Remove) => Err(Refusal::MustStop),
        (P::Running { paused: true, .. }, Input::Remove) => Err(Refusal::Paused),
        (P::Restarting, Input::Remove) => Err(Refusal::Restarting),
        (P::Removing, Input::Remove) => Err(Refusal::Removing),

        (P::Removing, Input::RemoveFailed) => Ok(P::Dead),
        (P::Created | P::Starting | P::Running { .. } | P::Restarting | P::Exited | P::Dead, Input::RemoveFailed) => {
            Err(Refusal::Impossible)
        }
    }
}

impl Phase {
    /// As in `State.Status`.
    pub const fn status(&self) -> &'static str {
        match self {
            // A start in progress is shown as what it was before; clients know no other word.
            Self::Created | Self::Starting => "created",
            Self::Running { paused: false, .. } => "running",
            Self::Running { paused: true, .. } => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }

    /// As in `State.Running`: dockerd counts a container that waits for its restart as running.
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Restarting)
    }

    /// Whether it has live processes.
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Whether it is frozen.
    pub const fn is_paused(&self) -> bool {
        matches!(self, Self::Running { paused: true, .. })
    }

    /// The process id on the host, 0 where there is none.
    pub const fn pid(&self) -> i32 {
        match self {
            Self::Running { pid, .. } => *pid,
            Self::Created | Self::Starting | Self::Restarting | Self::Exited | Self::Removing | Self::Dead => 0,
        }
    }
}

/// The last run's times and end, kept over the phases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastRun {
    /// When the program started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its exit code.
    pub exit_code: i64,
    /// Why it could not be started, or why we ended it.
    pub error: String,
    /// Whether the kernel's memory killer ended it.
    pub oom_killed: bool,
}

/// The refusal of a start, in dockerd's words.
pub fn refuse_start(refusal: Refusal) -> Error {
    match refusal {
        Refusal::AlreadyRunning => Error::not_modified("container is already running"),
        Refusal::Paused => Error::conflict("cannot start a paused container, try unpause instead"),
        Refusal::Removing => Error::conflict("container is marked for removal and cannot be started"),
        Refusal::NotPaused | Refusal::NotRunning | Refusal::Restarting | Refusal::MustStop | Refusal::Impossible => {
            Error::internal("the container cannot be started now")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: Phase = Phase::Running { pid: 7, paused: false };
    const PAUSED: Phase = Phase::Running { pid: 7, paused: true };

    #[test]
    fn a_life_from_creation_to_removal() {
        let inputs = [
            (Input::Start, Phase::Starting),
            (Input::Started { pid: 7 }, RUNNING),
            (Input::Pause, PAUSED),
            (Input::Unpause, RUNNING),
            (Input::Ended { restart: true }, Phase::Restarting),
            (Input::Start, Phase::Starting),
            (Input::StartFailed { ran: true }, Phase::Exited),
            (Input::Remove, Phase::Removing),
            (Input::RemoveFailed, Phase::Dead),
            (Input::Remove, Phase::Removing),
        ];
        let mut phase = Phase::Created;
        for (input, expected) in inputs {
            phase = next(&phase, input).unwrap();
            assert_eq!(phase, expected, "{input:?}");
        }
    }

    #[test]
    fn what_is_forbidden_says_why() {
        for (phase, input, refusal) in [
            (RUNNING, Input::Start, Refusal::AlreadyRunning),
            (PAUSED, Input::Start, Refusal::Paused),
            (Phase::Dead, Input::Start, Refusal::Removing),
            (RUNNING, Input::Remove, Refusal::MustStop),
            (PAUSED, Input::Remove, Refusal::Paused),
            (Phase::Exited, Input::Pause, Refusal::NotRunning),
            (Phase::Restarting, Input::Pause, Refusal::Restarting),
            (RUNNING, Input::Unpause, Refusal::NotPaused),
            (Phase::Removing, Input::Remove, Refusal::Removing),
        ] {
            assert_eq!(next(&phase, input), Err(refusal), "{phase:?} {input:?}");
        }
    }

    #[test]
    fn a_container_that_never_ran_stays_created_after_a_failed_start() {
        assert_eq!(next(&Phase::Starting, Input::StartFailed { ran: false }), Ok(Phase::Created));
    }
}
