//! Fixtures: daemons in namespaces of their own, images to run in them, and a look for what they left behind.
//!
//! Nothing here uses the product's code: what judges the daemon must not share its mistakes. A fixture that
//! cannot be made panics with the reason, as a test would.

#![forbid(unsafe_code)]

pub mod archive;
pub mod command;
pub mod daemon;
pub mod http;
pub mod images;
pub mod netns;
pub mod objects;
pub mod places;
pub mod registry;
pub mod residue;
pub mod stand_ins;

pub use archive::Archive;
pub use command::{Finished, run, shell};
pub use daemon::{Daemon, Options};
pub use http::{Answer, Api};
pub use netns::Netns;
pub use objects::ObjectStore;
pub use registry::{CuttingProxy, HubIndex, Maker, Registry};
