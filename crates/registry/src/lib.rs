//! A registry server: the OCI distribution specification 1.1, and what Docker's clients use besides.
//!
//! [`Server`] listens, checks who asks and whether they may, and answers from a storage of blobs and records. Bytes go
//! out as they came in. What is acknowledged survives a power cut. Garbage is collected while clients push.

#![forbid(unsafe_code)]

mod access;
mod blobs;
mod body;
mod cache;
mod call;
mod collect;
mod config;
mod control;
mod dispatch;
mod leases;
pub mod limits;
mod lists;
mod manifests;
mod metrics;
mod name;
mod options;
mod peers;
pub mod range;
mod records;
mod refusal;
mod registry;
mod route;
mod server;
mod storage;
mod uploads;
mod upstream;
mod wire;

pub use collect::Collected;
pub use config::{AccessConfig, Authentication, CollectConfig, Config, ObjectsConfig, ProxyConfig, Tls, TokenConfig};
pub use control::collect;
pub use options::{ADDRESS, Options};
pub use registry::Registry;
pub use server::Server;
