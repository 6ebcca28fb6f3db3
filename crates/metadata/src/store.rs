//! The store itself: commits go to the journal and to memory; two background jobs sync and fold.

use crate::{
    Durability,
    changes::{Changes, Overlay},
    failpoint,
    journal::{self, AppendError, JournalFile},
    limits::{CACHE_BYTES, COMPACT_BYTES, COMPACT_FREE_SHARE, FOLD_BYTES, GROUP_DELAY, QUIET, QUIET_FOLD_BYTES},
};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use rorqual_error::{Context, Error, Result};
use std::{
    fmt,
    ops::Bound,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
/// The database's file.
const DATABASE: &str = "records.redb";
/// The layout of keys and values; a newer one is refused.
const FORMAT: u64 = 1;

/// The store of one data root. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Ends the background thread with the last clone.
    _end: Arc<End>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.inner.directory.display())
    }
}

struct Inner {
    directory: PathBuf,
    /// Written to by the one fold; taken whole only to be made smaller.
    database: RwLock<Database>,
    writer: Mutex<Writer>,
    memory: RwLock<Memory>,
    /// Every record up to this one is on the disk.
    synced: AtomicU64,
    /// Held by the one caller that syncs; others then find their work done.
    syncing: Mutex<()>,
    /// Held by the one fold.
    folding: Mutex<()>,
    fold_scheduled: AtomicBool,
    /// The thread of the newest fold.
    folder: Mutex<Option<std::thread::JoinHandle<()>>>,
    signal: Signal,
}

struct Writer {
    journal: JournalFile,
    generation: u64,
    next: u64,
    /// Earlier files with records that may not be on the disk.
    unsynced: Vec<JournalFile>,
    /// Earlier files whose records are not in the database yet.
    unfolded: Vec<PathBuf>,
    /// Why no more commits are taken.
    refused: Option<String>,
}

#[derive(Default)]
struct Memory {
    active: Overlay,
    /// What a fold is writing to the database, up to the sequence number.
    frozen: Option<(Arc<Overlay>, u64)>,
}

#[derive(Default)]
struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    dirty: bool,
    /// Whether something came since the store was last put in order.
    untidy: bool,
    stop: bool,
}

/// What the background thread is to do.
enum Wake {
    Sync,
    Tidy,
    Stop,
}

/// Dropped with the last clone of the store: ends and joins the background threads.
struct End {
    inner: Arc<Inner>,
    syncer: Option<std::thread::JoinHandle<()>>,
}

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.inner.signal.state).stop = true;
        self.inner.signal.changed.notify_all();
        if let Some(syncer) = self.syncer.take() {
            let _ = syncer.join();
        }
        // Only now: the other may have started it.
        if let Some(folder) = lock(&self.inner.folder).take() {
            let _ = folder.join();
        }
        if let Err(error) = self.inner.sync() {
            tracing::warn!(%error, "the last records could not be synced");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the store in `directory` (made if absent), finishing whatever a crash interrupted.
    ///
    /// # Errors
    /// `Conflict` if another process has it open; `Internal` where the journal is damaged before its end.
    pub fn open(directory: &Path) -> Result<Self> {
        let context = || format!("open the store {}", directory.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(context)?;
        let database = open_database(directory).with_context(context)?;
        let applied = applied(&database).with_context(context)?;
        let replay = journal::replay(directory, applied).with_context(context)?;

        let mut active = Overlay::new();
        let mut last = applied;
        for record in replay.records {
            last = record.sequence;
            record.changes.apply(&mut active);
        }
        let (journal, generation) = match replay.last {
            Some(file) => (file, replay.generation),
            None => (JournalFile::create(directory, replay.generation + 1)?, replay.generation + 1),
        };
        sync_directory(directory)?;
        let unfolded = replay.older.iter().map(|file| file.path.clone()).collect();
        let writer = Writer { journal, generation, next: last + 1, unsynced: replay.older, unfolded, refused: None };
        let inner = Arc::new(Inner {
            directory: directory.to_owned(),
            database: RwLock::new(database),
            writer: Mutex::new(writer),
            memory: RwLock::new(Memory { active, frozen: None }),
            synced: AtomicU64::new(applied),
            syncing: Mutex::new(()),
            folding: Mutex::new(()),
            fold_scheduled: AtomicBool::new(false),
            folder: Mutex::new(None),
            signal: Signal {
                state: Mutex::new(SignalState { dirty: true, untidy: true, stop: false }),
                changed: Condvar::new(),
            },
        });
        let shared = inner.clone();
        let syncer = std::thread::Builder::new()
            .name("journal".into())
            .stack_size(128 << 10)
            .spawn(move || work_in_background(&shared))
            .context("start the journal's thread")?;
        Ok(Self { _end: Arc::new(End { inner: inner.clone(), syncer: Some(syncer) }), inner })
    }

    /// Waits until every commit so far survives a power cut.
    pub fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    /// Folds the journal into the database, so that the next open has nothing to replay. Optional: `open` recovers.
    pub fn fold(&self) -> Result<()> {
        self.inner.fold()
    }

    /// As [`Store::fold`], and gives back to the file system what the database does not need. Happens by itself when no
    /// commit has come for a while.
    pub fn tidy(&self) -> Result<()> {
        self.inner.tidy()
    }

    /// Every commit so far is made safe, and later ones are refused.
    pub fn close(&self) -> Result<()> {
        self.inner.tidy()?;
        lock(&self.inner.writer).refused = Some("the store is closed".into());
        Ok(())
    }

    pub(crate) fn commit(&self, changes: Changes, durability: Durability) -> Result<()> {
        let (sequence, length) = self.inner.append(changes)?;
        if durability == Durability::Synced {
            self.inner.sync_up_to(sequence)?;
            failpoint!("metadata.synced")?;
        }
        self.inner.signal.wake(durability == Durability::Grouped);
        if length >= FOLD_BYTES && !self.inner.fold_scheduled.swap(true, Ordering::AcqRel) {
            fold_in_background(&self.inner, false);
        }
        Ok(())
    }

    pub(crate) fn read(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let memory = self.inner.memory.read().unwrap_or_else(PoisonError::into_inner);
        let frozen = memory.frozen.as_ref().and_then(|(overlay, _)| overlay.get(path));
        if let Some(value) = memory.active.get(path).or(frozen) {
            return Ok(value.clone());
        }
        let database = self.inner.database();
        let read = || -> Result<_, redb::Error> {
            let table = database.begin_read()?.open_table(RECORDS)?;
            Ok(table.get(path)?.map(|value| value.value().to_vec()))
        };
        read().context("read a record")
    }

    /// Calls `each` with every record whose path begins with `prefix`, in order.
    pub(crate) fn scan(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let records = {
            let memory = self.inner.memory.read().unwrap_or_else(PoisonError::into_inner);
            let mut records = self.inner.stored(prefix).context("list records")?;
            let frozen = memory.frozen.as_ref().map(|(overlay, _)| overlay.as_ref());
            for overlay in frozen.into_iter().chain([&memory.active]) {
                let range = overlay.range(prefix.to_vec()..).take_while(|(path, _)| path.starts_with(prefix));
                for (path, value) in range {
                    match value {
                        Some(value) => records.insert(path.clone(), value.clone()),
                        None => records.remove(path),
                    };
                }
            }
            records
        };
        records.iter().try_for_each(|(path, value)| each(path, value))
    }

    /// At most `limit` records whose path begins with `prefix` and comes after `after`, in order.
    pub(crate) fn page(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Records> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let memory = self.memory();
        let frozen = memory.frozen.as_ref().map(|(overlay, _)| overlay.as_ref());
        let overlays = || frozen.into_iter().chain([&memory.active]);
        let changed = |overlay| within(overlay, start, prefix).count();
        // Each change in memory hides at most one stored record.
        let stored = limit.saturating_add(overlays().map(changed).sum());
        let mut records = self.inner.stored_page(start, prefix, stored).context("list records")?;
        // Beyond the last stored record that was read, others may stand between those of the overlays.
        let end = if records.len() == stored { records.keys().next_back().cloned() } else { None };
        for overlay in overlays() {
            for (path, value) in within(overlay, start, prefix) {
                match value {
                    _ if end.as_ref().is_some_and(|end| path > end) => break,
                    Some(value) => drop(records.insert(path.clone(), value.clone())),
                    None => drop(records.remove(path)),
                }
            }
        }
        Ok(records.into_iter().take(limit).collect())
    }

    fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.inner.memory.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changes of `overlay` from `start` on whose paths begin with `prefix`.
fn within<'a>(
    overlay: &'a Overlay,
    start: Bound<&'a [u8]>,
    prefix: &'a [u8],
) -> impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)> {
    overlay.range::<[u8], _>((start, Bound::Unbounded)).take_while(move |(path, _)| path.starts_with(prefix))
}

impl Inner {
    fn database(&self) -> RwLockReadGuard<'_, Database> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a record and makes it visible; returns its sequence number and the journal's length.
    fn append(&self, changes: Changes) -> Result<(u64, u64)> {
        let mut writer = lock(&self.writer);
        if let Some(reason) = &writer.refused {
            return Err(Error::unavailable(format!("no change can be stored: {reason}")));
        }
        let sequence = writer.next;
        let record = journal::encode(sequence, self.synced.load(Ordering::Acquire), &changes)?;
        failpoint!("metadata.append")?;
        match writer.journal.append(&record) {
            Ok(()) => {}
            Err(AppendError::Clean(error)) => return Err(error).context("store a change"),
            Err(AppendError::Unknown(error)) => {
                writer.refused = Some(format!("the journal could not be written: {error}"));
                return Err(error).context("store a change");
            }
        }
        let _ = failpoint!("metadata.appended");
        writer.next += 1;
        changes.apply(&mut self.memory.write().unwrap_or_else(PoisonError::into_inner).active);
        Ok((sequence, writer.journal.length))
    }

    fn sync(&self) -> Result<()> {
        let last = lock(&self.writer).next - 1;
        self.sync_up_to(last)
    }

    fn sync_up_to(&self, sequence: u64) -> Result<()> {
        if self.synced.load(Ordering::Acquire) >= sequence {
            return Ok(());
        }
        let _syncing = lock(&self.syncing);
        if self.synced.load(Ordering::Acquire) >= sequence {
            return Ok(());
        }
        let (older, current, last) = {
            let writer = lock(&self.writer);
            if let Some(reason) = &writer.refused {
                return Err(Error::unavailable(format!("no change can be stored: {reason}")));
            }
            (writer.unsynced.clone(), writer.journal.clone(), writer.next - 1)
        };
        for journal in older.iter().chain([&current]) {
            if let Err(error) = journal.file.sync_data() {
                lock(&self.writer).refused = Some(format!("the journal could not be synced: {error}"));
                return Err(error).with_context(|| format!("sync {}", journal.path.display()));
            }
        }
        lock(&self.writer).unsynced.retain(|file| older.iter().all(|synced| synced.path != file.path));
        self.synced.fetch_max(last, Ordering::AcqRel);
        Ok(())
    }

    /// Moves everything committed so far from the journal into the database.
    fn fold(&self) -> Result<()> {
        let _folding = lock(&self.folding);
        let result = self.fold_locked();
        self.fold_scheduled.store(false, Ordering::Release);
        result
    }

    fn tidy(&self) -> Result<()> {
        let _folding = lock(&self.folding);
        let result =
            self.fold_locked().and_then(|()| self.compact().context("give back what the database does not need"));
        self.fold_scheduled.store(false, Ordering::Release);
        result
    }

    fn fold_locked(&self) -> Result<()> {
        // What an earlier fold could not write comes first.
        self.fold_frozen()?;
        if self.memory.read().unwrap_or_else(PoisonError::into_inner).active.is_empty() {
            return Ok(());
        }
        self.rotate()?;
        self.fold_frozen()
    }

    /// Begins a new journal file and sets aside what the old one holds.
    fn rotate(&self) -> Result<()> {
        let generation = lock(&self.writer).generation + 1;
        let journal = JournalFile::create(&self.directory, generation)?;
        sync_directory(&self.directory)?;
        failpoint!("metadata.rotate")?;
        let mut writer = lock(&self.writer);
        let old = std::mem::replace(&mut writer.journal, journal);
        writer.generation = generation;
        writer.unfolded.push(old.path.clone());
        writer.unsynced.push(old);
        let last = writer.next - 1;
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        memory.frozen = Some((Arc::new(std::mem::take(&mut memory.active)), last));
        Ok(())
    }

    fn fold_frozen(&self) -> Result<()> {
        let frozen = self.memory.read().unwrap_or_else(PoisonError::into_inner).frozen.clone();
        let Some((overlay, last)) = frozen else { return Ok(()) };
        self.write_database(&overlay, last).context("fold the journal into the database")?;
        failpoint!("metadata.folded")?;
        self.memory.write().unwrap_or_else(PoisonError::into_inner).frozen = None;
        self.synced.fetch_max(last, Ordering::AcqRel);
        let mut writer = lock(&self.writer);
        let folded = std::mem::take(&mut writer.unfolded);
        writer.unsynced.retain(|file| !folded.contains(&file.path));
        drop(writer);
        for path in folded {
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }

    fn write_database(&self, overlay: &Overlay, last: u64) -> Result<(), redb::Error> {
        let database = self.database();
        let mut transaction = database.begin_write()?;
        // Without it, opening after a kill would walk the whole database.
        transaction.set_quick_repair(true);
        {
            let mut records = transaction.open_table(RECORDS)?;
            for (path, value) in overlay {
                match value {
                    Some(value) => records.insert(path.as_slice(), value.as_slice())?,
                    None => records.remove(path.as_slice())?,
                };
            }
            transaction.open_table(ABOUT)?.insert("applied", last)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Makes the database's file smaller where much of it is free. Nobody reads meanwhile.
    fn compact(&self) -> Result<(), redb::Error> {
        let length = std::fs::metadata(self.directory.join(DATABASE))?.len();
        if length < COMPACT_BYTES {
            return Ok(());
        }
        let used = {
            let database = self.database();
            let stats = database.begin_read()?.open_table(RECORDS)?.stats()?;
            stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes()
        };
        if length - used.min(length) < length / COMPACT_FREE_SHARE {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        database.compact()?;
        Ok(())
    }

    fn stored_page(&self, start: Bound<&[u8]>, prefix: &[u8], limit: usize) -> Result<Records, redb::Error> {
        let mut records = Records::new();
        let database = self.database();
        let table = database.begin_read()?.open_table(RECORDS)?;
        for entry in table.range::<&[u8]>((start, Bound::Unbounded))?.take(limit) {
            let (path, value) = entry?;
            if !path.value().starts_with(prefix) {
                break;
            }
            records.insert(path.value().to_vec(), value.value().to_vec());
        }
        Ok(records)
    }

    fn stored(&self, prefix: &[u8]) -> Result<Records, redb::Error> {
        let mut records = Records::new();
        let database = self.database();
        let table = database.begin_read()?.open_table(RECORDS)?;
        for entry in table.range(prefix..)? {
            let (path, value) = entry?;
            if !path.value().starts_with(prefix) {
                break;
            }
            records.insert(path.value().to_vec(), value.value().to_vec());
        }
        Ok(records)
    }
}

type Records = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;

impl Signal {
    /// Says that a commit came, and whether it is to be synced.
    fn wake(&self, dirty: bool) {
        let mut state = lock(&self.state);
        if !state.untidy || dirty && !state.dirty {
            state.untidy = true;
            state.dirty |= dirty;
            self.changed.notify_one();
        }
    }

    /// Waits for a commit, and then for the group's delay; or for a while in which none comes.
    fn wait(&self) -> Wake {
        let mut state = lock(&self.state);
        while !state.dirty && !state.stop {
            if state.untidy {
                let (waited, quiet) = self.changed.wait_timeout(state, QUIET).unwrap_or_else(PoisonError::into_inner);
                state = waited;
                if quiet.timed_out() && !state.dirty && !state.stop {
                    state.untidy = false;
                    return Wake::Tidy;
                }
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if state.stop {
            return Wake::Stop;
        }
        state = self
            .changed
            .wait_timeout_while(state, GROUP_DELAY, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        state.dirty = false;
        if state.stop { Wake::Stop } else { Wake::Sync }
    }
}

fn work_in_background(inner: &Arc<Inner>) {
    loop {
        match inner.signal.wait() {
            Wake::Sync => {
                if let Err(error) = inner.sync() {
                    tracing::error!(%error, "the journal could not be synced; changes are refused from now on");
                    return;
                }
            }
            Wake::Tidy => {
                let length = lock(&inner.writer).journal.length;
                if length >= QUIET_FOLD_BYTES && !inner.fold_scheduled.swap(true, Ordering::AcqRel) {
                    fold_in_background(inner, true);
                }
            }
            Wake::Stop => return,
        }
    }
}

/// `tidy`: whether there is time to make the database smaller.
fn fold_in_background(inner: &Arc<Inner>, tidy: bool) {
    let shared = inner.clone();
    let fold = move || {
        if let Err(error) = if tidy { shared.tidy() } else { shared.fold() } {
            tracing::warn!(%error, "folding the journal failed; the next commit tries again");
        }
    };
    match std::thread::Builder::new().name("fold".into()).spawn(fold) {
        Ok(thread) => *lock(&inner.folder) = Some(thread),
        Err(error) => {
            inner.fold_scheduled.store(false, Ordering::Release);
            tracing::warn!(%error, "no thread to fold the journal; a later commit tries again");
        }
    }
}

fn open_database(directory: &Path) -> Result<Database> {
    let path = directory.join(DATABASE);
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    if !path.exists() {
        // Made beside its name, so that a crash leaves no half-made database under it.
        let new = directory.join("records.new");
        let _ = std::fs::remove_file(&new);
        let database = builder.create(&new).map_err(open_error)?;
        initialise(&database).context("initialise the database")?;
        drop(database);
        failpoint!("metadata.created")?;
        std::fs::rename(&new, &path).context("put the database in its place")?;
        sync_directory(directory)?;
    }
    builder.open(&path).map_err(open_error)
}

fn open_error(error: redb::DatabaseError) -> Error {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            Error::conflict("another daemon uses this data root (the database is locked)")
        }
        other => Error::internal("open the database").caused_by(other),
    }
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(RECORDS)?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert("format", FORMAT)?;
        about.insert("applied", 0)?;
    }
    transaction.commit()?;
    Ok(())
}

/// The last record that is in the database; checks the format on the way.
fn applied(database: &Database) -> Result<u64> {
    let read = || -> Result<_, redb::Error> {
        let about = database.begin_read()?.open_table(ABOUT)?;
        let number = |name| Ok::<_, redb::Error>(about.get(name)?.map_or(0, |value| value.value()));
        Ok((number("format")?, number("applied")?))
    };
    let (format, applied) = read().context("read the database")?;
    if format != FORMAT {
        return Err(Error::internal(format!(
            "the data root has format {format}, this version reads {FORMAT}: it was written by another version"
        )));
    }
    Ok(applied)
}

fn sync_directory(directory: &Path) -> Result<()> {
    let sync = || std::fs::File::open(directory)?.sync_all();
    sync().with_context(|| format!("sync {}", directory.display()))
}
