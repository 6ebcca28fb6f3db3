//! Times and sizes of this crate, each with its reason.

use std::{ops::RangeInclusive, time::Duration};

/// How long a released link is left. The kernel removes it by itself with the namespace of its other end, in batches and
/// off everybody's path (5 to 140 ms measured); what is there after this has a namespace that lives on.
pub(crate) const LINGER: Duration = Duration::from_millis(300);

/// Released endpoints that are looked at together, so that a flood of them does not wait for its own end.
pub(crate) const BURY_TOGETHER: usize = 256;

/// How long changes of rule sets gather before ours is compared: others reload theirs in many transactions. Well under
/// the second within which ours must be back.
pub(crate) const SETTLE_MS: i64 = 100;

/// The kernel's default of `net.ipv4.ip_local_port_range`, used where it cannot be read.
pub(crate) const DEFAULT_EPHEMERAL: RangeInclusive<u16> = 32768..=60999;
