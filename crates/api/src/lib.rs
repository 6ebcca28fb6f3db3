//! HTTP: decode, call, encode. One file per noun, one table of routes.
//!
//! [`Api`] is what all requests share; [`serve`] carries one connection. Nothing here listens: `rorquald` accepts, and
//! hands each connection over with the [`Peer`] it came from.

#![forbid(unsafe_code)]

mod body;
mod call;
mod containers;
mod decode;
mod events;
mod exec;
mod hijack;
mod images;
pub mod limits;
mod networks;
mod query;
mod reply;
mod routes;
mod server;
mod system;
mod unsupported;
mod upkeep;
mod version;
mod volumes;
mod watched;

pub use server::{Peer, Peers, Unread, refuse, serve};
pub use version::{ApiVersion, CURRENT, OLDEST};

use rorqual_api_types::system::RegistryConfig;
use rorqual_engine::Engine;
use std::sync::{Arc, PoisonError, RwLock};

/// What all requests share.
#[derive(Debug)]
pub struct Api {
    /// What they are about.
    pub engine: Engine,
    /// What the daemon says of itself besides.
    about: RwLock<Arc<About>>,
}

impl Api {
    /// Serves `engine`.
    pub fn new(engine: Engine, about: About) -> Self {
        Self { engine, about: RwLock::new(Arc::new(about)) }
    }

    /// What the daemon says of itself now.
    pub fn about(&self) -> Arc<About> {
        self.about.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what the daemon says of itself.
    pub fn set_about(&self, about: About) {
        *self.about.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(about);
    }
}

/// What the daemon says of itself in `/version`, `/info` and the headers of every answer.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its version.
    pub version: String,
    /// The commit it was built from; empty where unknown.
    pub commit: String,
    /// The compiler it was built by.
    pub compiler: String,
    /// When it was built, RFC 3339; empty where unknown.
    pub built: String,
    /// Whether `--experimental` was given.
    pub experimental: bool,
    /// Registries as configured.
    pub registries: RegistryConfig,
    /// The proxies of the environment or the configuration, without passwords: http, https, none.
    pub proxies: [String; 3],
    /// Where the daemon's own registry listens, where there is one.
    pub registry: Option<std::net::SocketAddr>,
}
