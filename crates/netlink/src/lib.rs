//! Links, addresses, routes, firewall rules and tracked connections, as messages to the kernel.
//!
//! This crate carries messages and decides nothing: what exists, and why, is `network`'s business. Sockets block;
//! the kernel answers every request here within the system call that sends it.
//!
//! - [`message`]: writing and reading the wire format all of netlink shares.
//! - [`socket`]: a socket, its acknowledgements, and dumps.
//! - [`link`], [`address`], [`route`]: `NETLINK_ROUTE`.
//! - [`nft`]: nf_tables, with the expressions we use.
//! - [`conntrack`]: listing and forgetting tracked connections.

#![forbid(unsafe_code)]

pub mod address;
pub mod conntrack;
mod limits;
pub mod link;
pub mod message;
pub mod nft;
pub mod route;
pub mod socket;

pub use message::{Attributes, Message};
pub use socket::{Failure, Protocol, Socket};
