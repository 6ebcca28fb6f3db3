//! The on-disk format of erofs as far as an index uses it: the records, byte by byte, little endian (the kernel's
//! `Documentation/filesystems/erofs.rst`).
//!
//! An index has blocks of 512 bytes, the unit of a tar archive, so that the data of every file begins on a block of the
//! archive, which is the one device besides the index itself. All inodes have the long form; a file is one chunk of the
//! archive; directories and links keep their last, incomplete block behind their inode where it fits.

/// The unit of addresses, of directories and of the archive.
pub(super) const BLOCK: u64 = 512;
/// The unit that inodes are numbered by.
pub(super) const SLOT: u64 = 32;
/// Where the first inode, the root's, stands: after the superblock and the one slot of a device.
pub(super) const FIRST_INODE: u64 = DEVICE_OFFSET + DEVICE_BYTES;
/// The longest name in a directory.
pub(super) const NAME_MAX: usize = 255;
/// Bytes of an inode.
pub(super) const INODE_BYTES: u64 = 64;
/// Bytes of the address of a chunk, and what it is aligned to.
pub(super) const CHUNK_BYTES: u64 = 8;
/// The largest file that is one chunk.
pub(super) const FILE_BYTES_MAX: u64 = BLOCK << CHUNK_BITS_MAX;

const SUPER_OFFSET: u64 = 1024;
const SUPER_BYTES: u64 = 128;
const DEVICE_OFFSET: u64 = SUPER_OFFSET + SUPER_BYTES;
const DEVICE_BYTES: u64 = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// Inodes have their own times, and they are those of the last change.
const COMPATIBLE_MTIME: u32 = 0x2;
const INCOMPATIBLE_CHUNKED_FILE: u32 = 0x4;
const INCOMPATIBLE_DEVICE_TABLE: u32 = 0x8;
/// Chunks have addresses of eight bytes, with the number of a device.
const CHUNK_INDEXES: u32 = 0x20;
const CHUNK_BITS_MAX: u32 = 31;
/// The archive's number among the devices.
const ARCHIVE: u16 = 1;
const ENTRY_BYTES: usize = 12;
const XATTR_HEADER_BYTES: usize = 12;
const XATTR_ENTRY_BYTES: usize = 4;
/// The size of all attributes is kept as a number of 16 bits, in units of four bytes.
const XATTR_BYTES_MAX: usize = XATTR_HEADER_BYTES + 4 * (u16::MAX as usize - 1);
const XATTR_PREFIXES: [(&str, u8); 3] = [("user.", 1), ("trusted.", 4), ("security.", 6)];

/// What the superblock and the device's slot say.
pub(super) struct Super {
    /// The root's number.
    pub(super) root: u64,
    pub(super) inodes: u64,
    /// Blocks of the index.
    pub(super) blocks: u32,
    /// Blocks of the archive.
    pub(super) archive_blocks: u32,
    pub(super) uuid: [u8; 16],
}

/// Whether an index of `length` bytes may be mounted with an archive of `archive` bytes: `head`, all that stands before
/// the first inode, is what this program writes for files of these lengths; the two numbers that it leaves open lie
/// within the index.
pub(super) fn is_ours(head: &[u8], uuid: [u8; 16], length: u64, archive: u64) -> bool {
    let field = |at: u64, bytes: usize| head.get((SUPER_OFFSET + at) as usize..)?.get(..bytes);
    let number = |at: u64, bytes: usize| {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(field(at, bytes)?);
        Some(u64::from_le_bytes(number))
    };
    let (Some(root), Some(inodes), Some(archive_blocks)) = (number(14, 2), number(16, 8), number(SUPER_BYTES + 64, 4))
    else {
        return false;
    };
    let Ok(blocks) = u32::try_from(length.div_ceil(BLOCK)) else { return false };
    let written = Super { root, inodes, blocks, archive_blocks: archive_blocks as u32, uuid };
    let place = root * SLOT;
    head == written.bytes()
        && place >= FIRST_INODE
        && place + INODE_BYTES <= length
        && (1..=length / INODE_BYTES).contains(&inodes)
        && archive_blocks <= archive.div_ceil(BLOCK)
}

/// Where the root's inode stands, as the head of an index says.
pub(super) fn root_position(head: &[u8]) -> u64 {
    let at = SUPER_OFFSET as usize + 14;
    head.get(at..at + 2).map_or(0, |number| u64::from(u16::from_le_bytes([number[0], number[1]])) * SLOT)
}

/// Whether these bytes are the inode of a directory.
pub(super) fn is_directory(inode: &[u8; INODE_BYTES as usize]) -> bool {
    let (format, mode) = (u16::from_le_bytes([inode[0], inode[1]]), u16::from_le_bytes([inode[4], inode[5]]));
    format & 1 == 1 && mode & 0o170_000 == 0o040_000
}

impl Super {
    /// All that stands before the first inode.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; FIRST_INODE as usize];
        let mut set = |at: u64, bytes: &[u8]| {
            let at = (SUPER_OFFSET + at) as usize;
            out[at..at + bytes.len()].copy_from_slice(bytes);
        };
        set(0, &MAGIC.to_le_bytes());
        set(8, &COMPATIBLE_MTIME.to_le_bytes());
        set(12, &[BLOCK.trailing_zeros() as u8]);
        set(14, &(self.root as u16).to_le_bytes());
        set(16, &self.inodes.to_le_bytes());
        set(36, &self.blocks.to_le_bytes());
        set(48, &self.uuid);
        set(80, &(INCOMPATIBLE_CHUNKED_FILE | INCOMPATIBLE_DEVICE_TABLE).to_le_bytes());
        set(86, &ARCHIVE.to_le_bytes());
        set(88, &((DEVICE_OFFSET / DEVICE_BYTES) as u16).to_le_bytes());
        set(SUPER_BYTES + 64, &self.archive_blocks.to_le_bytes());
        out
    }
}

/// Where an inode's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// In blocks of the index.
    Plain,
    /// As `Plain`, the last block behind the inode.
    Inline,
    /// In the archive.
    Chunk,
}

/// One inode.
pub(super) struct Inode {
    pub(super) layout: Layout,
    /// Bytes of its attributes as [`Xattrs`] writes them.
    pub(super) xattr_bytes: u64,
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) size: u64,
    /// First block, device number, or [`chunk_format`].
    pub(super) data: u32,
    /// A number that 32 bits hold, for old programs.
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
    pub(super) links: u32,
}

impl Inode {
    pub(super) fn bytes(&self) -> [u8; INODE_BYTES as usize] {
        const LONG: u16 = 1;
        let layout: u16 = match self.layout {
            Layout::Plain => 0,
            Layout::Inline => 2,
            Layout::Chunk => 4,
        };
        // One for the header, and one for each four bytes.
        let xattrs = match self.xattr_bytes {
            0 => 0,
            bytes => 1 + (bytes - XATTR_HEADER_BYTES as u64) / 4,
        };
        let mut out = [0; INODE_BYTES as usize];
        let mut set = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        set(0, &(LONG | layout << 1).to_le_bytes());
        set(2, &(xattrs as u16).to_le_bytes());
        set(4, &self.mode.to_le_bytes());
        set(8, &self.size.to_le_bytes());
        set(16, &self.data.to_le_bytes());
        set(20, &self.number.to_le_bytes());
        set(24, &self.uid.to_le_bytes());
        set(28, &self.gid.to_le_bytes());
        set(32, &self.seconds.to_le_bytes());
        set(40, &self.nanoseconds.to_le_bytes());
        set(44, &self.links.to_le_bytes());
        out
    }
}

/// How a file of `size` bytes, at most [`FILE_BYTES_MAX`], is one chunk.
pub(super) fn chunk_format(size: u64) -> u32 {
    size.div_ceil(BLOCK).next_power_of_two().trailing_zeros() | CHUNK_INDEXES
}

/// The address of a chunk in the archive.
pub(super) fn chunk(block: u32) -> [u8; CHUNK_BYTES as usize] {
    let mut out = [0; CHUNK_BYTES as usize];
    out[2..4].copy_from_slice(&ARCHIVE.to_le_bytes());
    out[4..].copy_from_slice(&block.to_le_bytes());
    out
}

/// A device's number as an inode holds it; the parts have at most 12 and 20 bits.
pub(super) fn device((major, minor): (u32, u32)) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// Types in modes and in directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    File,
    Directory,
    Character,
    Block,
    Fifo,
    Link,
}

impl Type {
    pub(super) fn mode(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::Character => 0o020_000,
            Self::Directory => 0o040_000,
            Self::Block => 0o060_000,
            Self::File => 0o100_000,
            Self::Link => 0o120_000,
        }
    }

    fn in_directory(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Character => 3,
            Self::Block => 4,
            Self::Fifo => 5,
            Self::Link => 7,
        }
    }
}

/// An entry of a directory.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    pub(super) kind: Type,
}

/// The size of a directory with names of these lengths, in their order.
pub(super) fn directory_size(lengths: impl Iterator<Item = usize>) -> u64 {
    let (mut blocks, mut used) = (0, 0);
    for length in lengths {
        let bytes = (ENTRY_BYTES + length) as u64;
        if used + bytes > BLOCK {
            blocks += 1;
            used = 0;
        }
        used += bytes;
    }
    blocks * BLOCK + used
}

/// A directory's data: every block has entries and then their names, both sorted by the names' bytes.
pub(super) fn directory(names: &[Name<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = names;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = rest.iter().take_while(|name| {
            used += ENTRY_BYTES + name.name.len();
            used <= BLOCK as usize
        });
        let (block, later) = rest.split_at(fits.count());
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        let mut offset = block.len() * ENTRY_BYTES;
        for name in block {
            out.extend_from_slice(&name.inode.to_le_bytes());
            out.extend_from_slice(&(offset as u16).to_le_bytes());
            out.extend_from_slice(&[name.kind.in_directory(), 0]);
            offset += name.name.len();
        }
        block.iter().for_each(|name| out.extend_from_slice(name.name));
        rest = later;
    }
    out
}

/// The attributes of one inode, as they stand behind it.
#[derive(Default)]
pub(super) struct Xattrs(Vec<u8>);

/// Prefix number and rest of an attribute's name; `None` for one that has no place here.
fn prefix(name: &str) -> Option<(u8, &str)> {
    XATTR_PREFIXES.iter().find_map(|(prefix, number)| Some((*number, name.strip_prefix(prefix)?)))
}

/// Whether an attribute can be written; all of a file are at most [`XATTR_BYTES_MAX`] bytes besides.
pub(super) fn is_writable_xattr(name: &str, value: &[u8]) -> bool {
    prefix(name).is_some_and(|(_, rest)| !rest.is_empty())
        && name.len() <= NAME_MAX
        && value.len() <= usize::from(u16::MAX)
}

/// Bytes of these attributes behind an inode.
pub(super) fn xattr_size<'a>(xattrs: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<u64> {
    let mut size = 0;
    for (name, value) in xattrs {
        let (_, rest) = prefix(name)?;
        size += (XATTR_ENTRY_BYTES + rest.len() + value.len()).next_multiple_of(4);
    }
    match size {
        0 => Some(0),
        size => Some(size + XATTR_HEADER_BYTES).filter(|size| *size <= XATTR_BYTES_MAX).map(|size| size as u64),
    }
}

impl Xattrs {
    /// Adds one that [`is_writable_xattr`].
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        let Some((number, rest)) = prefix(name) else { return };
        if self.0.is_empty() {
            self.0.resize(XATTR_HEADER_BYTES, 0);
        }
        self.0.extend_from_slice(&[rest.len() as u8, number]);
        self.0.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.0.extend_from_slice(rest.as_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_chunk_whatever_its_size() {
        let sizes = [1, 512, 513, 1024, 1025, 1 << 30, FILE_BYTES_MAX];
        assert_eq!(sizes.map(|size| chunk_format(size) & !CHUNK_INDEXES), [0, 0, 1, 1, 2, 21, 31]);
    }

    #[test]
    fn a_directory_is_as_long_as_was_said() {
        for length in [1, 7, 244, 245, 255] {
            for count in 1..90 {
                let names: Vec<Vec<u8>> = (0..count).map(|at| vec![b'!' + at as u8; length]).collect();
                let entry = |name| Name { name, inode: 40, kind: Type::File };
                let entries: Vec<Name<'_>> = names.iter().map(|name| entry(name.as_slice())).collect();
                let size = directory_size(names.iter().map(Vec::len));
                assert_eq!(directory(&entries).len() as u64, size, "{count} names of {length} bytes");
            }
        }
    }

    #[test]
    fn attributes_are_as_long_as_was_said() {
        let value = vec![1; 65_535];
        let list = [("user.a", &b""[..]), ("trusted.overlay.opaque", b"y"), ("security.capability", &value)];
        let mut xattrs = Xattrs::default();
        list.iter().for_each(|(name, value)| xattrs.add(name, value));
        assert_eq!(xattr_size(list.into_iter()), Some(xattrs.bytes().len() as u64));
        assert_eq!(xattr_size(std::iter::empty()), Some(0));
        let many = std::iter::repeat_n(list[2], 4);
        assert_eq!(xattr_size(many), None, "what 16 bits cannot count");
        let at = |length: usize| is_writable_xattr(&format!("user.{}", "x".repeat(length)), b"");
        assert_eq!([0, 1, 250, 251].map(at), [false, true, true, false]);
        assert!(is_writable_xattr("user.x", &value) && !is_writable_xattr("user.x", &[0; 65_536]));
    }
}
