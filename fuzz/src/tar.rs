//! The strict reader of archives, beside the `tar` crate's: what ours accepts, both see alike (threats.md, V10).

use rorqual_snapshot::{
    limits::PATH_MAX,
    tar::{Entry, EntryKind, Reader},
};
use std::io::{self, BufRead, Read};

const BLOCK: usize = 512;

pub(crate) fn run(input: &[u8]) {
    check(input);
    check(&repaired(input));
}

/// The same with right checksums and a last block that is whole: what a fuzzer would take long to find out.
pub(crate) fn repaired(input: &[u8]) -> Vec<u8> {
    let mut archive = input.to_vec();
    archive.resize(input.len().next_multiple_of(BLOCK), 0);
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

fn check(archive: &[u8]) {
    let ours = read(archive, archive.len());
    assert_eq!(ours, read(Pieces { rest: archive, turn: 0 }, archive.len()), "the pieces it comes in matter");
    let Some(ours) = ours else { return };
    assert!(ours.len() <= archive.len() / BLOCK, "{} entries", ours.len());
    for (entry, _) in &ours {
        check_entry(entry);
    }
    if has_lines_in_records(archive) {
        // The other reader looks for the ends of lines, not at lengths.
        return;
    }
    match theirs(archive) {
        Ok(theirs) => assert_eq!(ours.iter().map(seen).collect::<Vec<_>>(), theirs, "two readers see two archives"),
        // Ours also takes the sums of old writers, of signed bytes, and empty fields for zero, as GNU tar does.
        Err(error) if ["checksum mismatch", "numeric field"].iter().any(|it| error.to_string().contains(it)) => {}
        Err(error) => panic!("ours accepts what the other refuses: {error}"),
    }
}

fn check_entry(entry: &Entry) {
    check_path(&entry.path);
    match entry.kind {
        EntryKind::HardLink => {
            check_path(&entry.link);
            assert!(!entry.link.is_empty());
        }
        EntryKind::SymbolicLink => assert!(!entry.link.is_empty() && !entry.link.contains(&0)),
        _ => assert!(entry.link.is_empty()),
    }
    assert!(entry.kind == EntryKind::Directory || !entry.path.is_empty());
    assert!(entry.kind == EntryKind::File || entry.size == 0);
    assert!(entry.mode <= 0o7777 && entry.uid != u32::MAX && entry.gid != u32::MAX);
    assert!(entry.modified.1 < 1_000_000_000);
}

fn check_path(path: &[u8]) {
    assert!(path.len() < PATH_MAX && !path.contains(&0));
    assert!(path.is_empty() || path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
}

/// Entries with their data, read to the end of the archive.
fn read(archive: impl BufRead, length: usize) -> Option<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(archive);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let mut data = Vec::new();
        loop {
            let bytes = reader.fill_data().ok()?;
            if bytes.is_empty() {
                break;
            }
            data.extend_from_slice(bytes);
            let length = bytes.len();
            reader.consume_data(length);
        }
        assert_eq!(data.len() as u64, entry.size);
        entries.push((entry, data));
    }
    assert_eq!(reader.entries(), entries.len() as u64);
    assert_eq!(reader.position(), length as u64, "an archive is read to its last byte");
    Some(entries)
}

/// A reader that has few bytes at a time, at every alignment.
struct Pieces<'a> {
    rest: &'a [u8],
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let length = [1, 511, 3, 512, 7, 1030][self.turn % 6].min(self.rest.len());
        Ok(&self.rest[..length])
    }

    fn consume(&mut self, amount: usize) {
        self.turn += 1;
        self.rest = &self.rest[amount..];
    }
}

/// Whether an extended header has a value of more than one line.
fn has_lines_in_records(archive: &[u8]) -> bool {
    let mut archive = ::tar::Archive::new(archive);
    let Ok(entries) = archive.entries() else { return false };
    entries.raw(true).map_while(Result::ok).any(|mut entry| {
        let kind = entry.header().entry_type();
        let mut data = Vec::new();
        let is_pax = kind.is_pax_local_extensions() || kind.is_pax_global_extensions();
        is_pax && entry.read_to_end(&mut data).is_ok() && !records_are_lines(&data)
    })
}

fn records_are_lines(mut data: &[u8]) -> bool {
    while let Some(space) = data.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&data[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let line = data.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        if length != line {
            return false;
        }
        data = &data[length.unwrap_or_default()..];
    }
    true
}

/// An entry as any reader sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: char,
    path: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    xattrs: Vec<(String, Vec<u8>)>,
    data: Vec<u8>,
}

fn seen((entry, data): &(Entry, Vec<u8>)) -> Seen {
    let kind = match entry.kind {
        EntryKind::File => 'f',
        EntryKind::HardLink => 'h',
        EntryKind::SymbolicLink => 'l',
        EntryKind::CharacterDevice => 'c',
        EntryKind::BlockDevice => 'b',
        EntryKind::Directory => 'd',
        EntryKind::Fifo => 'p',
    };
    Seen {
        kind,
        path: entry.path.clone(),
        link: entry.link.clone(),
        mode: entry.mode,
        owner: (entry.uid.into(), entry.gid.into()),
        xattrs: entry.xattrs.clone(),
        data: data.clone(),
    }
}

fn theirs(archive: &[u8]) -> io::Result<Vec<Seen>> {
    let mut archive = ::tar::Archive::new(archive);
    let mut list = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let path = entry.path_bytes().into_owned();
        let kind = match kind {
            ::tar::EntryType::Regular if path.ends_with(b"/") => 'd',
            ::tar::EntryType::Regular | ::tar::EntryType::Continuous => 'f',
            ::tar::EntryType::Link => 'h',
            ::tar::EntryType::Symlink => 'l',
            ::tar::EntryType::Char => 'c',
            ::tar::EntryType::Block => 'b',
            ::tar::EntryType::Directory => 'd',
            ::tar::EntryType::Fifo => 'p',
            _ => '?',
        };
        let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        let link = match kind {
            'h' => clean(&link),
            'l' => link,
            _ => Vec::new(),
        };
        let mut xattrs = Vec::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions {
                let extension = extension?;
                if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                    xattrs.push((name.to_owned(), extension.value_bytes().to_vec()));
                }
            }
        }
        let header = entry.header();
        let (mode, owner) = (header.mode()? & 0o7777, (header.uid()?, header.gid()?));
        let mut data = Vec::new();
        entry.read_to_end(&mut data)?;
        list.push(Seen { kind, path: clean(&path), link, mode, owner, xattrs, data });
    }
    Ok(list)
}

/// Without empty and `.` parts.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.collect::<Vec<_>>().join(&b'/')
}
