//! The node's networks.

use crate::{Config, Endpoint, EndpointRequest, NetworkInfo};
use rorqual_error::Result;
use rorqual_metadata::Store;
use rorqual_types::ContainerId;
use std::{net::IpAddr, os::fd::BorrowedFd};

/// The node's networks. Calls block for microseconds to a few milliseconds; all are safe from several threads.
#[derive(Debug)]
pub struct Networks {}

impl Networks {
    /// Makes the default bridge, its rules and settings, or takes over what an earlier daemon left.
    ///
    /// No container is known yet: call [`Networks::reconcile`] before the first lease.
    pub fn open(config: Config, store: &Store) -> Result<Self> {
        let _ = (config, store);
        todo!()
    }

    /// Makes kernel state equal to `live`, the endpoints of the containers that still run: what is missing is made again,
    /// what is left over is removed. Returns what could not be repaired, by container; the daemon starts all the same.
    pub fn reconcile(&self, live: &[Endpoint]) -> Result<Vec<(ContainerId, rorqual_error::Error)>> {
        let _ = live;
        todo!()
    }

    /// Chooses addresses and host ports for a container that starts. Nothing is changed in the kernel, but host ports are
    /// held from now on. Fails with dockerd's text when a port is taken.
    pub fn lease(&self, request: &EndpointRequest) -> Result<Endpoint> {
        let _ = request;
        todo!()
    }

    /// Makes the link between the bridge and the namespace. Returns the requests the container's init sends, in order and
    /// each acknowledged, to a route netlink socket inside the namespace.
    pub fn connect(&self, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
        let _ = (endpoint, netns);
        todo!()
    }

    /// Opens the published ports.
    pub fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        let _ = endpoint;
        todo!()
    }

    /// Closes a container's ports and gives its addresses back. Harmless where it holds none. The slow part (links,
    /// connection tracking) follows on a thread of our own; failures are logged and mended by the next reconcile.
    pub fn release(&self, container: &ContainerId) {
        let _ = container;
        todo!()
    }

    /// The endpoint a container holds now.
    pub fn endpoint(&self, container: &ContainerId) -> Option<Endpoint> {
        let _ = container;
        todo!()
    }

    /// The networks as `/networks` shows them: bridge, host and none.
    pub fn list(&self) -> Vec<NetworkInfo> {
        todo!()
    }

    /// One network, by name, id, or a prefix of its id.
    pub fn inspect(&self, name_or_id: &str) -> Result<NetworkInfo> {
        let _ = name_or_id;
        todo!()
    }

    /// What `host-gateway` stands for.
    pub fn host_gateways(&self) -> Vec<IpAddr> {
        todo!()
    }

    /// Waits for the background part of what was released; removes what was put into other programs' rule sets if no
    /// container is connected.
    pub fn shutdown(&self) {
        todo!()
    }
}

/// The requests that bring up loopback, all that `--network none` needs.
pub fn loopback_messages() -> Vec<Vec<u8>> {
    todo!()
}
