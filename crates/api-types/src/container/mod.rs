//! Containers: what a client sends to create one, and what it reads of it.

mod config;
mod host_config;
mod inspect;
mod requests;
mod summary;

pub use config::{Config, CreateRequest, CreateResponse, Healthcheck, NetworkingConfig};
pub use host_config::{
    DeviceMapping, DeviceRequest, HostConfig, LogConfig, Resources, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice,
};
pub use inspect::{
    Address, Descriptor, DescriptorPlatform, GraphDriver, Health, HealthLog, Inspect, MountPoint, NetworkSettings,
    State,
};
pub use requests::{
    ExecConfig, ExecCreated, ExecInspect, ExecProcess, ExecStart, PruneReport, TopResponse, UpdateRequest,
    UpdateResponse, WaitError, WaitResponse,
};
pub use summary::{Port, Summary, SummaryHostConfig, SummaryNetworkSettings};

/// Labels, environment-like maps, options: sorted, as dockerd prints its maps.
pub type StringMap = std::collections::BTreeMap<String, String>;

/// A set written as `{"name": {}}`: `ExposedPorts` and `Volumes`.
pub type NameSet = std::collections::BTreeMap<String, Empty>;

/// The empty object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Empty {}
