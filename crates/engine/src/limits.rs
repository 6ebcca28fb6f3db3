//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Events kept for `since`; dockerd keeps 256 and loses a burst, a few thousand cost under 2 MiB.
pub(crate) const EVENT_HISTORY: usize = 1024;
/// Events a slow subscriber may lag behind before it loses some.
pub(crate) const EVENT_QUEUE: usize = 1024;
/// Requests waiting for one container's task; callers wait beyond that.
pub(crate) const COMMAND_QUEUE: usize = 16;
/// Chunks of output between a blocking reader and its client.
pub(crate) const STREAM_QUEUE: usize = 16;
/// How long the end of an exec's streams is held back for its exit code, which comes on another connection a moment later.
pub(crate) const EXIT_CODE_WAIT: Duration = Duration::from_secs(5);
/// First pause before a restart, doubled at each further one (dockerd's figure).
pub(crate) const RESTART_DELAY: Duration = Duration::from_millis(100);
/// Longest pause before a restart (dockerd's figure).
pub(crate) const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);
/// A run this long makes the pause start over (dockerd's figure).
pub(crate) const RESTART_RESET: Duration = Duration::from_secs(10);
/// How long a shim may take from its spawn to "created", and again from "go" to "started". Large images on slow disks
/// stay well below; a shim stuck in the kernel must not hold its container for ever.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long `kill` waits for a container to be gone after SIGKILL (dockerd's figure).
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a freshly connected shim may take to answer; it has one thread and never blocks for long.
pub(crate) const SHIM_ANSWER: Duration = Duration::from_secs(10);
/// Finished execs are forgotten after this long (dockerd's figure is five minutes).
pub(crate) const EXEC_KEPT: Duration = Duration::from_secs(300);
/// Largest pull policy; ten thousand entries of ordinary length are below it.
pub(crate) const POLICY_BYTES_MAX: u64 = 1 << 20;
/// Repositories that a pull policy names: what people keep by hand is far less.
pub(crate) const POLICY_ENTRIES_MAX: usize = 10_000;
/// Bytes copied at once between a client and a container.
pub(crate) const COPY_BUFFER: usize = 32 << 10;
/// How often the disk budget is looked at, where there is one: containers and others fill the disk too (kubelet's figure).
pub(crate) const BUDGET_PERIOD: Duration = Duration::from_secs(300);
/// What was of use so recently is not removed for the disk budget: who pulls an image is about to use it (kubelet's figure).
pub(crate) const BUDGET_YOUNG: Duration = Duration::from_secs(120);
