//! Lays the files of a tree out and writes the index: superblock, inodes, and the blocks of directories and long links.

use super::{
    format::{self, BLOCK, CHUNK_BYTES, FIRST_INODE, INODE_BYTES, Inode, Layout, Name, SLOT, Super, Type, Xattrs},
    tree::{Content, Directory, Id, Node, ROOT, Tree},
};
use crate::limits::INDEX_BUFFER_BYTES;
use rorqual_error::{Context, Error, Result};
use rustix::io::Errno;
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    ops::Bound::{self, Excluded, Unbounded},
    os::unix::fs::FileExt,
};

/// Why there is no index.
#[derive(Debug)]
pub(super) enum WriteError {
    TooLarge,
    Io(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An index without files, for asking the kernel whether it takes one.
pub(crate) fn empty(out: &File) -> io::Result<()> {
    let root = crate::apply::Attributes::implied(crate::apply::Times::default());
    let tree = Tree::new(&root, usize::MAX).map_err(|_| io::ErrorKind::InvalidInput)?;
    match write(&tree, [0; 16], 0, out) {
        Ok(_) => Ok(()),
        Err(WriteError::Io(error)) => Err(error),
        Err(WriteError::TooLarge) => Err(Errno::FBIG.into()),
    }
}

/// Checks what the helper left before the kernel reads it: the superblock, the root, and that neither file is shorter
/// than is said. What stands behind is the kernel's to bound, as it is with any file system.
///
/// # Errors
/// `Internal`: the helper writes nothing else, unless somebody made it.
pub(crate) fn check(index: &File, archive: &File, uuid: [u8; 16]) -> Result<()> {
    let length = |file: &File| file.metadata().map(|metadata| metadata.len()).context("look at a layer's files");
    let (index_bytes, archive_bytes) = (length(index)?, length(archive)?);
    let mut head = vec![0; FIRST_INODE as usize];
    let mut root = [0; INODE_BYTES as usize];
    let refused = || Error::internal("the unpack helper wrote an index that is none; the layer is not used");
    index.read_exact_at(&mut head, 0).map_err(|_| refused())?;
    if !format::is_ours(&head, uuid, index_bytes, archive_bytes) {
        return Err(refused());
    }
    index.read_exact_at(&mut root, format::root_position(&head)).map_err(|_| refused())?;
    if format::is_directory(&root) { Ok(()) } else { Err(refused()) }
}

/// Writes the index of `tree`, whose data is in an archive of `archive_bytes`; returns its length.
pub(super) fn write(tree: &Tree, uuid: [u8; 16], archive_bytes: u64, out: impl Write) -> Result<u64, WriteError> {
    let plan = Plan::new(tree);
    let blocks = |count: u64| u32::try_from(count).map_err(|_| WriteError::TooLarge);
    let superblock = Super {
        root: plan.number(ROOT),
        inodes: plan.order.len() as u64,
        blocks: blocks(plan.data_block + plan.data_blocks)?,
        archive_blocks: blocks(archive_bytes.div_ceil(BLOCK))?,
        uuid,
    };
    let mut out = Out { inner: BufWriter::with_capacity(INDEX_BUFFER_BYTES, out), position: 0 };
    out.put(&superblock.bytes())?;
    plan.write_inodes(&mut out)?;
    plan.write_data(&mut out)?;
    out.inner.flush()?;
    Ok(out.position)
}

struct Out<W> {
    inner: W,
    position: u64,
}

impl<W: Write> Out<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.inner.write_all(bytes)
    }

    /// Zeros up to `position`, which is at most a block away.
    fn fill(&mut self, position: u64) -> io::Result<()> {
        let missing = (position - self.position) as usize;
        self.put(&[0; BLOCK as usize][..missing])
    }
}

/// Where a file's data stands.
struct Shape {
    layout: Layout,
    size: u64,
    /// Bytes behind the inode.
    tail: u64,
    /// Blocks in the part of data.
    blocks: u64,
}

/// Where everything stands.
struct Plan<'a> {
    tree: &'a Tree,
    /// Files in the order of their inodes: those of a directory stand together, sorted by name.
    order: Vec<Id>,
    /// Where their inodes stand, in slots; 0 is nowhere.
    slots: Vec<u32>,
    /// First block of the part of data.
    data_block: u64,
    data_blocks: u64,
}

impl<'a> Plan<'a> {
    fn new(tree: &'a Tree) -> Self {
        let mut plan = Self { tree, order: Vec::new(), slots: vec![0; tree.len()], data_block: 0, data_blocks: 0 };
        let mut end = plan.place(ROOT, FIRST_INODE);
        let mut open = vec![ROOT];
        while let Some(directory) = open.pop().and_then(|id| tree.directory(id)) {
            let first = open.len();
            for id in directory.children.values().copied() {
                if plan.slots[id as usize] == 0 {
                    end = plan.place(id, end);
                    open.extend(tree.directory(id).map(|_| id));
                }
            }
            open[first..].reverse();
        }
        plan.data_block = end.div_ceil(BLOCK);
        plan
    }

    /// Finds the place of an inode at or after `at`; returns its end.
    fn place(&mut self, id: Id, at: u64) -> u64 {
        let node = self.tree.node(id);
        let (head, shape) = (head(node), self.shape(node));
        let mut at = at.next_multiple_of(SLOT);
        // What is behind the inode must not cross into another block.
        if shape.tail > 0 && at % BLOCK + head + shape.tail > BLOCK {
            at = at.next_multiple_of(BLOCK);
        }
        self.slots[id as usize] = (at / SLOT) as u32;
        self.order.push(id);
        self.data_blocks += shape.blocks;
        match shape.layout {
            Layout::Chunk => at + head.next_multiple_of(CHUNK_BYTES) + CHUNK_BYTES,
            Layout::Plain | Layout::Inline => at + head + shape.tail,
        }
    }

    fn number(&self, id: Id) -> u64 {
        u64::from(self.slots[id as usize])
    }

    fn shape(&self, node: &Node) -> Shape {
        let head = head(node);
        let kept = |size: u64| match size % BLOCK {
            tail if tail > 0 && head + tail <= BLOCK => {
                Shape { layout: Layout::Inline, size, tail, blocks: size / BLOCK }
            }
            _ => Shape { layout: Layout::Plain, size, tail: 0, blocks: size.div_ceil(BLOCK) },
        };
        match &node.content {
            Content::Directory(directory) => {
                kept(format::directory_size(names(ROOT, directory).map(|(name, _)| name.len())))
            }
            Content::Link(target) if (target.len() as u64) < BLOCK => kept(target.len() as u64),
            Content::Link(target) => {
                let size = target.len() as u64;
                Shape { layout: Layout::Plain, size, tail: 0, blocks: size.div_ceil(BLOCK) }
            }
            Content::File { size: 0, .. } | Content::Character(_) | Content::Block(_) | Content::Fifo => {
                Shape { layout: Layout::Plain, size: 0, tail: 0, blocks: 0 }
            }
            Content::File { size, .. } => Shape { layout: Layout::Chunk, size: *size, tail: 0, blocks: 0 },
        }
    }

    fn write_inodes<W: Write>(&self, out: &mut Out<W>) -> io::Result<()> {
        let mut next_block = self.data_block;
        for (at, id) in self.order.iter().enumerate() {
            out.fill(self.number(*id) * SLOT)?;
            let node = self.tree.node(*id);
            let shape = self.shape(node);
            let mut xattrs = Xattrs::default();
            node.xattrs().for_each(|(name, value)| xattrs.add(name, value));
            let data = match &node.content {
                Content::Character(device) | Content::Block(device) => *device,
                Content::File { size, .. } if *size > 0 => format::chunk_format(*size),
                _ if shape.blocks > 0 => next_block as u32,
                _ => 0,
            };
            next_block += shape.blocks;
            let inode = Inode {
                layout: shape.layout,
                xattr_bytes: xattrs.bytes().len() as u64,
                mode: kind(node).mode() | node.mode,
                size: shape.size,
                data,
                number: at as u32 + 1,
                uid: node.uid,
                gid: node.gid,
                seconds: node.seconds,
                nanoseconds: node.nanoseconds,
                links: self.links(node),
            };
            out.put(&inode.bytes())?;
            out.put(xattrs.bytes())?;
            match &node.content {
                Content::File { size, block } if *size > 0 => {
                    out.fill(out.position.next_multiple_of(CHUNK_BYTES))?;
                    out.put(&format::chunk(*block))?;
                }
                _ if shape.tail > 0 => {
                    let data = self.data(*id, node);
                    out.put(&data[data.len() - shape.tail as usize..])?;
                }
                _ => {}
            }
        }
        out.fill(self.data_block * BLOCK)
    }

    fn write_data<W: Write>(&self, out: &mut Out<W>) -> io::Result<()> {
        for id in &self.order {
            let node = self.tree.node(*id);
            let shape = self.shape(node);
            if shape.blocks > 0 {
                let data = self.data(*id, node);
                out.put(&data[..data.len() - shape.tail as usize])?;
                out.fill(out.position.next_multiple_of(BLOCK))?;
            }
        }
        Ok(())
    }

    /// The data of a directory or link.
    fn data(&self, id: Id, node: &Node) -> Vec<u8> {
        let directory = match &node.content {
            Content::Directory(directory) => directory,
            Content::Link(target) => return target.to_vec(),
            _ => return Vec::new(),
        };
        let name = |(name, id)| Name { name, inode: self.number(id), kind: kind(self.tree.node(id)) };
        let names: Vec<Name<'_>> = names(id, directory).map(name).collect();
        format::directory(&names)
    }

    fn links(&self, node: &Node) -> u32 {
        match &node.content {
            Content::Directory(directory) => {
                let below = directory.children.values().filter(|id| self.tree.directory(**id).is_some());
                2 + below.count() as u32
            }
            _ => node.names,
        }
    }
}

/// Bytes of the inode and its attributes.
fn head(node: &Node) -> u64 {
    // Checked when they were set.
    INODE_BYTES + format::xattr_size(node.xattrs()).unwrap_or_default()
}

fn kind(node: &Node) -> Type {
    match node.content {
        Content::Directory(_) => Type::Directory,
        Content::File { .. } => Type::File,
        Content::Link(_) => Type::Link,
        Content::Character(_) => Type::Character,
        Content::Block(_) => Type::Block,
        Content::Fifo => Type::Fifo,
    }
}

/// The names in the directory `id`, `.` and `..` in their places.
fn names(id: Id, directory: &Directory) -> impl Iterator<Item = (&[u8], Id)> {
    type Range = (Bound<&'static [u8]>, Bound<&'static [u8]>);
    let children = |range: Range| directory.children.range::<[u8], Range>(range).map(|(name, id)| (&**name, *id));
    let (dot, dots) = (&b"."[..], &b".."[..]);
    children((Unbounded, Excluded(dot)))
        .chain([(dot, id)])
        .chain(children((Excluded(dot), Excluded(dots))))
        .chain([(dots, directory.parent)])
        .chain(children((Excluded(dots), Unbounded)))
}
