//! Sizes of this crate, each with its reason.

/// Bytes of a datagram from the kernel we can take: dumps come in pieces of at most 32 KiB.
pub(crate) const RECEIVE_BUFFER: usize = 64 * 1024;

/// Socket buffers, so that a whole rule set goes in one send and its acknowledgements fit (the kernel doubles these).
pub(crate) const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// How often a dump is taken again when objects change under it.
pub(crate) const DUMP_ATTEMPTS: usize = 16;

/// Elements in one message: its list is one attribute, which ends at 64 KiB; an element takes at most 100 bytes.
pub(crate) const ELEMENTS_PER_MESSAGE: usize = 400;
