//! Limits of the client.

/// Longest error body read from a daemon.
pub(crate) const ERROR_BODY_MAX: usize = 1 << 20;
/// Longest line of a JSON stream: a progress message or an event.
pub(crate) const LINE_MAX: usize = 16 << 20;
/// Longest wait for a TCP connection.
pub(crate) const CONNECT_SECONDS: u64 = 30;
/// Idle connections kept for the next request.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 4;
/// Bytes read from a file or standard input at a time when they are sent as a request's body.
pub(crate) const UPLOAD_CHUNK_BYTES: usize = 64 << 10;
