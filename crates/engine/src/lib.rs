//! One node: containers, exec, attach, events and recovery.
//!
//! [`Engine`] is a struct of components without operations of its own; [`Engine::open`] shows what each was given.
//! Everything below this crate is synchronous; what blocks runs on tokio's blocking threads.

#![forbid(unsafe_code)]

pub mod budget;
mod config;
pub mod containers;
mod detach;
pub mod events;
mod framing;
pub mod fsck;
pub mod images;
mod limits;
pub mod networks;
mod open;
mod parts;
mod policy;
pub mod registry;
mod seccomp;
mod space;
pub mod spec;
pub mod stream;
pub mod system;
mod time;
pub mod volumes;

pub use config::{EngineConfig, ExternalRuntime, NetworkSettings, Reloadable, UserNamespaces};
pub use containers::Containers;
pub use detach::{DEFAULT_DETACH_KEYS, DetachScanner, parse_detach_keys};
pub use events::Events;
pub use images::Images;
pub use networks::Networks;
pub use policy::PullPolicy;
pub use registry::Registry;
pub use rorqual_snapshot::LayerKind;
pub use system::System;
pub use volumes::Volumes;

use parts::blocking;
use rorqual_error::Result;
use std::sync::Arc;

/// The name of our own runtime in `--runtime`, `info` and inspect.
pub const OWN_RUNTIME: &str = "rorqual";

/// One node's engine. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Containers and execs.
    pub containers: Containers,
    /// Images.
    pub images: Images,
    /// Volumes.
    pub volumes: Volumes,
    /// Networks.
    pub networks: Networks,
    /// Registries.
    pub registry: Registry,
    /// Events.
    pub events: Events,
    /// What concerns the whole node.
    pub system: System,
}

impl Engine {
    /// Opens the engine on its roots. There is no other start-up than recovery: running containers are adopted, exits
    /// that happened meanwhile are recorded, and what was interrupted is finished or undone. Containers whose restart
    /// policy asks for it are started in the background once this has returned.
    pub async fn open(config: EngineConfig) -> Result<Self> {
        let events = Events::default();
        let opened = events.clone();
        let parts = Arc::new(blocking(move || open::open_parts(config, opened)).await?);
        containers::recover(&parts).await?;
        parts.tasks.spawn(budget::run(parts.clone()));
        Ok(Self {
            containers: Containers { parts: parts.clone() },
            images: Images { parts: parts.clone() },
            volumes: Volumes { parts: parts.clone() },
            networks: Networks { parts: parts.clone() },
            registry: Registry { parts: parts.clone() },
            events,
            system: System { parts },
        })
    }

    /// What its images consist of, for other nodes.
    pub fn content(&self) -> Arc<rorqual_content::Content> {
        self.images.parts.images.content()
    }

    /// Ends the engine's own tasks and syncs its records. Containers run on.
    pub async fn close(&self) {
        let parts = self.system.parts.clone();
        parts.closing.cancel();
        parts.tasks.close();
        parts.tasks.wait().await;
        let closed = blocking(move || {
            parts.networks.shutdown();
            parts.store.close()
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "the records could not be closed; they are recovered at the next start");
        }
    }
}
