//! The crate's constants, each with its reason (threats.md section 6, bad-input policy).

use std::time::Duration;

/// Entries of one archive.
pub const ENTRIES_MAX: u64 = 2_000_000;
/// Bytes of a path, the kernel's own limit.
pub const PATH_MAX: usize = 4096;
/// Bytes of one extended header, and of all that belong to one entry.
pub const EXTENDED_HEADER_MAX: u64 = 1 << 20;
/// From this many bytes on, an archive may not be more than [`EXPANSION_MAX`] times its compressed form.
pub const EXPANSION_FREE_BYTES: u64 = 1 << 30;
/// See [`EXPANSION_FREE_BYTES`].
pub const EXPANSION_MAX: u64 = 1000;
/// Layers below a layer.
pub const LAYERS_MAX: usize = 500;
/// Space that unpacking leaves to the rest of the machine: at least this, or a hundredth of the file system.
pub const FREE_RESERVE_BYTES: u64 = 64 << 20;
/// How many links one path may lead through, the kernel's own limit.
pub(crate) const LINKS_MAX: usize = 40;
/// Directories kept open while unpacking; files of one directory usually stand together.
pub(crate) const OPEN_DIRECTORIES_MAX: usize = 256;
/// Names and attributes held while an index is made: [`ENTRIES_MAX`] entries of an ordinary layer. A layer with more is
/// unpacked, which holds less.
pub(crate) const INDEX_MEMORY_MAX: usize = 400 << 20;
/// Gathered before a part of an index is written; it is written in one pass, front to back.
pub(crate) const INDEX_BUFFER_BYTES: usize = 256 << 10;
/// Unit of work between the threads of a helper: large enough to hide hand-over, small enough for the cache.
pub(crate) const CHUNK_BYTES: usize = 512 << 10;
/// Chunks between two threads: bounds the helper's memory.
pub(crate) const CHUNKS_AHEAD: usize = 4;
/// A helper that says nothing for so long is ended. It reports every [`PROGRESS_BYTES`].
pub(crate) const HELPER_SILENCE_MAX: Duration = Duration::from_secs(300);
/// See [`HELPER_SILENCE_MAX`].
pub(crate) const PROGRESS_BYTES: u64 = 8 << 20;
