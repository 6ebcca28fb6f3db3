//! `GET /events`.

use crate::{codec::is_zero, container::StringMap};
use serde::{Deserialize, Serialize};

/// Something that happened to an object of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// The action again; containers and images only (API 1.21 and older read it).
    #[serde(skip_serializing_if = "is_zero")]
    pub status: String,
    /// The object again; containers and images only.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: String,
    /// The image of a container.
    #[serde(skip_serializing_if = "is_zero")]
    pub from: String,
    /// `container`, `image`, `volume`, `network`, `daemon`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// As `start` or `exec_create: sh`.
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `local` or `swarm`.
    #[serde(skip_serializing_if = "is_zero")]
    pub scope: String,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "is_zero")]
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano", skip_serializing_if = "is_zero")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Actor {
    /// The object's id or name.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels and facts of the object.
    #[serde(deserialize_with = "crate::null_default")]
    pub attributes: StringMap,
}
