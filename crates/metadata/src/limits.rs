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

/// After so long without a commit the store puts itself in order: short enough for a node that was just emptied, long
/// enough that a busy one never does.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

/// The journal length from which a quiet store folds it: a few changes are not worth writing the database.
pub(crate) const QUIET_FOLD_BYTES: u64 = 64 << 10;

/// The database length from which its free pages are given back, and how much of it must be free: pages that were freed
/// are used again, so this is for a node that had many times more.
pub(crate) const COMPACT_BYTES: u64 = 1 << 20;
/// See [`COMPACT_BYTES`].
pub(crate) const COMPACT_FREE_SHARE: u64 = 2;
