//! Other OCI runtimes, driven by the shim.

use super::{exec::Wanted, process::Process};
use crate::{
    failure::Outcome,
    plan::{Plan, RuntimeKind},
    protocol::{Connection, Failure, Step},
    start::child::Streams,
};
use std::os::fd::OwnedFd;

/// A container another runtime made.
#[derive(Debug)]
pub(super) struct Handle {}

impl Handle {
    pub fn of(plan: &Plan) -> Option<Self> {
        matches!(plan.runtime, RuntimeKind::External { .. }).then_some(Self {})
    }

    pub fn delete(&self) {}

    pub fn exec(&self, _wanted: &Wanted, _streams: Streams) -> Outcome<(i32, Option<OwnedFd>)> {
        Err(Failure::new(Step::Runtime, "not there yet"))
    }
}

pub(super) fn start(_plan: &Plan, _control: &mut Connection) -> Outcome<(Process, Option<OwnedFd>)> {
    Err(Failure::new(Step::Runtime, "not there yet"))
}
