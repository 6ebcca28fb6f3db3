//! The reading side: tail, since, until and follow over the current file and the rotated ones.
//!
//! A reader trusts nothing in the files: what is no entry is skipped, a torn end is left alone until it is whole. While it
//! follows, inotify says that there may be something new and nothing more; what there is, the files say.

mod entry;
mod files;

pub use entry::Entry;

use crate::Stream;
use files::{Step, Trail};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::inotify,
    io::Errno,
};
use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

/// A log that is gone for so long was removed, not rotated.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// How often that is looked at meanwhile.
const ORPHAN_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only the last so many entries (of both streams, before any other condition, as docker counts them).
    pub tail: Option<u64>,
    /// Only entries not before this time, ns since 1970.
    pub since: Option<i64>,
    /// Only entries not after this time; reading ends at the first later one.
    pub until: Option<i64>,
    /// Wait for more at the end, until the [`Follow`] handle says that there is no more.
    pub follow: bool,
    /// Entries of standard output.
    pub stdout: bool,
    /// Entries of standard error.
    pub stderr: bool,
}

/// Reads a container's log. Blocking: use it from a thread of its own.
#[derive(Debug)]
pub struct Reader {
    query: Query,
    trail: Trail,
    watch: Option<Watch>,
    signal: Arc<Signal>,
    orphaned_since: Option<Instant>,
    ended: bool,
}

/// Ends a [`Reader`] from another thread.
#[derive(Clone, Debug)]
pub struct Follow {
    signal: Arc<Signal>,
}

#[derive(Debug)]
struct Signal {
    state: AtomicU8,
    wake: OwnedFd,
}

const FINISH: u8 = 1;
const CANCEL: u8 = 2;

impl Follow {
    /// The container has ended and its log is flushed: the reader takes what is in the files and stops.
    pub fn finish(&self) {
        self.signal.raise(FINISH);
    }

    /// Nobody listens any more: the reader stops now.
    pub fn cancel(&self) {
        self.signal.raise(CANCEL);
    }
}

impl Signal {
    fn raise(&self, state: u8) {
        self.state.fetch_max(state, Ordering::SeqCst);
        // Fails only when the counter is full, and then the reader is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::SeqCst)
    }
}

impl Reader {
    /// Opens the log at `path`; a missing file is an empty log.
    pub fn open(path: &Path, query: Query) -> io::Result<Self> {
        // Watched before the first look, so that no change falls between the two.
        let watch = if query.follow { Some(Watch::new(path)?) } else { None };
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let trail = Trail::open(path, query.tail, query.since)?;
        let signal = Arc::new(Signal { state: AtomicU8::new(0), wake });
        Ok(Self { query, trail, watch, signal, orphaned_since: None, ended: false })
    }

    /// The handle that ends it.
    pub fn handle(&self) -> Follow {
        Follow { signal: Arc::clone(&self.signal) }
    }

    /// The next entry; `None` at the end, for good. While following it waits.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        while !self.ended {
            match self.step()? {
                Some(entry) if self.query.until.is_some_and(|until| entry.time > until) => self.ended = true,
                Some(entry) if self.wants(&entry) => return Ok(Some(entry)),
                Some(_) | None => {}
            }
        }
        Ok(None)
    }

    /// Whether another line is at hand, so that [`Reader::next_entry`] need not go to the files: for callers that gather
    /// entries before they send them on.
    pub fn is_buffered(&self) -> bool {
        self.trail.is_buffered()
    }

    fn wants(&self, entry: &Entry) -> bool {
        let stream = match entry.stream {
            Stream::Stdout => self.query.stdout,
            Stream::Stderr => self.query.stderr,
        };
        stream && self.query.since.is_none_or(|since| entry.time >= since)
    }

    /// An entry, or some progress towards one or the end.
    fn step(&mut self) -> io::Result<Option<Entry>> {
        // Read before the files: what was written before `finish` is then seen.
        let state = self.signal.state();
        if state == CANCEL {
            self.ended = true;
            return Ok(None);
        }
        match self.trail.step(self.query.follow)? {
            Step::Line(line) => return Ok(Entry::parse(line)),
            Step::Moved => {}
            Step::End => self.ended = !self.wait(state)?,
        }
        Ok(None)
    }

    /// Waits for something to happen; false when nothing more can.
    fn wait(&mut self, state: u8) -> io::Result<bool> {
        let Some(watch) = &self.watch else { return Ok(false) };
        if state == FINISH || watch.place.is_gone() {
            return Ok(false);
        }
        // Our descriptor keeps the directory of a removed file alive for inotify, so its end is not told. With one file
        // kept a rotation looks the same, but only for a moment.
        let orphaned = self.trail.is_orphaned();
        self.orphaned_since = self.orphaned_since.or_else(|| Some(Instant::now())).filter(|_| orphaned);
        match self.orphaned_since {
            Some(since) if since.elapsed() >= ORPHAN_GRACE => return Ok(false),
            Some(_) => watch.wait(&self.signal.wake, Some(&ORPHAN_PAUSE))?,
            None => watch.wait(&self.signal.wake, None)?,
        }
        Ok(true)
    }
}

/// Wakes when something happens in the log's directory.
#[derive(Debug)]
struct Watch {
    events: OwnedFd,
    place: Place,
}

/// The log's directory; a removed container takes it along.
#[derive(Debug)]
struct Place(PathBuf);

impl Place {
    fn is_gone(&self) -> bool {
        matches!(self.0.metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl Watch {
    fn new(path: &Path) -> io::Result<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let changes = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&events, directory, changes)?;
        Ok(Self { events, place: Place(directory.to_owned()) })
    }

    fn wait(&self, wake: &OwnedFd, at_most: Option<&Timespec>) -> io::Result<()> {
        let mut ready = [PollFd::new(&self.events, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        match poll(&mut ready, at_most) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        loop {
            match rustix::io::read(&self.events, &mut buffer) {
                Ok((read, _)) if !read.is_empty() => {}
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
