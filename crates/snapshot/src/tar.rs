//! A strict reader of tar archives: one pass, and no archive that two readers could take for two.
//!
//! Reads ustar, pax and GNU long names. Refuses what is malformed, ambiguous or not needed in an image: sizes that
//! disagree, repeated or malformed control fields, sparse files, parts of volumes, and data after the end (R22).

mod header;
mod pax;
#[cfg(test)]
pub(crate) mod tests;

use crate::limits::{ENTRIES_MAX, EXTENDED_HEADER_MAX, PATH_MAX};
use header::{Format, Header};
use pax::Extended;
use rorqual_error::{Context, Error, Result};
use std::io::BufRead;

/// The unit of the format.
pub(crate) const BLOCK: usize = 512;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with the entry's data.
    File,
    /// A second name of the file [`Entry::link`].
    HardLink,
    /// A link to [`Entry::link`].
    SymbolicLink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, relative, without `.`, `..` or repeated slashes; empty for the root.
    pub path: Vec<u8>,
    /// What it makes.
    pub kind: EntryKind,
    /// Target of a symbolic link as written; path of a hard link's file in the form of `path`.
    pub link: Vec<u8>,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Length of the data.
    pub size: u64,
    /// When it was last changed: seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
    /// Device number.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// Reads an archive entry by entry.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    /// Where the next byte of `inner` stands, for messages.
    position: u64,
    entries: u64,
    entries_max: u64,
    /// Data of the current entry that was not read yet.
    remaining: u64,
    /// Filling after it.
    padding: u64,
    /// Whether all filling so far was zeros.
    clean: bool,
    finished: bool,
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::invalid(format!("malformed archive: {what}"))
}

/// At most 128 characters of a path for a message.
pub(crate) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(128).collect()
}

impl<R: BufRead> Reader<R> {
    /// Reads an archive from its first byte.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            position: 0,
            entries: 0,
            entries_max: ENTRIES_MAX,
            remaining: 0,
            padding: 0,
            clean: true,
            finished: false,
        }
    }

    /// How many bytes of the archive were read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many entries were read.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether nothing but zeros filled the blocks up, where that was read.
    pub(crate) fn is_clean(&self) -> bool {
        self.clean
    }

    /// What the archive is read from.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry, or `None` after the last; then the archive has been read to its last byte. What was not read of
    /// the previous entry's data is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if self.finished {
            return Ok(None);
        }
        self.skip_data()?;
        let mut extended = Extended::default();
        loop {
            let at = self.position;
            let Some(block) = self.block()? else {
                if !extended.is_empty() {
                    return Err(malformed("it ends after an extended header"));
                }
                self.finish()?;
                return Ok(None);
            };
            let header = Header::parse(&block).map_err(|error| error_at(error, at))?;
            if header.is_extension() {
                self.extension(&header, &mut extended).map_err(|error| error_at(error, at))?;
                continue;
            }
            self.entries += 1;
            if self.entries > self.entries_max {
                return Err(Error::invalid(format!("the archive has more than {} entries", self.entries_max)));
            }
            let entry = build(&header, extended).map_err(|error| error_at(error, at))?;
            self.remaining = entry.size;
            self.padding = padding(entry.size);
            return Ok(Some(entry));
        }
    }

    /// Data of the current entry that stands ready; empty at its end.
    pub fn fill_data(&mut self) -> Result<&[u8]> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let bytes = self.inner.fill_buf().map_err(read_error)?;
        if bytes.is_empty() {
            return Err(truncated());
        }
        let length = bytes.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        Ok(&bytes[..length])
    }

    /// Says that `length` bytes of [`Reader::fill_data`] were used.
    pub fn consume_data(&mut self, length: usize) {
        self.inner.consume(length);
        self.position += length as u64;
        self.remaining -= length as u64;
    }

    /// The current entry's data whole, if it is at most `limit` bytes.
    pub fn read_data(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.remaining > limit {
            return Err(Error::invalid(format!(
                "an entry of {} bytes where at most {limit} may stand",
                self.remaining
            )));
        }
        let mut data = Vec::with_capacity(self.remaining as usize);
        loop {
            let bytes = self.fill_data()?;
            if bytes.is_empty() {
                return Ok(data);
            }
            data.extend_from_slice(bytes);
            let length = bytes.len();
            self.consume_data(length);
        }
    }

    fn skip_data(&mut self) -> Result<()> {
        loop {
            let length = self.fill_data()?.len();
            if length == 0 {
                break;
            }
            self.consume_data(length);
        }
        let mut filling = [0; BLOCK];
        let filling = &mut filling[..self.padding as usize];
        self.inner.read_exact(filling).map_err(read_error)?;
        self.position += filling.len() as u64;
        self.clean &= filling.iter().all(|byte| *byte == 0);
        self.padding = 0;
        Ok(())
    }

    /// The next header; `None` at the end mark, or where the archive ends without one.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        if self.inner.fill_buf().map_err(read_error)?.is_empty() {
            return Ok(None);
        }
        self.inner.read_exact(&mut block).map_err(read_error)?;
        self.position += BLOCK as u64;
        Ok(block.iter().any(|byte| *byte != 0).then_some(block))
    }

    /// Nothing but zeros may follow the end mark.
    fn finish(&mut self) -> Result<()> {
        self.finished = true;
        loop {
            let bytes = self.inner.fill_buf().map_err(read_error)?;
            if bytes.is_empty() {
                return Ok(());
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(malformed(format!("data after its end, at byte {}", self.position)));
            }
            let length = bytes.len();
            self.position += length as u64;
            self.inner.consume(length);
        }
    }

    fn extension(&mut self, header: &Header, extended: &mut Extended) -> Result<()> {
        let size = header.size;
        if size > EXTENDED_HEADER_MAX {
            return Err(Error::invalid(format!("an extended header of {size} bytes")));
        }
        self.remaining = size;
        self.padding = padding(size);
        let data = self.read_data(EXTENDED_HEADER_MAX)?;
        self.skip_data()?;
        extended.add(header.kind, &data)
    }
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn truncated() -> Error {
    Error::invalid("unexpected EOF")
}

pub(crate) fn read_error(error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return truncated();
    }
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Err::<(), _>(error).context("read the archive").unwrap_err(),
    }
}

fn error_at(error: Error, at: u64) -> Error {
    let kind = error.kind();
    Err::<(), _>(error).context(format!("archive entry at byte {at}")).unwrap_err().with_kind(kind)
}

/// Puts header and extended headers together.
fn build(header: &Header, extended: Extended) -> Result<Entry> {
    let kind = match header.kind {
        b'0' | 0 | b'7' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::SymbolicLink,
        b'3' => EntryKind::CharacterDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b'S' => return Err(Error::invalid("sparse files are not supported")),
        other => return Err(Error::invalid(format!("unsupported type of entry {:?}", char::from(other)))),
    };
    let path = extended.path.as_deref().unwrap_or(&header.path);
    // Before the format had directories they were files with a slash at the end.
    let kind = match kind {
        EntryKind::File if matches!(header.kind, 0 | b'0') && path.ends_with(b"/") => EntryKind::Directory,
        kind => kind,
    };
    let size = extended.size(header.size)?;
    if kind != EntryKind::File && size != 0 {
        return Err(malformed(format!("{:?} has data but is no file", shown(path))));
    }
    let link = extended.link.as_deref().unwrap_or(&header.link);
    let link = match kind {
        EntryKind::HardLink => clean(link)?,
        EntryKind::SymbolicLink if link.is_empty() => return Err(malformed("a link without a target")),
        EntryKind::SymbolicLink => checked(link)?.to_vec(),
        _ => Vec::new(),
    };
    let entry = Entry {
        path: clean(path)?,
        kind,
        link,
        mode: header.mode & 0o7777,
        uid: extended.uid.unwrap_or(header.uid),
        gid: extended.gid.unwrap_or(header.gid),
        size,
        modified: extended.modified.unwrap_or((header.modified, 0)),
        device: header.device,
        xattrs: extended.xattrs,
    };
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        return Err(malformed("an owner's id is out of range"));
    }
    let needs_name = !matches!(entry.kind, EntryKind::Directory);
    if needs_name && entry.path.is_empty() || entry.kind == EntryKind::HardLink && entry.link.is_empty() {
        return Err(malformed("an entry without a name"));
    }
    if needs_name && path.ends_with(b"/") {
        return Err(malformed(format!("{:?} ends like a directory but is none", shown(path))));
    }
    if header.format == Format::Old && !entry.xattrs.is_empty() {
        return Err(malformed("an extended header before an entry of the old format"));
    }
    Ok(entry)
}

fn checked(path: &[u8]) -> Result<&[u8]> {
    if path.len() >= PATH_MAX {
        return Err(Error::invalid(format!("a path of {} bytes, at most {} may stand", path.len(), PATH_MAX - 1)));
    }
    if path.contains(&0) {
        return Err(malformed("a path with a zero byte"));
    }
    Ok(path)
}

/// The path relative to the root, without empty and `.` parts; one that climbs is refused.
fn clean(path: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    for part in checked(path)?.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Error::invalid(format!("path {:?} leads outside the archive", shown(path)))),
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    Ok(out)
}
