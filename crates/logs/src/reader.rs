//! The reading side: tail, since, until and follow over the current file and the rotated ones.

use crate::Stream;
use std::{io, path::Path, sync::Arc};

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only the last so many entries (of both streams, before any other condition, as docker counts them).
    pub tail: Option<u64>,
    /// Only entries not before this time, ns since 1970.
    pub since: Option<i64>,
    /// Only entries not after this time; a follower ends at the first later one.
    pub until: Option<i64>,
    /// Wait for more at the end, until the [`Follow`] handle says that there is no more.
    pub follow: bool,
    /// Entries of standard output.
    pub stdout: bool,
    /// Entries of standard error.
    pub stderr: bool,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the program wrote it.
    pub stream: Stream,
    /// When it was written, ns since 1970.
    pub time: i64,
    /// The text with its newline, unless it was cut.
    pub line: Vec<u8>,
    /// Docker's extra attributes, in the file's order.
    pub attrs: Vec<(String, String)>,
}

impl Entry {
    /// The bytes `docker logs` sends for it: with its time and its attributes before it as asked.
    pub fn render(&self, _timestamps: bool, _details: bool) -> Vec<u8> {
        todo!()
    }
}

/// Reads a container's log. Blocking: use it from a thread of its own.
#[derive(Debug)]
pub struct Reader {}

/// Ends a [`Reader`] from another thread.
#[derive(Clone, Debug)]
pub struct Follow {
    _wake: Arc<std::os::fd::OwnedFd>,
}

impl Follow {
    /// The container has ended: the reader takes what is in the files and stops.
    pub fn finish(&self) {
        todo!()
    }

    /// Nobody listens any more: the reader stops now.
    pub fn cancel(&self) {
        todo!()
    }
}

impl Reader {
    /// Opens the log at `path`; a missing file is an empty log.
    pub fn open(_path: &Path, _query: Query) -> io::Result<Self> {
        todo!()
    }

    /// The handle that ends it.
    pub fn handle(&self) -> Follow {
        todo!()
    }

    /// The next entry; `None` at the end. While following it waits.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        todo!()
    }
}
