//! The limits of log files.

/// A line is cut into entries of this many bytes, as docker's copier does.
pub const PARTIAL_BYTES: usize = 16 * 1024;

/// The writer's batch: entries are written when this much is pending, or when the pipe is drained.
pub const BATCH_BYTES: usize = 96 * 1024;

/// A longer line of the file is not an entry of ours (16 KiB of control characters encode to 96 KiB); it is skipped.
pub const ENTRY_MAX_BYTES: usize = 1 << 20;

/// The reader's block when it searches backwards.
pub const TAIL_BLOCK_BYTES: usize = 64 * 1024;

/// Rotated files a reader looks for; more than anyone configures.
pub const FILES_MAX: u32 = 1000;
