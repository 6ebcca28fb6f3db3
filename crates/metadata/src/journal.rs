//! The journal's files: their format, appending, and reading them back after a crash.
//!
//! A file is a 16-byte header and records; a record is a 40-byte header and the transaction's changes. Each record
//! says up to which sequence number the journal was known to be on the disk when it was written. So a bad record tells
//! a torn tail (nothing later claims that it had been synced: cut) from damage (a later record does: refuse).

use crate::{changes::Changes, limits::TRANSACTION_BYTES_MAX};
use aws_lc_rs::digest::{Context as Hasher, SHA256};
use rorqual_error::{Context, Error, Result};
use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

const FILE_MAGIC: [u8; 8] = *b"RQLJRNL\0";
const FORMAT: u32 = 1;
const FILE_HEADER: usize = 16;
const RECORD_MAGIC: [u8; 8] = *b"\xf1RqRec\x1a\n";
const RECORD_HEADER: usize = 40;

/// One record as read back.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) sequence: u64,
    /// Every record up to this one was on the disk when this one was written.
    synced: u64,
    pub(crate) changes: Changes,
}

/// One file of the journal, open for appending.
#[derive(Clone, Debug)]
pub(crate) struct JournalFile {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

impl JournalFile {
    /// Makes the file of generation `generation`.
    pub(crate) fn create(directory: &Path, generation: u64) -> Result<Self> {
        let path = directory.join(format!("journal.{generation:016x}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("create {}", path.display()))?;
        let mut header = [0; FILE_HEADER];
        header[..8].copy_from_slice(&FILE_MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        file.write_all_at(&header, 0).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { file: Arc::new(file), path, length: FILE_HEADER as u64 })
    }

    /// Appends an encoded record; on failure the file is as before, or the second error says that it is not.
    pub(crate) fn append(&mut self, record: &[u8]) -> Result<(), AppendError> {
        match self.file.write_all_at(record, self.length) {
            Ok(()) => {
                self.length += record.len() as u64;
                Ok(())
            }
            Err(error) => match self.file.set_len(self.length) {
                Ok(()) => Err(AppendError::Clean(error)),
                Err(_) => Err(AppendError::Unknown(error)),
            },
        }
    }
}

/// Why a record was not appended.
pub(crate) enum AppendError {
    /// The file is as it was.
    Clean(std::io::Error),
    /// Part of the record may be there.
    Unknown(std::io::Error),
}

/// The bytes of a record.
pub(crate) fn encode(sequence: u64, synced: u64, changes: &Changes) -> Result<Vec<u8>> {
    let mut bytes = vec![0; RECORD_HEADER];
    changes.encode(&mut bytes);
    let length = bytes.len() - RECORD_HEADER;
    if length > TRANSACTION_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the change is too large: {length} bytes, at most {TRANSACTION_BYTES_MAX}"
        )));
    }
    bytes[..8].copy_from_slice(&RECORD_MAGIC);
    bytes[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&synced.to_le_bytes());
    let sum = checksum(&bytes);
    bytes[32..40].copy_from_slice(&sum);
    Ok(bytes)
}

/// Over the header before the checksum, and the changes.
fn checksum(record: &[u8]) -> [u8; 8] {
    let mut hasher = Hasher::new(&SHA256);
    hasher.update(record.get(..32).unwrap_or_default());
    hasher.update(record.get(RECORD_HEADER..).unwrap_or_default());
    let mut sum = [0; 8];
    sum.copy_from_slice(&hasher.finish().as_ref()[..8]);
    sum
}

/// The record that begins at `bytes`, and its length there.
fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let header: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
    let number = |at: usize| header[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let length = u32::from_le_bytes(*header[8..].first_chunk()?) as usize;
    if header[..8] != RECORD_MAGIC || length > TRANSACTION_BYTES_MAX {
        return None;
    }
    let record = bytes.get(..RECORD_HEADER + length)?;
    if checksum(record) != header[32..40] {
        return None;
    }
    let changes = Changes::decode(&record[RECORD_HEADER..])?;
    Some((Record { sequence: number(16)?, synced: number(24)?, changes }, record.len()))
}

/// What the journal held at open.
pub(crate) struct Replay {
    /// Records after the database's state, in order.
    pub(crate) records: Vec<Record>,
    /// The file to go on with.
    pub(crate) last: Option<JournalFile>,
    /// The generation of the newest file.
    pub(crate) generation: u64,
    /// Older files, whose records are all among `records` or in the database.
    pub(crate) older: Vec<JournalFile>,
}

/// Reads the journal in `directory` where the database holds everything up to `applied`; cuts a torn tail.
pub(crate) fn replay(directory: &Path, applied: u64) -> Result<Replay> {
    let mut reader = Reader { applied, next: None, records: Vec::new(), torn: None };
    let mut files = Vec::new();
    let mut generation = 0;
    for (number, path) in journal_files(directory)? {
        generation = number;
        let file = open(&path)?;
        let good = reader.file(&file, &path)?;
        files.push((JournalFile { file: Arc::new(file), path, length: good }, reader.torn.is_some()));
    }
    // Only now is it known that nothing later contradicts the cut.
    let mut whole = Vec::new();
    for (file, torn) in files {
        if torn {
            tracing::warn!(path = %file.path.display(), length = file.length, "the journal's torn tail was cut");
            file.file.set_len(file.length).with_context(|| format!("cut {}", file.path.display()))?;
        }
        if file.length >= FILE_HEADER as u64 {
            whole.push(file);
        } else {
            std::fs::remove_file(&file.path).with_context(|| format!("remove {}", file.path.display()))?;
        }
    }
    let last = whole.pop();
    Ok(Replay { records: reader.records, last, generation, older: whole })
}

fn journal_files(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let entry = entry.with_context(|| format!("list {}", directory.display()))?;
        let name = entry.file_name();
        let generation = name.to_str().and_then(|name| name.strip_prefix("journal."));
        if let Some(generation) = generation.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            files.push((generation, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).open(path).with_context(|| format!("open {}", path.display()))
}

struct Reader {
    applied: u64,
    /// The sequence number that must come next; `None` before the first record.
    next: Option<u64>,
    records: Vec<Record>,
    /// Where the first bad record stands, if one was met.
    torn: Option<(PathBuf, u64)>,
}

impl Reader {
    /// Reads one file; returns the length of its good part.
    fn file(&mut self, mut file: &File, path: &Path) -> Result<u64> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
        if self.torn.is_some() {
            self.look_for_later(&bytes)?;
            return Ok(0);
        }
        let Some(header) = bytes.first_chunk::<FILE_HEADER>() else {
            // Made by a process that ended before it wrote the header.
            self.torn = Some((path.to_owned(), 0));
            return Ok(0);
        };
        let format = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if header[..8] == FILE_MAGIC && format != FORMAT {
            return Err(Error::internal(format!(
                "{} has format {format}, this version reads {FORMAT}: it was written by another version",
                path.display()
            )));
        }
        if header[..8] != FILE_MAGIC {
            self.torn = Some((path.to_owned(), 0));
            self.look_for_later(&bytes)?;
            return Ok(0);
        }
        let mut at = FILE_HEADER;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some((record, length)) = decode(rest) else {
                self.torn = Some((path.to_owned(), at as u64));
                self.look_for_later(rest)?;
                break;
            };
            self.take(record, path)?;
            at += length;
        }
        Ok(at as u64)
    }

    fn take(&mut self, record: Record, path: &Path) -> Result<()> {
        let gap = match self.next {
            Some(next) => record.sequence != next,
            None => record.sequence > self.applied + 1,
        };
        if gap {
            return Err(Error::internal(format!(
                "{} is damaged: record {} stands where {} should; restore the data root from a backup",
                path.display(),
                record.sequence,
                self.next.unwrap_or(self.applied + 1)
            )));
        }
        self.next = Some(record.sequence + 1);
        if record.sequence > self.applied {
            self.records.push(record);
        }
        Ok(())
    }

    /// Refuses if a good record in `bytes` says that the bad one had been on the disk.
    fn look_for_later(&self, bytes: &[u8]) -> Result<()> {
        let lost = self.next.unwrap_or(self.applied + 1);
        for at in memchr::memmem::find_iter(bytes, &RECORD_MAGIC) {
            let Some((record, _)) = bytes.get(at..).and_then(decode) else { continue };
            if record.sequence > lost && record.synced >= lost {
                let (path, offset) = self.torn.clone().unwrap_or_default();
                return Err(Error::internal(format!(
                    "{} is damaged at byte {offset}: record {lost} had been written to disk and cannot be read; \
                     restore the data root from a backup",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}
