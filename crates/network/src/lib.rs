//! Networks, endpoints, addresses and published ports of one node.
//!
//! What the owner of containers does with it, in order:
//!
//! 1. [`Networks::lease`] when a container starts: addresses, MAC and host ports are chosen. The [`Endpoint`] that comes
//!    back is the whole truth about them; it is stored *in the container's own record*, so a lease and its container are
//!    one transaction and neither can outlive the other.
//! 2. [`Networks::connect`] once the container's network namespace exists; what it returns is sent by the container's
//!    init inside the namespace.
//! 3. [`Networks::publish`]; then the program may run.
//! 4. [`Networks::release`] when the container has ended.
//!
//! [`Networks::reconcile`] at start-up takes the endpoints of the containers that still run and makes the kernel agree
//! with them. Everything the kernel holds (bridge, links, rules, map elements) stays when the daemon ends, so running
//! containers keep their network and their published ports while no daemon runs.
//!
//! Docker's `--link` works on the default bridge as entries of `/etc/hosts`; its environment variables, deprecated since
//! 2015, are not made.

#![forbid(unsafe_code)]

mod background;
mod bridge;
mod config;
mod endpoint;
pub mod files;
mod firewall;
mod foreign;
mod info;
mod limits;
mod mac;
mod mode;
mod networks;
mod pool;
mod port;
mod ports;
mod record;
mod subnet;
mod sysctl;

pub use config::Config;
pub use endpoint::{Endpoint, EndpointRequest};
pub use info::{AddressPool, Driver, NetworkInfo};
pub use mac::MacAddress;
pub use mode::NetworkMode;
pub use networks::{Networks, loopback_messages};
pub use port::{PortRequest, Protocol, PublishedPort};
