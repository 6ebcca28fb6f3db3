//! The Engine API, called from Rust: connections (Unix socket, TCP, TLS), version negotiation, plain and streamed
//! bodies, hijacked connections. It knows no route: callers name paths and read the JSON they asked for.

#![forbid(unsafe_code)]

mod body;
mod client;
mod endpoint;
mod error;
mod frames;
mod limits;
mod request;
mod response;
mod tls;

pub use client::{Builder, Client, Ping};
pub use endpoint::Host;
pub use error::{Error, Result};
pub use frames::{Frame, Frames, Stream};
pub use hyper::Method;
pub use request::Request;
pub use response::{Hijacked, Lines, Response};
pub use tls::TlsFiles;
