//! Sizes of this crate, each with its reason.

/// Directories below directories that are followed: a container may have made any number, and each level holds
/// descriptors open.
pub(crate) const MAX_DEPTH: usize = 256;

/// Bytes asked of one `copy_file_range`.
pub(crate) const COPY_CHUNK: usize = 1 << 30;
