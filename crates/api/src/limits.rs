//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Bytes of a JSON body. The largest real create bodies (long environments, hundreds of ports) stay below 1 MiB.
pub const JSON_BODY: usize = 4 << 20;
/// How deep arrays and objects of a JSON body nest; Docker's own types stay below 10.
pub const JSON_DEPTH: usize = 64;
/// Bytes of a request's header lines; `X-Registry-Config` is the only long one.
pub const HEADERS: usize = 64 << 10;
/// Header lines of a request.
pub const HEADER_COUNT: usize = 128;
/// Bytes of path and query; filters with hundreds of values fit.
pub const URL: usize = 16 << 10;
/// How long the head of a request may take from its first byte on, and a new connection until that byte.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// How long a JSON body may pause.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How long an archive on its way in may pause: its producer may be a person's pipe from another machine.
pub const ARCHIVE_DEADLINE: Duration = Duration::from_secs(600);
/// How long a connection may stay without a request.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(3600);
/// Connections of one peer: a process on a unix socket, an address on tcp.
pub const CONNECTIONS_PER_PEER: usize = 256;
/// Bytes between a websocket and a container's streams.
pub(crate) const WEBSOCKET_BUFFER: usize = 64 << 10;
/// Bytes of one websocket message from a client; terminals send a few.
pub(crate) const WEBSOCKET_MESSAGE: usize = 1 << 20;
/// Bytes of input repeated in an error.
pub(crate) const SHOWN: usize = 256;
/// How long the first output of a stream waits for its client to have read the head of the answer.
pub(crate) const SETTLE_DEADLINE: Duration = Duration::from_millis(50);
/// How often it is asked whether it has: no event tells.
pub(crate) const SETTLE_PAUSE: Duration = Duration::from_millis(1);
