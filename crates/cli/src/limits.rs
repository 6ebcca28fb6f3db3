//! Limits of the command line.

use std::time::Duration;

/// Bytes of standard input read and sent at a time.
pub(crate) const STDIN_CHUNK_BYTES: usize = 32 << 10;
/// Chunks of standard input that wait for the daemon; reading stops until one is sent.
pub(crate) const STDIN_QUEUE: usize = 4;
/// The width help is wrapped to where no terminal says another.
pub(crate) const HELP_WIDTH: usize = 80;
/// How often the size of a terminal is sent again while a program is not ready to take it.
pub(crate) const RESIZE_TRIES: u32 = 10;
/// The wait before the first of those tries; each next one waits longer by as much.
pub(crate) const RESIZE_WAIT_MS: u64 = 10;
/// Interrupts that `run --sig-proxy=false` lets pass before one ends it.
pub(crate) const INTERRUPTS_HELD: u32 = 2;
/// Longest line of an environment or label file.
pub(crate) const FILE_LINE_MAX: usize = 64 << 10;
/// Most columns of a command in `ps` without `--no-trunc`.
pub(crate) const COMMAND_COLUMNS: usize = 20;
/// Significant digits of the sizes in lists.
pub(crate) const SIZE_DIGITS: usize = 3;
/// How long a credential helper may take: it may ask a person.
pub(crate) const HELPER_DEADLINE: Duration = Duration::from_secs(120);
/// Bytes of a credential helper's answer; a token takes a few kilobytes.
pub(crate) const HELPER_OUTPUT_MAX: u64 = 64 << 10;
/// Largest file that describes a list of manifests: a thousand of them, with their bytes, stay well below.
pub(crate) const LIST_BYTES_MAX: u64 = 16 << 20;
/// How deeply such a file may nest: brackets and indentation together; ours are five levels deep.
pub(crate) const YAML_DEPTH_MAX: usize = 4096;
/// Bytes that a thread hands to a request at once: the cost of the hand-over is small beside copying them.
pub const FEED_CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait: reading goes on while the daemon is busy with the last one.
pub const FEED_CHUNKS: usize = 4;
