//! A reader of erofs for what our indexes are made of, that checks what the kernel takes on trust (the kernel's
//! `Documentation/filesystems/erofs.rst`).

use rorqual_snapshot::tar::EntryKind;
use std::collections::BTreeMap;

const BLOCK: usize = 512;
const SUPER: usize = 1024;
const NAME_MAX: usize = 255;

/// A file of the index.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) modified: (i64, u32),
    pub(crate) links: u32,
    /// A file's data, a link's target, a directory's entries.
    pub(crate) data: Vec<u8>,
}

/// All files by path, the root's being empty. Panics where the index is not whole.
pub(crate) fn walk(index: &[u8], archive: &[u8]) -> BTreeMap<Vec<u8>, Found> {
    let image = Image::open(index, archive);
    let root = u64::from(image.index.u16(SUPER + 14));
    let mut files = BTreeMap::new();
    let mut names: BTreeMap<u64, u32> = BTreeMap::new();
    let mut open = vec![(Vec::new(), root, root)];
    while let Some((path, number, parent)) = open.pop() {
        let found = image.inode(number);
        let mut directories = 0;
        for (name, below, kind) in image.names(&found) {
            match name.as_slice() {
                b"." => assert_eq!(below, number, "`.` leads elsewhere"),
                b".." => assert_eq!(below, parent, "`..` leads elsewhere"),
                _ => {
                    let path = [path.as_slice(), if path.is_empty() { b"" } else { b"/" }, &name].concat();
                    let count = names.entry(below).or_default();
                    *count += 1;
                    if kind == 2 {
                        directories += 1;
                        assert_eq!(*count, 1, "a directory with two parents");
                        open.push((path, below, number));
                    } else {
                        let found = image.inode(below);
                        assert_eq!(type_in_directory(found.kind), kind, "{path:?} is of two types");
                        files.insert(path, found);
                    }
                }
            }
        }
        assert_eq!(found.links, 2 + directories, "links of a directory");
        let mut found = found;
        found.data = Vec::new();
        files.insert(path, found);
        assert!(files.len() <= archive.len() + 1, "the index does not end");
    }
    let inodes = u64::from_le_bytes(image.index.array(SUPER + 16));
    assert_eq!(names.len() as u64 + 1, inodes, "inodes that nothing leads to");
    for (number, count) in names {
        let found = image.inode(number);
        assert!(found.kind == EntryKind::Directory || found.links == count, "links of a file");
    }
    files
}

fn type_in_directory(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File | EntryKind::HardLink => 1,
        EntryKind::Directory => 2,
        EntryKind::CharacterDevice => 3,
        EntryKind::BlockDevice => 4,
        EntryKind::Fifo => 5,
        EntryKind::SymbolicLink => 7,
    }
}

/// Bytes with numbers in them; reading past the end panics.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("as long as asked for")
    }

    fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }
}

struct Image<'a> {
    index: Bytes<'a>,
    archive: &'a [u8],
}

impl<'a> Image<'a> {
    fn open(index: &'a [u8], archive: &'a [u8]) -> Self {
        let bytes = Bytes(index);
        assert_eq!(bytes.u32(SUPER), 0xe0f5_e1e2, "the magic");
        assert_eq!(1 << index[SUPER + 12], BLOCK, "the size of blocks");
        assert_eq!(bytes.u32(SUPER + 40), 0, "inodes are counted from the beginning");
        assert_eq!(bytes.u32(SUPER + 36) as usize * BLOCK, index.len(), "the length of the index");
        assert_eq!(bytes.u16(SUPER + 86), 1, "one device");
        let device = usize::from(bytes.u16(SUPER + 88)) * 128;
        assert_eq!(bytes.u32(device + 64) as usize, archive.len().div_ceil(BLOCK), "the length of the archive");
        Self { index: bytes, archive }
    }

    fn inode(&self, number: u64) -> Found {
        let at = number as usize * 32;
        let format = self.index.u16(at);
        assert_eq!(format & 1, 1, "inodes have the long form");
        let mode = self.index.u16(at + 4);
        let kind = match mode >> 12 {
            0o01 => EntryKind::Fifo,
            0o02 => EntryKind::CharacterDevice,
            0o04 => EntryKind::Directory,
            0o06 => EntryKind::BlockDevice,
            0o10 => EntryKind::File,
            0o12 => EntryKind::SymbolicLink,
            other => panic!("files of type {other:o}"),
        };
        let size = u64::from_le_bytes(self.index.array(at + 8)) as usize;
        let tail = self.check_xattrs(at + 64, self.index.u16(at + 2));
        let data = match format >> 1 {
            _ if size == 0 => Vec::new(),
            0 => self.blocks(at, size).to_vec(),
            2 => {
                let whole = size / BLOCK * BLOCK;
                let rest = size - whole;
                assert!(rest > 0 && tail % BLOCK + rest <= BLOCK, "a tail across blocks");
                [self.blocks(at, whole), &self.index.0[tail..tail + rest]].concat()
            }
            4 => {
                assert_eq!(kind, EntryKind::File, "data in the archive");
                self.chunk(at, tail, size).to_vec()
            }
            other => panic!("layout {other}"),
        };
        let modified = (i64::from_le_bytes(self.index.array(at + 32)), self.index.u32(at + 40));
        assert!(modified.1 < 1_000_000_000);
        Found {
            kind,
            mode: u32::from(mode & 0o7777),
            owner: (self.index.u32(at + 24), self.index.u32(at + 28)),
            modified,
            links: self.index.u32(at + 44),
            data,
        }
    }

    /// Whole blocks of the index.
    fn blocks(&self, inode: usize, size: usize) -> &'a [u8] {
        if size == 0 {
            return &[];
        }
        let start = self.index.u32(inode + 16) as usize * BLOCK;
        assert!(start + size.next_multiple_of(BLOCK) <= self.index.0.len(), "data past the end");
        &self.index.0[start..start + size]
    }

    /// The one chunk of a file.
    fn chunk(&self, inode: usize, behind: usize, size: usize) -> &'a [u8] {
        let format = self.index.u32(inode + 16);
        assert_eq!(format & !0x1f, 0x20, "a chunk's form");
        assert!(BLOCK << (format & 0x1f) >= size, "a file of several chunks");
        let at = behind.next_multiple_of(8);
        assert_eq!((self.index.u16(at), self.index.u16(at + 2)), (0, 1), "a chunk of the archive");
        let start = self.index.u32(at + 4) as usize * BLOCK;
        &self.archive[start..start + size]
    }

    /// Where the attributes end.
    fn check_xattrs(&self, at: usize, count: u16) -> usize {
        let Some(count) = count.checked_sub(1) else { return at };
        let end = at + 12 + 4 * usize::from(count);
        assert_eq!(self.index.0[at + 4], 0, "shared attributes");
        let mut at = at + 12;
        while at < end {
            let (name, prefix) = (usize::from(self.index.0[at]), self.index.0[at + 1]);
            assert!(name > 0 && [1, 4, 6].contains(&prefix), "an attribute's name");
            at += (4 + name + usize::from(self.index.u16(at + 2))).next_multiple_of(4);
        }
        assert_eq!(at, end, "attributes past their end");
        end
    }

    /// Name, inode and type of each entry of a directory, in order.
    fn names(&self, directory: &Found) -> Vec<(Vec<u8>, u64, u8)> {
        assert_eq!(directory.kind, EntryKind::Directory);
        let mut names: Vec<(Vec<u8>, u64, u8)> = Vec::new();
        for block in directory.data.chunks(BLOCK) {
            let block = Bytes(block);
            let count = usize::from(block.u16(8)) / 12;
            assert!(count > 0 && block.u16(8) % 12 == 0, "the first name's place");
            for entry in 0..count {
                let start = usize::from(block.u16(entry * 12 + 8));
                let end = match entry + 1 == count {
                    false => usize::from(block.u16(entry * 12 + 20)),
                    // The last ends with the directory, or with zeros up to the next block.
                    true => block.0[start..].iter().position(|byte| *byte == 0).map_or(block.0.len(), |at| start + at),
                };
                let name = block.0[start..end].to_vec();
                assert!(
                    (1..=NAME_MAX).contains(&name.len()) && !name.contains(&b'/') && !name.contains(&0),
                    "{name:?}"
                );
                assert!(names.last().is_none_or(|(last, ..)| *last < name), "names out of order");
                names.push((name, u64::from_le_bytes(block.array(entry * 12)), block.0[entry * 12 + 10]));
            }
        }
        assert!(names.iter().any(|(name, ..)| name == b".") && names.iter().any(|(name, ..)| name == b".."));
        names
    }
}
