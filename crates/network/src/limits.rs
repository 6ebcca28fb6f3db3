//! Times and sizes of this crate, each with its reason.

use std::{ops::RangeInclusive, time::Duration};

/// How long a released link is left. The kernel removes it by itself with the namespace of its other end, in batches and
/// off everybody's path (5 to 140 ms measured, more under load); what is there after this has a namespace that lives on.
/// Removing one ourselves holds the kernel's link lock for 10 to 30 ms, in the way of every container that starts.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// How long changes of rule sets gather before ours is compared: others reload theirs in many transactions. Well under
/// the second within which ours must be back.
pub(crate) const SETTLE_MS: i64 = 100;

/// The kernel's default of `net.ipv4.ip_local_port_range`, used where it cannot be read.
pub(crate) const DEFAULT_EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// How long a daemon that ends may keep the table from its successor: a killed process closes its sockets last.
pub(crate) const PREDECESSOR: Duration = Duration::from_secs(2);

/// How often the table is asked for meanwhile.
pub(crate) const PREDECESSOR_RETRY: Duration = Duration::from_millis(20);
