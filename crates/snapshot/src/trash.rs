//! Removal in two steps: a rename that is done at once, and a deletion that goes on in the background.

use crate::remove::remove_tree;
use rorqual_error::{Context, Result};
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The directory of things that are going away.
#[derive(Debug)]
pub(crate) struct Trash {
    directory: PathBuf,
    next: AtomicU64,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<OsString>,
    /// Whether a thread works on the queue; it ends when the queue is empty.
    working: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trash {
    /// Opens `directory`, made if absent.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        let context = || format!("open {}", directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).with_context(context)?;
        Ok(Self { directory, next: AtomicU64::new(0), shared: Arc::default() })
    }

    /// Goes on with what an earlier process has left.
    pub(crate) fn resume(&self) -> Result<()> {
        let context = || format!("list {}", self.directory.display());
        for entry in fs::read_dir(&self.directory).with_context(context)? {
            self.enqueue(entry.with_context(context)?.file_name())?;
        }
        Ok(())
    }

    /// Moves `path` here. Absent is fine.
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        loop {
            let name = OsString::from(self.next.fetch_add(1, Ordering::Relaxed).to_string());
            let place = self.directory.join(&name);
            let moved = rustix::fs::renameat_with(
                rustix::fs::CWD,
                path,
                rustix::fs::CWD,
                &place,
                rustix::fs::RenameFlags::NOREPLACE,
            );
            match moved {
                Ok(()) => return self.enqueue(name),
                Err(rustix::io::Errno::EXIST) => {}
                Err(rustix::io::Errno::NOENT) => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("remove {}", path.display())),
            }
        }
    }

    fn enqueue(&self, name: OsString) -> Result<()> {
        let mut state = self.shared.lock();
        state.queue.push_back(name);
        if state.working {
            return Ok(());
        }
        let directory = File::open(&self.directory).with_context(|| format!("open {}", self.directory.display()))?;
        let shared = self.shared.clone();
        let work = move || {
            let directory = directory.into();
            loop {
                let mut state = shared.lock();
                let Some(name) = state.queue.pop_front() else {
                    state.working = false;
                    shared.idle.notify_all();
                    return;
                };
                drop(state);
                if let Err(error) = remove_tree(&directory, name.as_bytes()) {
                    warn(&name, &error.into());
                }
            }
        };
        std::thread::Builder::new().name("trash".into()).spawn(work).context("start the deletion thread")?;
        state.working = true;
        Ok(())
    }

    /// Waits until the queue is empty.
    pub(crate) fn wait(&self) {
        let mut state = self.shared.lock();
        while state.working {
            state = self.shared.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn warn(name: &OsString, error: &io::Error) {
    tracing::warn!(name = %name.display(), %error, "a removed directory could not be deleted; the next start tries again");
}
