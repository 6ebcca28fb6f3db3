//! What the entries of an archive make, seen together with the layers below; the same rules as for a directory on disk
//! (`apply`).

use super::{
    Stop, format,
    tree::{Content, Directory, Id, Node, ROOT, Tree},
};
use crate::{
    apply::{
        Attributes, Hides, Lower, Lowers, Times, components, is_allowed_device, join, kind, not_a_directory,
        open_directory, read_link, split,
    },
    limits::{INDEX_MEMORY_MAX, LINKS_MAX, PATH_MAX},
    tar::{Entry, EntryKind, shown},
};
use rorqual_error::{Context, Error};
use rustix::fs::FileType;
use std::collections::BTreeMap;

/// See the module.
pub(super) struct Builder {
    tree: Tree,
    lowers: Lowers,
    /// The path last asked for, as it was asked.
    last: Option<(Vec<u8>, Id)>,
    /// The time of the entry at hand, which directories without one of their own have.
    now: Times,
    begun: bool,
    max_owner_id: u32,
}

/// One step of a walk.
enum Step {
    Into(Id),
    Link(Vec<u8>),
}

impl Builder {
    pub(super) fn new(lowers: Lowers) -> Result<Self, Stop> {
        // Overlay shows the topmost layer's root, whatever the archive says of it.
        let given = lowers.root()?;
        let begun = given.is_some();
        let root = given.unwrap_or_else(|| Attributes::implied(Times::default()));
        let tree = Tree::new(&root, INDEX_MEMORY_MAX)?;
        Ok(Self { tree, lowers, last: None, now: Times::default(), begun, max_owner_id: 0 })
    }

    /// The tree, and the highest id of an owner in it.
    pub(super) fn finish(self) -> (Tree, u32) {
        (self.tree, self.max_owner_id)
    }

    /// Takes in an entry whose data, if any, begins at byte `position` of the archive.
    pub(super) fn entry(&mut self, entry: &Entry, position: u64) -> Result<(), Stop> {
        let attributes = Attributes::of(entry);
        self.now = attributes.times;
        if !std::mem::replace(&mut self.begun, true) {
            self.tree.set(ROOT, &Attributes::implied(self.now))?;
        }
        let Some((parent, name)) = split(&entry.path) else {
            return self.tree.set(ROOT, &attributes);
        };
        let parent = self.directory_at(parent)?;
        match Hides::of(name, entry)? {
            Some(Hides::Everything) => return self.set_opaque(parent),
            Some(Hides::Nothing) => return Ok(()),
            Some(Hides::Name(hidden)) => return self.white_out(parent, hidden),
            None => {}
        }
        self.max_owner_id = self.max_owner_id.max(entry.uid).max(entry.gid);
        let content = match entry.kind {
            EntryKind::Directory => return self.make_directory(parent, name, &attributes),
            EntryKind::HardLink => return self.hard_link(parent, name, entry),
            EntryKind::File => file(entry.size, position)?,
            EntryKind::SymbolicLink => Content::Link(entry.link.as_slice().into()),
            EntryKind::Fifo => Content::Fifo,
            EntryKind::CharacterDevice => Content::Character(device(entry)?),
            EntryKind::BlockDevice => Content::Block(device(entry)?),
        };
        let mut node = Node::new(content, &attributes)?;
        if entry.kind == EntryKind::SymbolicLink {
            node.mode = 0o777;
        }
        self.tree.remove(parent, name);
        self.last = None;
        self.tree.add(parent, name, node)?;
        Ok(())
    }

    /// The directory under `path`, made where it is missing, as the merged tree has it.
    fn directory_at(&mut self, path: &[u8]) -> Result<Id, Stop> {
        if let Some((_, directory)) = self.last.as_ref().filter(|(asked, _)| asked == path) {
            return Ok(*directory);
        }
        let mut at = ROOT;
        let mut rest = components(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                at = self.tree.directory(at).map_or(ROOT, |directory| directory.parent);
                continue;
            }
            match self.step(at, &name)? {
                Step::Into(directory) => at = directory,
                Step::Link(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::invalid(format!("too many links on the way to {:?}", shown(path))).into());
                    }
                    rest.extend(components(&target));
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                }
            }
        }
        self.last = Some((path.to_vec(), at));
        Ok(at)
    }

    fn step(&mut self, at: Id, name: &[u8]) -> Result<Step, Stop> {
        let Some(id) = self.tree.child(at, name) else {
            return self.step_down(at, name);
        };
        match &self.tree.node(id).content {
            Content::Directory(_) => Ok(Step::Into(id)),
            Content::Link(target) => Ok(Step::Link(target.to_vec())),
            Content::Character(0) => {
                // Removed by this archive and now made anew: nothing of the old directory may show.
                self.tree.remove(at, name);
                let made = self.add_directory(at, name, &Attributes::implied(self.now))?;
                self.hide_lower(made)?;
                Ok(Step::Into(made))
            }
            _ => Err(not_a_directory(&join(self.tree.path(at), name)).into()),
        }
    }

    /// A step to what this layer does not have.
    fn step_down(&mut self, at: Id, name: &[u8]) -> Result<Step, Stop> {
        let path = join(self.tree.path(at), name);
        let attributes = match self.lowers.find(&path)? {
            Lower::Missing => Attributes::implied(self.now),
            Lower::Found(parent, stat) => match kind(&stat) {
                FileType::Directory => {
                    let directory = open_directory(&parent, name).context("open a directory of a lower layer")?;
                    Attributes::read(&directory).context("read a directory of a lower layer")?
                }
                FileType::Symlink => return Ok(Step::Link(read_link(&parent, name)?)),
                _ => return Err(not_a_directory(&path).into()),
            },
        };
        Ok(Step::Into(self.add_directory(at, name, &attributes)?))
    }

    fn add_directory(&mut self, parent: Id, name: &[u8], attributes: &Attributes<'_>) -> Result<Id, Stop> {
        let path = join(self.tree.path(parent), name);
        if path.len() >= PATH_MAX {
            return Err(Error::invalid(format!("a path of more than {} bytes", PATH_MAX - 1)).into());
        }
        let directory = Directory { parent, path: path.into(), children: BTreeMap::new(), opaque: false };
        self.tree.add(parent, name, Node::new(Content::Directory(Box::new(directory)), attributes)?)
    }

    fn make_directory(&mut self, parent: Id, name: &[u8], attributes: &Attributes<'_>) -> Result<(), Stop> {
        match self.tree.child(parent, name) {
            Some(id) if self.tree.directory(id).is_some() => self.tree.set(id, attributes),
            Some(_) => {
                self.tree.remove(parent, name);
                self.last = None;
                let made = self.add_directory(parent, name, attributes)?;
                self.hide_lower(made)
            }
            None => self.add_directory(parent, name, attributes).map(drop),
        }
    }

    fn hard_link(&mut self, parent: Id, name: &[u8], entry: &Entry) -> Result<(), Stop> {
        let (target_parent, target) =
            split(&entry.link).ok_or_else(|| Error::invalid("malformed archive: a link to the root"))?;
        if entry.link == entry.path {
            return Err(Error::invalid("malformed archive: a file that is a link to itself").into());
        }
        let target_parent = self.directory_at(target_parent)?;
        let found = self.tree.child(target_parent, target).filter(|id| !self.tree.is_whiteout(*id));
        let Some(id) = found else {
            // Its data would have to be copied, which is what unpacking does.
            return Err(Stop::Unsuitable("a hard link to what this layer does not have"));
        };
        if self.tree.directory(id).is_some() {
            return Err(Error::invalid(format!("a hard link to {:?}, which is no file", shown(&entry.link))).into());
        }
        self.tree.remove(parent, name);
        self.last = None;
        if self.tree.child(target_parent, target) != Some(id) {
            return Err(Error::invalid(format!("a hard link to {:?}, which it replaces", shown(&entry.link))).into());
        }
        self.tree.link(parent, name, id)
    }

    /// Makes `name` disappear from the merged tree.
    fn white_out(&mut self, parent: Id, name: &[u8]) -> Result<(), Stop> {
        self.tree.remove(parent, name);
        self.last = None;
        // Where all below is hidden, the kernel lists a whiteout as a name.
        if self.tree.is_hidden(parent) {
            return Ok(());
        }
        if matches!(self.lowers.find(&join(self.tree.path(parent), name))?, Lower::Missing) {
            return Ok(());
        }
        let attributes = Attributes { mode: 0, ..Attributes::implied(self.now) };
        self.tree.add(parent, name, Node::new(Content::Character(0), &attributes)?)?;
        Ok(())
    }

    fn hide_lower(&mut self, directory: Id) -> Result<(), Stop> {
        match self.lowers.is_empty() {
            true => Ok(()),
            false => self.tree.hide_lower(directory),
        }
    }

    /// Makes everything that lower layers have in the directory disappear.
    fn set_opaque(&mut self, directory: Id) -> Result<(), Stop> {
        if directory != ROOT {
            return self.hide_lower(directory);
        }
        // Overlay does not look whether a layer's root is opaque: each name is whited out.
        for name in self.lowers.root_names()? {
            match self.tree.child(ROOT, &name) {
                None => self.white_out(ROOT, &name)?,
                Some(id) => self.hide_lower(id)?,
            }
        }
        Ok(())
    }
}

fn file(size: u64, position: u64) -> Result<Content, Stop> {
    let block = u32::try_from(position / format::BLOCK).ok().filter(|block| *block != u32::MAX);
    match block.filter(|_| size <= format::FILE_BYTES_MAX) {
        Some(block) => Ok(Content::File { size, block }),
        None => Err(Stop::Unsuitable("more data than can be addressed")),
    }
}

fn device(entry: &Entry) -> Result<u32, Stop> {
    if !is_allowed_device(entry.device) {
        return Err(Error::invalid(crate::apply::BAD_DEVICE).into());
    }
    Ok(format::device(entry.device))
}
