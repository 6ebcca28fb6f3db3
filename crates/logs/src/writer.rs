//! The writing side: bytes of two streams in, entries out, in batches, with rotation.
//!
//! It never waits for anything but the disk and never fails its caller: a full disk loses entries, not the container.

use crate::{
    Stream,
    encode::{Ended, Stamp, push_entry},
    limits::{BATCH_BYTES, ENTRY_MAX_BYTES, PARTIAL_BYTES, TAIL_BLOCK_BYTES},
    time,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Where and how to write.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The current file; rotated ones are beside it as `PATH.1`, `PATH.2`, ...
    pub path: PathBuf,
    /// Rotate once the file has this many bytes; `None` never.
    pub max_size: Option<u64>,
    /// Files kept, the current one included; 0 is 1.
    pub max_file: u32,
    /// A JSON object to put into every entry (docker's labels, env and tag options), or empty.
    pub attrs: Vec<u8>,
}

/// Writes one container's log.
#[derive(Debug)]
pub struct Writer {
    config: Config,
    file: File,
    /// Bytes in the current file.
    size: u64,
    /// Rotate at this size; moved up when a rotation failed.
    rotate_at: u64,
    /// Entries not yet written.
    batch: Vec<u8>,
    lines: [Line; 2],
    stamp: Stamp,
    failure: Option<io::Error>,
    lost: u64,
}

/// A line whose end has not come.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// Time of the first entry of a line that was cut; all its entries carry it.
    cut_since: Option<i64>,
}

impl Writer {
    /// Opens the file for appending, made with mode 0640. A torn last entry, left by a crash, is cut off.
    pub fn open(config: Config) -> io::Result<Self> {
        let file = open_append(&config.path)?;
        let size = cut_torn_end(&file)?;
        let rotate_at = config.max_size.unwrap_or(u64::MAX).max(1);
        Ok(Self {
            config,
            file,
            size,
            rotate_at,
            batch: Vec::new(),
            lines: Default::default(),
            stamp: Stamp::default(),
            failure: None,
            lost: 0,
        })
    }

    /// Takes what the program wrote. Whole lines become entries; the rest waits for its newline.
    /// Call [`Writer::flush`] when the pipe is drained.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        loop {
            let waiting = self.lines[stream as usize].bytes.len();
            let window = &bytes[..bytes.len().min(PARTIAL_BYTES - waiting)];
            match memchr::memchr(b'\n', window) {
                Some(end) => {
                    self.entry(stream, &bytes[..end], Ended::Newline);
                    bytes = &bytes[end + 1..];
                }
                None if waiting + window.len() == PARTIAL_BYTES => {
                    let length = window.len();
                    self.entry(stream, &bytes[..length], Ended::Cut);
                    bytes = &bytes[length..];
                }
                None => {
                    self.lines[stream as usize].bytes.extend_from_slice(window);
                    return;
                }
            }
        }
    }

    /// The stream has ended: a last line without newline becomes an entry without one.
    pub fn end(&mut self, stream: Stream) {
        if !self.lines[stream as usize].bytes.is_empty() {
            self.entry(stream, b"", Ended::Cut);
        }
        self.lines[stream as usize] = Line::default();
    }

    /// Writes what is pending with one call. Returns the first failure since the last flush; the entries it cost are
    /// counted in [`Writer::lost`], and the file still ends with a whole entry.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_batch();
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Gives memory back; for a container that has gone quiet. Pending bytes are kept.
    pub fn shrink(&mut self) {
        self.batch.shrink_to_fit();
        self.lines.iter_mut().for_each(|line| line.bytes.shrink_to_fit());
    }

    /// Entries that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// One entry: what waited of the line, and `tail`.
    fn entry(&mut self, stream: Stream, tail: &[u8], ended: Ended) {
        self.rotate_if_full();
        let line = &mut self.lines[stream as usize];
        let nanos = line.cut_since.unwrap_or_else(time::now);
        let whole = if line.bytes.is_empty() {
            tail
        } else {
            line.bytes.extend_from_slice(tail);
            &line.bytes
        };
        push_entry(&mut self.batch, &mut self.stamp, whole, ended, stream, &self.config.attrs, nanos);
        line.bytes.clear();
        line.cut_since = (ended == Ended::Cut).then_some(nanos);
        if self.batch.len() >= BATCH_BYTES {
            self.write_batch();
        }
    }

    fn write_batch(&mut self) {
        let mut done = 0;
        while done < self.batch.len() {
            match self.file.write(&self.batch[done..]) {
                Ok(0) => return self.give_up(done, io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.give_up(done, error),
            }
        }
        self.size += done as u64;
        self.batch.clear();
    }

    /// Drops the batch after a failure at `done`, leaving whole entries in the file.
    fn give_up(&mut self, done: usize, error: io::Error) {
        let kept = memchr::memrchr(b'\n', &self.batch[..done]).map_or(0, |end| end + 1);
        if kept < done {
            // Should even this fail, a torn entry is left in the middle; readers skip it.
            let _ = self.file.set_len(self.size + kept as u64);
        }
        self.size += kept as u64;
        self.lost += memchr::memchr_iter(b'\n', &self.batch[kept..]).count() as u64;
        self.batch.clear();
        self.failure.get_or_insert(error);
    }

    /// As docker, looks before an entry whether the file is full already; so a file exceeds its size by one entry.
    fn rotate_if_full(&mut self) {
        if self.size + self.batch.len() as u64 >= self.rotate_at {
            self.write_batch();
            if self.size >= self.rotate_at {
                self.rotate();
            }
        }
    }

    fn rotate(&mut self) {
        let limit = self.config.max_size.unwrap_or(u64::MAX).max(1);
        match shift(&self.config.path, self.config.max_file.max(1)).and_then(|()| open_append(&self.config.path)) {
            Ok(file) => {
                self.file = file;
                self.size = 0;
                self.rotate_at = limit;
            }
            Err(error) => {
                // Goes on in the old file, and tries again only after as much again.
                self.rotate_at = self.size.saturating_add(limit);
                self.failure.get_or_insert(error);
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.write_batch();
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

/// `PATH.N`.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Moves each file one number up, the last one out. With one file kept it is removed, not truncated, so that followers
/// see another inode.
fn shift(path: &Path, files: u32) -> io::Result<()> {
    let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    if files == 1 {
        return fs::remove_file(path).or_else(|error| if absent(&error) { Ok(()) } else { Err(error) });
    }
    for number in (1..files - 1).rev() {
        match fs::rename(rotated(path, number), rotated(path, number + 1)) {
            Err(error) if !absent(&error) => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, rotated(path, 1)).or_else(|error| if absent(&error) { Ok(()) } else { Err(error) })
}

/// The length of `file`, after cutting off an entry without newline at its end.
fn cut_torn_end(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut block = [0; 1];
    if size == 0 || (file.read_at(&mut block, size - 1)? == 1 && block[0] == b'\n') {
        return Ok(size);
    }
    let whole = last_newline(file, size)?;
    // A megabyte without newline is no entry of ours: end it instead of searching on.
    let Some(whole) = whole else {
        let mut appender = file;
        appender.write_all(b"\n")?;
        return Ok(size + 1);
    };
    file.set_len(whole)?;
    Ok(whole)
}

/// The end of the last whole line, if one begins within the longest entry before `size`.
fn last_newline(file: &File, size: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    let mut end = size;
    while end > 0 && size - end < ENTRY_MAX_BYTES as u64 {
        let start = end.saturating_sub(TAIL_BLOCK_BYTES as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(Some(start + at as u64 + 1));
        }
        end = start;
    }
    Ok((end == 0).then_some(0))
}

#[cfg(test)]
mod tests;
