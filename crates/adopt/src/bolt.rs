//! A reader of bolt files, the B+tree store that dockerd and containerd keep records in. It reads what the last committed
//! transaction left, writes nothing, and trusts nothing: pages are checked against the file, against their own bounds, and
//! against each other.
//!
//! A file is pages of one size. A page begins with its number (8 bytes), flags (2), a count of elements (2) and the number
//! of pages that follow it as one (4); numbers are little-endian here. Pages 0 and 1 are meta pages: magic, version, page
//! size, flags (4 bytes each), root bucket (page and sequence, 8 each), page of the free list, end of the used pages,
//! transaction (8 each), and the FNV-1a sum of all that. The valid one of the later transaction counts. Elements of a branch
//! page are offset and length of a key (4 each) and the child's page (8); of a leaf page flags, offset, length of the key,
//! length of the value (4 each); offsets count from the element. A leaf element with flag 1 is a bucket: its value begins
//! with the bucket's root page and sequence, and where the page is 0 the bucket's only page follows in the value.

use crate::limits::{BOLT_BUCKET_BYTES_MAX, BOLT_DEPTH_MAX, BOLT_PAGE_BYTES_MAX};
use rorqual_error::{Context, Error, Result};
use std::{collections::HashSet, fs::File, os::unix::fs::FileExt};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 16;
const META_BYTES: usize = 64;
const ELEMENT_BYTES: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const IS_BUCKET: u32 = 0x01;

/// An open file.
#[derive(Debug)]
pub(crate) struct Bolt {
    file: File,
    meta: Meta,
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    page_size: u64,
    root: u64,
    /// The first page that is not used.
    end: u64,
    transaction: u64,
}

/// A bucket: a map from keys to values and further buckets.
#[derive(Clone, Debug)]
pub(crate) enum Bucket {
    /// In a tree of its own that begins at this page.
    Tree(u64),
    /// In one page within its parent's value.
    Inline(Vec<u8>),
}

/// What stands under a key.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Value(Vec<u8>),
    Bucket(Bucket),
}

/// A walk over one bucket.
struct Walk<'a> {
    bolt: &'a Bolt,
    seen: HashSet<u64>,
    bytes: usize,
    found: Vec<(Vec<u8>, Entry)>,
}

fn damaged(what: &str) -> Error {
    Error::invalid(format!("the bolt file is damaged: {what}"))
}

impl Bolt {
    /// Finds the last committed transaction.
    pub(crate) fn open(file: File) -> Result<Self> {
        let first = meta_at(&file, 0)?;
        // Where the first is torn, the second stands at the page size, which is not known then.
        let sizes = match first {
            Some(meta) => vec![meta.page_size],
            None => (9..=16).map(|bits| 1 << bits).collect(),
        };
        let second =
            sizes.into_iter().map(|size| meta_at(&file, size).map(|meta| meta.filter(|meta| meta.page_size == size)));
        let second = second.collect::<Result<Vec<_>>>()?.into_iter().flatten().next();
        let meta = first.into_iter().chain(second).max_by_key(|meta| meta.transaction);
        let meta = meta.ok_or_else(|| damaged("neither of its meta pages is whole"))?;
        Ok(Self { file, meta })
    }

    /// The bucket that holds all others.
    pub(crate) fn root(&self) -> Bucket {
        Bucket::Tree(self.meta.root)
    }

    /// Everything in a bucket, in the order of its keys.
    pub(crate) fn entries(&self, bucket: &Bucket) -> Result<Vec<(Vec<u8>, Entry)>> {
        let mut walk = Walk { bolt: self, seen: HashSet::new(), bytes: 0, found: Vec::new() };
        match bucket {
            Bucket::Tree(page) => walk.page(*page, 0)?,
            Bucket::Inline(page) => walk.leaf(page)?,
        }
        Ok(walk.found)
    }

    /// The bucket at the end of a path of names below the root.
    pub(crate) fn find(&self, path: &[&str]) -> Result<Option<Bucket>> {
        let mut bucket = self.root();
        for name in path {
            let entries = self.entries(&bucket)?;
            let found = entries.into_iter().find(|(key, _)| key == name.as_bytes());
            let Some((_, Entry::Bucket(inner))) = found else { return Ok(None) };
            bucket = inner;
        }
        Ok(Some(bucket))
    }

    /// One value of a bucket.
    pub(crate) fn value(&self, bucket: &Bucket, name: &str) -> Result<Option<Vec<u8>>> {
        let found = self.entries(bucket)?.into_iter().find(|(key, _)| key == name.as_bytes());
        Ok(match found {
            Some((_, Entry::Value(value))) => Some(value),
            _ => None,
        })
    }

    fn read(&self, number: u64) -> Result<Vec<u8>> {
        if !(2..self.meta.end).contains(&number) {
            return Err(damaged("a page lies outside the file"));
        }
        let at = number.checked_mul(self.meta.page_size).ok_or_else(|| damaged("a page lies outside the file"))?;
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, at).context("read a page of the bolt file")?;
        if u64_at(&header, 0)? != number {
            return Err(damaged("a page has another's number"));
        }
        let length = (u64::from(u32_at(&header, 12)?) + 1).saturating_mul(self.meta.page_size);
        if length > BOLT_PAGE_BYTES_MAX {
            return Err(damaged("a page is too large"));
        }
        let mut page = vec![0; usize::try_from(length).map_err(|_| damaged("a page is too large"))?];
        self.file.read_exact_at(&mut page, at).context("read a page of the bolt file")?;
        Ok(page)
    }
}

impl Walk<'_> {
    fn page(&mut self, number: u64, depth: usize) -> Result<()> {
        if depth > BOLT_DEPTH_MAX || !self.seen.insert(number) {
            return Err(damaged("its pages form no tree"));
        }
        let page = self.bolt.read(number)?;
        self.count(page.len())?;
        match u16_at(&page, 8)? {
            LEAF => self.leaf(&page),
            BRANCH => {
                for index in 0..usize::from(u16_at(&page, 10)?) {
                    self.page(u64_at(&page, HEADER_BYTES + index * ELEMENT_BYTES + 8)?, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(damaged("a page is neither branch nor leaf")),
        }
    }

    fn count(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        if self.bytes > BOLT_BUCKET_BYTES_MAX {
            return Err(damaged("a bucket is too large"));
        }
        Ok(())
    }

    fn leaf(&mut self, page: &[u8]) -> Result<()> {
        if u16_at(page, 8)? != LEAF {
            return Err(damaged("a bucket's page is no leaf"));
        }
        for index in 0..usize::from(u16_at(page, 10)?) {
            let at = HEADER_BYTES + index * ELEMENT_BYTES;
            let flags = u32_at(page, at)?;
            let [offset, key, value] = [4, 8, 12].map(|field| u32_at(page, at + field).map(|length| length as usize));
            let (offset, key, value) = (offset?, key?, value?);
            let (key, value) = (bytes_at(page, at + offset, key)?, bytes_at(page, at + offset + key, value)?);
            // Elements may overlap: what is copied is counted, not only what is there.
            self.count(key.len() + value.len())?;
            let entry =
                if flags & IS_BUCKET == 0 { Entry::Value(value.to_vec()) } else { Entry::Bucket(bucket(value)?) };
            self.found.push((key.to_vec(), entry));
        }
        Ok(())
    }
}

fn bucket(value: &[u8]) -> Result<Bucket> {
    Ok(match u64_at(value, 0)? {
        0 => Bucket::Inline(value.get(16..).unwrap_or_default().to_vec()),
        page => Bucket::Tree(page),
    })
}

/// The meta page at an offset, where it is whole.
fn meta_at(file: &File, at: u64) -> Result<Option<Meta>> {
    let mut page = [0; HEADER_BYTES + META_BYTES];
    match file.read_exact_at(&mut page, at) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other.context("read the bolt file")?,
    }
    let meta = &page[HEADER_BYTES..];
    let whole = u32_at(meta, 0)? == MAGIC && u32_at(meta, 4)? == VERSION && fnv(&meta[..56]) == u64_at(meta, 56)?;
    let page_size = u64::from(u32_at(meta, 8)?);
    if !whole || !page_size.is_power_of_two() || !(512..=65536).contains(&page_size) {
        return Ok(None);
    }
    Ok(Some(Meta { page_size, root: u64_at(meta, 16)?, end: u64_at(meta, 40)?, transaction: u64_at(meta, 48)? }))
}

/// FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn bytes_at(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    let end = at.checked_add(length).ok_or_else(|| damaged("an element lies outside its page"))?;
    bytes.get(at..end).ok_or_else(|| damaged("an element lies outside its page"))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes_at(bytes, at, N)?.try_into().map_err(|_| damaged("an element lies outside its page"))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(array_at(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(array_at(bytes, at)?))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(array_at(bytes, at)?))
}

#[cfg(test)]
mod tests;
