//! The files of a layer, held in memory while its archive is read.

use super::{Stop, format};
use crate::apply::Attributes;
use rorqual_error::Error;
use std::collections::BTreeMap;

/// A file's number.
pub(super) type Id = u32;

/// The root directory.
pub(super) const ROOT: Id = 0;

/// What a file costs besides its names and values: itself, and its place in a directory.
const NODE_BYTES: usize = 160;

/// A file of any kind.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names that it has; 0 once it is removed.
    pub(super) names: u32,
    pub(super) mode: u16,
    xattrs: Vec<Xattr>,
}

type Xattr = (Box<str>, Box<[u8]>);

/// What it is.
#[derive(Debug)]
pub(super) enum Content {
    Directory(Box<Directory>),
    /// Data of the archive, from this block on.
    File {
        size: u64,
        block: u32,
    },
    Link(Box<[u8]>),
    Character(u32),
    Block(u32),
    Fifo,
}

/// A directory's own.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) parent: Id,
    /// Its path in the merged tree, free of links.
    pub(super) path: Box<[u8]>,
    pub(super) children: BTreeMap<Box<[u8]>, Id>,
    /// Whether it hides what lower layers have in it.
    pub(super) opaque: bool,
}

impl Node {
    /// A file with what the archive says of it.
    pub(super) fn new(content: Content, attributes: &Attributes<'_>) -> Result<Self, Stop> {
        let (seconds, nanoseconds, mode) = (0, 0, 0);
        let mut node = Self { content, seconds, nanoseconds, uid: 0, gid: 0, names: 0, mode, xattrs: Vec::new() };
        node.set(attributes)?;
        Ok(node)
    }

    /// Sets everything; attributes that it has already and that are not named stay.
    pub(super) fn set(&mut self, attributes: &Attributes<'_>) -> Result<(), Stop> {
        (self.uid, self.gid, self.mode) = (attributes.uid, attributes.gid, attributes.mode as u16 & 0o7777);
        (self.seconds, self.nanoseconds) = (attributes.times.seconds, attributes.times.nanoseconds);
        let takes_user = matches!(self.content, Content::Directory(_) | Content::File { .. });
        for (name, value) in attributes.xattrs.iter() {
            if super::keeps_xattr(name, value, takes_user)? {
                match self.xattrs.iter_mut().find(|(other, _)| **other == **name) {
                    Some((_, old)) => *old = value.as_slice().into(),
                    None => self.xattrs.push((name.as_str().into(), value.as_slice().into())),
                }
            }
        }
        self.check_xattrs()
    }

    fn check_xattrs(&self) -> Result<(), Stop> {
        match format::xattr_size(self.xattrs()) {
            Some(_) => Ok(()),
            None => Err(Stop::Unsuitable("a file with very many attributes")),
        }
    }

    /// All attributes, those that overlay reads among them.
    pub(super) fn xattrs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let opaque = matches!(&self.content, Content::Directory(directory) if directory.opaque);
        let own = self.xattrs.iter().map(|(name, value)| (&**name, &**value));
        let marks = [crate::apply::USER_OPAQUE, crate::apply::TRUSTED_OPAQUE].into_iter().filter(move |_| opaque);
        own.chain(marks.map(|name| (name, &b"y"[..])))
    }

    fn bytes(&self) -> usize {
        let own: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let content = match &self.content {
            Content::Directory(directory) => directory.path.len() + 64,
            Content::Link(target) => target.len(),
            _ => 0,
        };
        NODE_BYTES + own + content
    }
}

/// All files.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// An estimate of what is held, and the most that may be.
    bytes: usize,
    bytes_max: usize,
}

impl Tree {
    /// A tree with only a root, that may take up to `bytes_max`.
    pub(super) fn new(root: &Attributes<'_>, bytes_max: usize) -> Result<Self, Stop> {
        let directory = Directory { parent: ROOT, path: Box::default(), children: BTreeMap::new(), opaque: false };
        let root = Node { names: 1, ..Node::new(Content::Directory(Box::new(directory)), root)? };
        Ok(Self { nodes: vec![root], bytes: 0, bytes_max })
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// What `id` is as a directory.
    pub(super) fn directory(&self, id: Id) -> Option<&Directory> {
        match &self.node(id).content {
            Content::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn directory_mut(&mut self, id: Id) -> Option<&mut Directory> {
        match &mut self.node_mut(id).content {
            Content::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// The path of the directory `id`.
    pub(super) fn path(&self, id: Id) -> &[u8] {
        self.directory(id).map_or(&[], |directory| &directory.path)
    }

    pub(super) fn child(&self, parent: Id, name: &[u8]) -> Option<Id> {
        self.directory(parent)?.children.get(name).copied()
    }

    pub(super) fn is_whiteout(&self, id: Id) -> bool {
        matches!(self.node(id).content, Content::Character(0))
    }

    /// Whether the directory, or one that it is in, hides what lower layers have in it.
    pub(super) fn is_hidden(&self, id: Id) -> bool {
        let mut at = id;
        loop {
            match self.directory(at) {
                Some(directory) if directory.opaque => return true,
                Some(directory) if at != ROOT => at = directory.parent,
                _ => return false,
            }
        }
    }

    /// Hides what lower layers have in the directory, and drops the whiteouts in it, which then hide nothing. What is
    /// below a hidden directory has none, so that no file is looked at twice.
    pub(super) fn hide_lower(&mut self, id: Id) -> Result<(), Stop> {
        let mut open = if self.is_hidden(id) { Vec::new() } else { vec![id] };
        if let Some(directory) = self.directory_mut(id) {
            directory.opaque = true;
        }
        while let Some(at) = open.pop() {
            let Some(directory) = self.directory(at) else { continue };
            let mut gone = Vec::new();
            for (name, child) in &directory.children {
                match &self.node(*child).content {
                    Content::Character(0) => gone.push(name.clone()),
                    Content::Directory(below) if !below.opaque => open.push(*child),
                    _ => {}
                }
            }
            for name in gone {
                self.remove(at, &name);
            }
        }
        self.node(id).check_xattrs()
    }

    /// Makes `node` the file `name`, which must not be there.
    pub(super) fn add(&mut self, parent: Id, name: &[u8], node: Node) -> Result<Id, Stop> {
        let id = Id::try_from(self.nodes.len()).map_err(|_| Stop::Unsuitable("very many files"))?;
        self.bytes += node.bytes();
        self.nodes.push(node);
        self.link(parent, name, id)?;
        Ok(id)
    }

    /// Makes `name`, which must not be there, a name of `id`.
    pub(super) fn link(&mut self, parent: Id, name: &[u8], id: Id) -> Result<(), Stop> {
        if name.len() > format::NAME_MAX {
            return Err(Error::invalid(format!("a name of more than {} bytes", format::NAME_MAX)).into());
        }
        self.bytes += name.len();
        if self.bytes > self.bytes_max {
            return Err(Stop::Unsuitable("names and attributes that take very much memory"));
        }
        self.node_mut(id).names += 1;
        if let Some(directory) = self.directory_mut(parent) {
            directory.children.insert(name.into(), id);
        }
        Ok(())
    }

    /// Sets what an entry says of a directory that is there.
    pub(super) fn set(&mut self, id: Id, attributes: &Attributes<'_>) -> Result<(), Stop> {
        self.bytes += attributes.xattrs.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>();
        self.node_mut(id).set(attributes)
    }

    /// Removes `name` and everything below it; nothing there is fine.
    pub(super) fn remove(&mut self, parent: Id, name: &[u8]) {
        let mut gone: Vec<Id> =
            self.directory_mut(parent).and_then(|it| it.children.remove(name)).into_iter().collect();
        while let Some(id) = gone.pop() {
            self.node_mut(id).names -= 1;
            if let Some(directory) = self.directory_mut(id) {
                gone.extend(std::mem::take(&mut directory.children).into_values());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Times;

    /// A file of one letter takes [`NODE_BYTES`] and the letter.
    fn fits(files: usize, bytes_max: usize) -> bool {
        let attributes = Attributes::implied(Times::default());
        let mut tree = Tree::new(&attributes, bytes_max).unwrap();
        (0..files).all(|number| {
            let file = Node::new(Content::Fifo, &attributes).unwrap();
            match tree.add(ROOT, &[b'a' + number as u8], file) {
                Ok(_) => true,
                Err(Stop::Unsuitable(_)) => false,
                Err(Stop::Refused(error)) => panic!("{error}"),
            }
        })
    }

    #[test]
    fn a_tree_takes_no_more_memory_than_it_may() {
        let bytes = 10 * (NODE_BYTES + 1);
        assert_eq!([bytes - 1, bytes, bytes + 1].map(|bytes_max| fits(10, bytes_max)), [false, true, true]);
        assert!(!fits(11, bytes));
    }

    /// The mark of a directory that hides what is below it is an attribute too.
    #[test]
    fn a_directory_with_all_the_attributes_it_can_have_hides_nothing() {
        let hides = |bytes: usize| {
            let xattrs: Vec<(String, Vec<u8>)> = (0..4)
                .map(|number| (format!("user.{number}"), vec![0; if number < 3 { 65_535 } else { bytes }]))
                .collect();
            let attributes = Attributes { xattrs: xattrs.into(), ..Attributes::implied(Times::default()) };
            let mut tree = Tree::new(&attributes, usize::MAX).unwrap();
            tree.hide_lower(ROOT)
        };
        assert!(hides(65_000).is_ok());
        assert!(matches!(hides(65_500), Err(Stop::Unsuitable(_))));
    }

    #[test]
    fn what_is_removed_has_no_names_left() {
        let attributes = Attributes::implied(Times::default());
        let mut tree = Tree::new(&attributes, usize::MAX).unwrap();
        let directory =
            Directory { parent: ROOT, path: b"d".as_slice().into(), children: BTreeMap::new(), opaque: false };
        let directory = Node::new(Content::Directory(Box::new(directory)), &attributes).unwrap();
        let directory = tree.add(ROOT, b"d", directory).unwrap();
        let file = tree.add(directory, b"f", Node::new(Content::Fifo, &attributes).unwrap()).unwrap();
        tree.link(ROOT, b"g", file).unwrap();
        tree.remove(ROOT, b"d");
        tree.remove(ROOT, b"absent");
        assert_eq!((tree.node(directory).names, tree.node(file).names), (0, 1));
        assert_eq!((tree.child(ROOT, b"d"), tree.child(ROOT, b"g")), (None, Some(file)));
    }
}
