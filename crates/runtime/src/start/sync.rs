//! What maker and child say to each other during a start.

use crate::{
    failure::{At, Outcome},
    protocol::{Connection, Failure, Step},
};
use serde::{Deserialize, Serialize};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Maker to child.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToChild {
    /// The id maps are written. Beside it: the descriptors of [`Sources`], in its order.
    Mapped(Sources),
    /// Hooks have run: go on.
    Continue,
    /// The network is connected: become the program.
    Go {
        /// rtnetlink requests.
        network: Vec<Vec<u8>>,
    },
}

/// How many descriptors of each kind the maker hands over.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sources {
    /// Layers' directory.
    pub layers: bool,
    /// Writable directory or, without layers, the whole root.
    pub root: bool,
    /// The container's `/dev`.
    pub dev: bool,
    /// One for each bind, in the plan's order.
    pub binds: u32,
}

/// Child to maker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToMaker {
    /// Mounts are made, the root is not yet entered; sent only when hooks want to know.
    BeforePivot,
    /// Everything is there but the program. Beside it: the root's mount, then the terminal if there is one.
    Ready {
        /// Whether a terminal comes too.
        terminal: bool,
    },
    /// Asks for limits that only the host's root may raise; answered by [`ToChild::Continue`].
    Limits,
    /// It went wrong; the child ends.
    Failed(Failure),
}

/// Sends one message.
pub fn send<T: Serialize>(connection: &Connection, message: &T, fds: &[BorrowedFd<'_>]) -> Outcome<()> {
    connection.send(message, fds).map_err(|error| Failure::new(Step::Setup, error.to_string()))
}

/// Receives one message; the other side's end is a failure.
pub fn receive<T: serde::de::DeserializeOwned>(connection: &mut Connection) -> Outcome<(T, Vec<OwnedFd>)> {
    match connection.receive().at(Step::Setup, "read from the other side of the start")? {
        Some(message) => Ok(message),
        None => Err(Failure::new(Step::Setup, "the other side of the start has ended")),
    }
}
