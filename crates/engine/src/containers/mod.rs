//! Containers: the component that callers hold. Every container has one task that owns its state (`task.rs`); the
//! methods here find the container, ask its task, and wait for what they were asked to wait for.

mod index;
mod options;
mod restart;
mod state;

pub(crate) use index::Index;

pub use options::{
    AttachOptions, CreateOptions, Created, ExecStartOptions, ExecStarted, ListOptions, LogOptions, RemoveOptions,
    Sizes, StopOptions, WaitCondition, WaitResult,
};

use crate::stream::{AttachStream, LogStream};
use rorqual_api_types::container::{
    ExecConfig, ExecInspect, Inspect, PruneReport, Summary, TopResponse, UpdateRequest, UpdateResponse,
};
use rorqual_error::Result;
use rorqual_types::{ContainerName, Filters, Signal};

/// The containers of this node. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Containers {}

/// A wait that is armed: what happens from its creation on counts.
#[derive(Debug)]
pub struct Wait {}

impl Wait {
    /// Waits for the condition. Cancel safe.
    pub async fn finished(&mut self) -> WaitResult {
        todo!()
    }
}

impl Containers {
    /// Creates a container.
    pub async fn create(&self, _options: CreateOptions) -> Result<Created> {
        todo!()
    }

    /// Starts it; `NotModified` where it runs already.
    pub async fn start(&self, _name: &str) -> Result<()> {
        todo!()
    }

    /// Arms a wait at once; the result comes from [`Wait::finished`].
    pub fn wait(&self, _name: &str, _condition: WaitCondition) -> Result<Wait> {
        todo!()
    }

    /// Opens a session with its streams; of a container that does not run yet, the session begins with its start.
    pub async fn attach(&self, _name: &str, _options: AttachOptions) -> Result<AttachStream> {
        todo!()
    }

    /// What it wrote so far, and what comes while `follow`.
    pub async fn logs(&self, _name: &str, _options: LogOptions) -> Result<LogStream> {
        todo!()
    }

    /// Stops it; `NotModified` where it does not run.
    pub async fn stop(&self, _name: &str, _options: StopOptions) -> Result<()> {
        todo!()
    }

    /// Sends a signal; SIGKILL also waits for the end.
    pub async fn kill(&self, _name: &str, _signal: Option<Signal>) -> Result<()> {
        todo!()
    }

    /// Stops it where it runs, and starts it.
    pub async fn restart(&self, _name: &str, _options: StopOptions) -> Result<()> {
        todo!()
    }

    /// Freezes it.
    pub async fn pause(&self, _name: &str) -> Result<()> {
        todo!()
    }

    /// Thaws it.
    pub async fn unpause(&self, _name: &str) -> Result<()> {
        todo!()
    }

    /// Gives it another name.
    pub async fn rename(&self, _name: &str, _new: ContainerName) -> Result<()> {
        todo!()
    }

    /// Sets its terminal's size.
    pub async fn resize(&self, _name: &str, _rows: u16, _columns: u16) -> Result<()> {
        todo!()
    }

    /// Its processes, with ps(1)'s arguments; empty is `-ef`.
    pub async fn top(&self, _name: &str, _ps_args: &str) -> Result<TopResponse> {
        todo!()
    }

    /// Changes its limits and restart policy.
    pub async fn update(&self, _name: &str, _request: UpdateRequest) -> Result<UpdateResponse> {
        todo!()
    }

    /// Removes it.
    pub async fn remove(&self, _name: &str, _options: RemoveOptions) -> Result<()> {
        todo!()
    }

    /// All that is known of it. Never touches the disk.
    pub fn inspect(&self, _name: &str) -> Result<Inspect> {
        todo!()
    }

    /// Its size on disk.
    pub async fn sizes(&self, _name: &str) -> Result<Sizes> {
        todo!()
    }

    /// A line for each container, newest first. Touches the disk only for `size`.
    pub async fn list(&self, _options: ListOptions) -> Result<Vec<Summary>> {
        todo!()
    }

    /// Removes those that do not run and match the filters (`label`, `label!`, `until`).
    pub async fn prune(&self, _filters: Filters) -> Result<PruneReport> {
        todo!()
    }

    /// Prepares a program to run in a running container; returns its id.
    pub async fn exec_create(&self, _name: &str, _config: ExecConfig) -> Result<String> {
        todo!()
    }

    /// Starts it.
    pub async fn exec_start(&self, _id: &str, _options: ExecStartOptions) -> Result<ExecStarted> {
        todo!()
    }

    /// Sets its terminal's size.
    pub async fn exec_resize(&self, _id: &str, _rows: u16, _columns: u16) -> Result<()> {
        todo!()
    }

    /// What is known of it.
    pub fn exec_inspect(&self, _id: &str) -> Result<ExecInspect> {
        todo!()
    }
}

/// One container's handle.
#[derive(Debug)]
pub(crate) struct Handle {}

pub(crate) struct View {
    pub record: Record,
}
pub(crate) struct Record {
    pub name: ContainerName,
}
impl Handle {
    pub fn view(&self) -> View {
        todo!()
    }
    pub fn image_user(&self) -> rorqual_image::User {
        todo!()
    }
}
