//! A volume, and the request for one.

use jiff::Timestamp;
use rorqual_types::VolumeName;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// What `volume create` asks for.
#[derive(Clone, Debug, Default)]
pub struct CreateVolume {
    /// The name; `None` or empty makes an anonymous volume with a random one.
    pub name: Option<String>,
    /// The driver; empty is `local`.
    pub driver: String,
    /// `DriverOpts`.
    pub options: BTreeMap<String, String>,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
}

/// A volume as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: VolumeName,
    /// `local`.
    pub driver: String,
    /// Where its data is on the host.
    pub mountpoint: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Made without a name: goes with its container (`--rm`, `rm -v`) and with a plain `prune`.
    pub anonymous: bool,
}
