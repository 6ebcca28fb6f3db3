//! A handle on one container: its task's mailbox and the latest snapshot.

use super::{
    control::Control,
    record::View,
    task::{Command, Reply, Task},
};
use crate::{limits::COMMAND_QUEUE, parts::Parts};
use rorqual_error::{Error, Result};
use rorqual_image::User;
use rorqual_types::ContainerId;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// One container, as the rest of the engine holds it.
#[derive(Debug)]
pub(crate) struct Handle {
    id: ContainerId,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<View>>,
}

/// A shim that runs already when its container's task starts: found by recovery.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// The connection to it.
    pub control: Control,
    /// When its program started.
    pub started: jiff::Timestamp,
    /// What happened while nobody listened.
    pub events: Vec<rorqual_runtime::protocol::Event>,
}

impl Handle {
    /// Starts the task of a container and puts the handle into the index.
    pub fn spawn(parts: &Arc<Parts>, view: View, adopted: Option<Adopted>) -> Arc<Self> {
        let id = view.record.id.clone();
        let (commands, mailbox) = mpsc::channel(COMMAND_QUEUE);
        let task = Task::new(parts.clone(), view, mailbox, adopted);
        let handle = Arc::new(Self { id: id.clone(), commands, view: task.subscribe() });
        parts.index().insert(id, handle.clone());
        parts.tasks.spawn(task.run());
        handle
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The latest snapshot.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Snapshots as they come.
    pub fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// For the images that must know their users.
    pub fn image_user(&self) -> User {
        self.view.borrow().image_user()
    }

    /// Asks its task for something and waits for the answer.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::not_found(format!("No such container: {}", self.id));
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}
