//! What callers ask of containers, and what they are told.

use crate::stream::AttachStream;
use rorqual_api_types::container::CreateRequest;
use rorqual_types::{ContainerId, ContainerName, Filters, Platform, Signal};

/// `POST /containers/create`.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The wanted name; one is made up where it is missing.
    pub name: Option<ContainerName>,
    /// The wanted platform of the image.
    pub platform: Option<Platform>,
    /// The body as the user sent it.
    pub request: CreateRequest,
}

/// The answer to a create.
#[derive(Clone, Debug)]
pub struct Created {
    /// The new container's id.
    pub id: ContainerId,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// `POST /containers/{id}/stop` and `restart`.
#[derive(Clone, Debug, Default)]
pub struct StopOptions {
    /// In place of the container's stop signal.
    pub signal: Option<Signal>,
    /// Seconds before SIGKILL; -1 waits for ever; `None` is the container's own.
    pub timeout_s: Option<i64>,
}

/// `DELETE /containers/{id}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
    /// Remove the link of this name rather than the container.
    pub link: bool,
}

/// `POST /containers/{id}/attach`.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// First what the log holds.
    pub logs: bool,
    /// Then what comes.
    pub stream: bool,
    /// Pass the caller's input on.
    pub stdin: bool,
    /// Return standard output.
    pub stdout: bool,
    /// Return standard error.
    pub stderr: bool,
    /// In place of `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
}

/// `GET /containers/{id}/logs`.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Return standard output.
    pub stdout: bool,
    /// Return standard error.
    pub stderr: bool,
    /// Go on until the container ends.
    pub follow: bool,
    /// Nothing older.
    pub since: Option<jiff::Timestamp>,
    /// Nothing newer.
    pub until: Option<jiff::Timestamp>,
    /// Each line starts with its time.
    pub timestamps: bool,
    /// Each line starts with the attributes of the log options.
    pub details: bool,
    /// Only so many last lines; `None` is all.
    pub tail: Option<u64>,
}

/// `condition` of `POST /containers/{id}/wait`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Until it does not run; at once if it does not.
    #[default]
    NotRunning,
    /// Until it ends the next time.
    NextExit,
    /// Until it is gone.
    Removed,
}

/// What a wait ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitResult {
    /// The exit code.
    pub exit_code: i64,
    /// Why the wait, or the removal it waited for, failed.
    pub error: Option<String>,
}

/// `GET /containers/json`.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// Only so many of the newest; implies `all`.
    pub limit: Option<usize>,
    /// Compute sizes.
    pub size: bool,
    /// Conditions.
    pub filters: Filters,
}

/// `POST /exec/{id}/start`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecStartOptions {
    /// Return as soon as it runs.
    pub detach: bool,
    /// Whether the caller expects a terminal.
    pub tty: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<(u16, u16)>,
}

/// What an exec's start returns.
#[derive(Debug)]
pub enum ExecStarted {
    /// It runs on its own.
    Detached,
    /// Its streams.
    Attached(Box<AttachStream>),
}

/// Bytes of a container's layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Its own layer.
    pub rw: i64,
    /// Its own layer and the image's.
    pub root_fs: i64,
}
