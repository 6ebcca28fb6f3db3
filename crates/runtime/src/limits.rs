//! The limits of this crate, each with its reason.

/// Longest frame of the protocol, bytes: a plan with a seccomp program and a few hundred mounts stays far below.
pub const FRAME_MAX_BYTES: usize = 8 << 20;

/// Output kept for one attached client before the container's output waits for it, bytes (threats.md §6).
pub const ATTACH_BUFFER_MAX_BYTES: usize = 1 << 20;

/// Input kept for a program that does not read, bytes; the client is not read meanwhile.
pub const STDIN_BUFFER_MAX_BYTES: usize = 64 << 10;

/// Longest chunk of input a client may announce, bytes.
pub const STDIN_CHUNK_MAX_BYTES: usize = 1 << 20;

/// Bytes taken from a container's stream at once: the size of a pipe.
pub const READ_BYTES: usize = 64 << 10;

/// Account files (`/etc/passwd`, `/etc/group`) longer than this are refused (threats.md §6).
pub const ACCOUNT_FILE_MAX_BYTES: usize = 1 << 20;

/// Account files with more lines are refused (threats.md §6).
pub const ACCOUNT_FILE_MAX_LINES: usize = 64 << 10;

/// Ended execs remembered for a daemon that is away.
pub const EXEC_HISTORY_MAX: usize = 256;

/// Connections to one shim at a time.
pub const CONNECTIONS_MAX: usize = 256;

/// Symbolic links followed while a mount target is made, as the kernel's own limit.
pub const SYMLINKS_MAX: usize = 40;

/// How long a shim that ends waits for a client that does not take its output.
pub const CLIENT_PATIENCE: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
