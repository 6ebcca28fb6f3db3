//! The Docker API's JSON, field for field; no behaviour.
//!
//! A field that dockerd may print as `null` is an [`Option`] here, so that null, empty and absent stay apart on the way
//! through the daemon. Field names are Docker's, in the order dockerd prints them; a missing or `null` field of a request
//! reads as its zero value.

#![forbid(unsafe_code)]

mod codec;
pub mod container;
pub mod event;
pub mod image;
pub mod mount;
pub mod network;
pub mod progress;
pub mod system;
pub mod upkeep;
pub mod volume;

pub use codec::{is_zero, null_default};
