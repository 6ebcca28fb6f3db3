//! The lines of the rotated files and the current one, oldest first, and the way from one to the next.

use crate::{
    limits::{ENTRY_MAX_BYTES, FILES_MAX, TAIL_BLOCK_BYTES},
    writer::rotated,
};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// Numbers that may be missing in a row before the end of the rotated files: one rotation leaves one gap at a time.
const GAPS_MAX: u32 = 3;

/// What [`Trail::step`] found.
pub(super) enum Step<'a> {
    /// A whole line, without its newline.
    Line(&'a [u8]),
    /// No line, but look again.
    Moved,
    /// Nothing, for now.
    End,
}

/// The files still to be read.
#[derive(Debug)]
pub(super) struct Trail {
    path: PathBuf,
    current: Option<Lines>,
    newer: VecDeque<Lines>,
}

/// One file being read.
#[derive(Debug)]
struct Lines {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// Bytes of the file that were read into `buffer`.
    position: u64,
    buffer: Vec<u8>,
    /// Where the next line begins in `buffer`.
    start: usize,
    /// Bytes from `start` known to hold no newline.
    searched: usize,
    /// Whether the line at hand is too long and being thrown away.
    skipping: bool,
}

impl Trail {
    pub fn open(path: &Path, tail: Option<u64>, since: Option<i64>) -> io::Result<Self> {
        let mut files = open_all(path)?;
        match tail {
            Some(count) => keep_last(&mut files, count)?,
            None => skip_before(&mut files, since),
        }
        let mut newer: VecDeque<Lines> = files.into_iter().rev().collect();
        Ok(Self { path: path.to_owned(), current: newer.pop_front(), newer })
    }

    /// The next line, if there is one. With `follow` also of a file that came after those found at first.
    pub fn step(&mut self, follow: bool) -> io::Result<Step<'_>> {
        // Two looks, because the borrow checker cannot see that the first one's answer is not kept when there is none.
        let found = match &mut self.current {
            Some(lines) => lines.find()?,
            None => None,
        };
        if let Some(range) = found {
            let lines = self.current.as_ref().expect("the line was found in it");
            return Ok(Step::Line(&lines.buffer[range]));
        }
        if let Some(next) = self.newer.pop_front() {
            self.current = Some(next);
            return Ok(Step::Moved);
        }
        if follow && self.advance()? { Ok(Step::Moved) } else { Ok(Step::End) }
    }

    /// Whether a whole line is in memory.
    pub fn is_buffered(&self) -> bool {
        self.current.as_ref().is_some_and(|lines| memchr::memchr(b'\n', &lines.buffer[lines.start..]).is_some())
    }

    /// Whether the file being read has no name any more and there is no new one.
    pub fn is_orphaned(&self) -> bool {
        let unnamed = |lines: &Lines| lines.file.metadata().is_ok_and(|found| found.nlink() == 0);
        self.current.as_ref().is_some_and(unnamed) && matches!(identity_of(&self.path), Ok(None))
    }

    /// At the end of the current file: goes to its successor if it was rotated away, to its beginning if it was cut.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(lines) = &mut self.current else {
            self.current = open_file(&self.path)?;
            return Ok(self.current.is_some());
        };
        match identity_of(&self.path)? {
            // Between the two renames of a rotation there is no current file.
            None => return Ok(false),
            Some(now) if now == lines.identity => return lines.rewind_if_cut(),
            Some(_) => {}
        }
        // Nothing more will be written to it, but something may have been since the last read.
        if lines.fill()? {
            return Ok(true);
        }
        let next = successor(&self.path, lines.identity)?;
        let found = next.is_some();
        self.current = next.or(self.current.take());
        Ok(found)
    }
}

impl Lines {
    fn new(file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        let identity = (found.dev(), found.ino());
        Ok(Self { file, identity, position: 0, buffer: Vec::new(), start: 0, searched: 0, skipping: false })
    }

    fn seek(&mut self, position: u64) -> io::Result<()> {
        self.position = self.file.seek(SeekFrom::Start(position))?;
        Ok(())
    }

    /// The place of the next whole line in the buffer; `None` at the end of the file.
    fn find(&mut self) -> io::Result<Option<std::ops::Range<usize>>> {
        loop {
            let waiting = &self.buffer[self.start..];
            if let Some(length) = memchr::memchr(b'\n', &waiting[self.searched..]).map(|at| at + self.searched) {
                let line = self.start..self.start + length;
                self.start += length + 1;
                self.searched = 0;
                if !std::mem::take(&mut self.skipping) {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = waiting.len();
            if waiting.len() > ENTRY_MAX_BYTES {
                self.skipping = true;
                self.start = self.buffer.len();
                self.searched = 0;
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads a block more; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept + TAIL_BLOCK_BYTES, 0);
        let result = read_some(&mut self.file, &mut self.buffer[kept..]);
        self.buffer.truncate(kept + result.as_ref().map_or(0, |count| *count));
        let count = result?;
        self.position += count as u64;
        Ok(count > 0)
    }

    fn rewind_if_cut(&mut self) -> io::Result<bool> {
        if self.file.metadata()?.len() >= self.position {
            return Ok(false);
        }
        self.buffer.clear();
        (self.start, self.searched, self.skipping) = (0, 0, false);
        self.seek(0)?;
        Ok(true)
    }
}

fn read_some(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn open_file(path: &Path) -> io::Result<Option<Lines>> {
    match File::open(path) {
        Ok(file) => Lines::new(file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity_of(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 { path.to_owned() } else { rotated(path, number) }
}

/// Calls `visit` with the current file and the rotated ones, newest first, each once, until it says that it has seen enough.
///
/// A rotation meanwhile moves files to higher numbers, from the highest down, so that going up never misses one: it shows
/// one twice, or a gap where one has just left. The end is where several numbers in a row are missing.
fn ascend(path: &Path, mut visit: impl FnMut(Lines) -> bool) -> io::Result<()> {
    let mut missing = 0;
    let mut last = None;
    for number in 0..FILES_MAX {
        let Some(lines) = open_file(&numbered(path, number))? else {
            missing += 1;
            if missing > GAPS_MAX {
                break;
            }
            continue;
        };
        missing = 0;
        if last != Some(lines.identity) {
            last = Some(lines.identity);
            if visit(lines) {
                break;
            }
        }
    }
    Ok(())
}

fn open_all(path: &Path) -> io::Result<Vec<Lines>> {
    let mut files = Vec::new();
    ascend(path, |lines| {
        files.push(lines);
        false
    })?;
    Ok(files)
}

/// The file that followed the one with `identity`; the oldest there is when that one is gone.
fn successor(path: &Path, identity: (u64, u64)) -> io::Result<Option<Lines>> {
    let mut newer = None;
    ascend(path, |lines| {
        let found = lines.identity == identity;
        if !found {
            newer = Some(lines);
        }
        found
    })?;
    Ok(newer)
}

/// Drops files (newest first) that were last written before `since`.
fn skip_before(files: &mut Vec<Lines>, since: Option<i64>) {
    let Some(since) = since.and_then(|since| u64::try_from(since).ok()) else { return };
    let since = UNIX_EPOCH + Duration::from_nanos(since);
    let older = |lines: &Lines| lines.file.metadata().and_then(|found| found.modified()).is_ok_and(|at| at < since);
    let kept = files.iter().skip(1).take_while(|lines| !older(lines)).count();
    files.truncate(kept + 1);
}

/// Leaves the files (newest first) that hold the last `count` lines, the oldest of them opened at the first.
fn keep_last(files: &mut Vec<Lines>, count: u64) -> io::Result<()> {
    let mut missing = count;
    for index in 0..files.len() {
        let (position, found) = last_lines(&files[index].file, missing)?;
        files[index].seek(position)?;
        missing -= found;
        if missing == 0 {
            files.truncate(index + 1);
            break;
        }
    }
    Ok(())
}

/// Where the last `count` whole lines of a file begin, and how many of them there are. What stands after the last newline
/// is not whole yet and not counted.
fn last_lines(file: &File, count: u64) -> io::Result<(u64, u64)> {
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    let mut end = file.metadata()?.len();
    // The newline that ends the line before the first one wanted is the (count + 1)th from the end.
    let mut newlines = 0;
    while end > 0 {
        let start = end.saturating_sub(TAIL_BLOCK_BYTES as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        for at in memchr::memrchr_iter(b'\n', part) {
            if newlines == count {
                return Ok((start + at as u64 + 1, count));
            }
            newlines += 1;
        }
        end = start;
    }
    Ok((0, newlines))
}
