//! Our terminal and a container's streams: raw mode, sizes, detach keys, signals, and the pump between them.

mod keys;
mod pump;
pub(crate) mod signals;
mod stdin;
pub(crate) mod tty;

pub(crate) use keys::DetachKeys;
pub(crate) use pump::{Ended, Streams, pump};
