//! The store's constants, each with its reason.

use std::time::Duration;

/// The largest transaction: the limit of a log record in the bad-input policy.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 4 << 20;

/// How long a grouped commit may wait for company before the journal is synced; with the sync itself under 10 ms.
pub(crate) const GROUP_DELAY: Duration = Duration::from_millis(5);

/// The journal length at which it is folded into the database: bounds memory and the time to open.
pub(crate) const FOLD_BYTES: u64 = 4 << 20;

/// redb's page cache: records are small and mostly read once, at start.
pub(crate) const CACHE_BYTES: usize = 1 << 20;
