//! Puts the entries of a layer's archive into a directory that overlay can use as one layer.
//!
//! Every path is walked component by component on descriptors; nothing is opened by a joined string. Entries are seen
//! as they would be in the merged tree: a parent that only lower layers have is copied with its attributes, a symbolic
//! link on the way leads within the tree, a hard link may name a lower layer's file.

mod attributes;
mod lower;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use attributes::{Attributes, Direct, Privileged, Times, is_allowed_device, is_allowed_xattr, is_dropped};
pub(crate) use lower::{Lower, Lowers, TRUSTED_OPAQUE, USER_OPAQUE, kind, open_directory, read_link};
pub(crate) use tree::{components, join, not_a_directory, space};

use crate::{
    limits::PROGRESS_BYTES,
    store::LayerInfo,
    tar::{Entry, EntryKind, Reader, shown},
};
use rorqual_error::{Context, Error, Result};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use std::{io::BufRead, os::fd::OwnedFd, rc::Rc};
use tree::{Dir, Tree};

/// The prefix of names that say something about lower layers.
const WHITEOUT: &[u8] = b".wh.";
/// Hides what lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of the old AUFS driver's own files.
const AUFS: &[u8] = b".wh..wh.";
/// What to say of a device that [`is_allowed_device`] does not let in.
pub(crate) const BAD_DEVICE: &str = "a device that would hide other files, or that no kernel has";

/// Applies `archive` to the empty directory `layer`, above `lowers` (topmost first). `progress` is told the archive's
/// position now and then.
pub(crate) fn apply<R: BufRead>(
    archive: &mut Reader<R>,
    layer: OwnedFd,
    lowers: Vec<OwnedFd>,
    privileged: &dyn Privileged,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<LayerInfo> {
    let tree = Tree::new(layer, Lowers::new(lowers), privileged)?;
    let mut applier = Applier { tree, privileged, info: LayerInfo::default() };
    let mut reported = 0;
    while let Some(entry) = archive.next_entry()? {
        applier.entry(&entry, archive).with_context(|| format!("unpack {:?}", shown(&entry.path)))?;
        if archive.position() - reported >= PROGRESS_BYTES {
            reported = archive.position();
            progress(reported)?;
        }
    }
    applier.tree.finish()?;
    applier.info.entries = archive.entries();
    applier.info.size = applier.tree.bytes();
    Ok(applier.info)
}

/// What a name with the prefix of whiteouts says.
pub(crate) enum Hides<'a> {
    /// All that lower layers have in its directory.
    Everything,
    /// What they have under this name.
    Name(&'a [u8]),
    /// Nothing.
    Nothing,
}

impl<'a> Hides<'a> {
    /// `None` for any other name.
    pub(crate) fn of(name: &'a [u8], entry: &Entry) -> Result<Option<Self>> {
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(None) };
        if name == OPAQUE {
            return Ok(Some(Self::Everything));
        }
        if name.starts_with(AUFS) {
            return Ok(Some(Self::Nothing));
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::invalid("malformed archive: a whiteout without a name"));
        }
        if entry.kind != EntryKind::File {
            return Err(Error::invalid("malformed archive: a whiteout that is no file"));
        }
        Ok(Some(Self::Name(hidden)))
    }
}

struct Applier<'a> {
    tree: Tree<'a>,
    privileged: &'a dyn Privileged,
    info: LayerInfo,
}

impl Applier<'_> {
    fn entry<R: BufRead>(&mut self, entry: &Entry, archive: &mut Reader<R>) -> Result<()> {
        let attributes = Attributes::of(entry);
        let Some((parent, name)) = split(&entry.path) else {
            return self.tree.set_root(&attributes);
        };
        let parent = self.tree.directory(parent)?;
        match Hides::of(name, entry)? {
            Some(Hides::Everything) => return self.tree.set_opaque(&parent),
            Some(Hides::Name(hidden)) => return self.tree.white_out(&parent, hidden),
            Some(Hides::Nothing) => return Ok(()),
            None => {}
        }
        self.info.max_owner_id = self.info.max_owner_id.max(entry.uid).max(entry.gid);
        match entry.kind {
            EntryKind::Directory => self.tree.make_directory(&parent, name, &attributes),
            EntryKind::File => self.file(&parent, name, entry, &attributes, archive),
            EntryKind::HardLink => self.hard_link(&parent, name, entry),
            EntryKind::SymbolicLink => self.symbolic_link(&parent, name, entry, &attributes),
            EntryKind::Fifo => self.node(&parent, name, FileType::Fifo, entry, &attributes),
            EntryKind::CharacterDevice => self.node(&parent, name, FileType::CharacterDevice, entry, &attributes),
            EntryKind::BlockDevice => self.node(&parent, name, FileType::BlockDevice, entry, &attributes),
        }
    }

    fn file<R: BufRead>(
        &mut self,
        parent: &Rc<Dir>,
        name: &[u8],
        entry: &Entry,
        attributes: &Attributes<'_>,
        archive: &mut Reader<R>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let file = self.tree.create(parent, name, || rustix::fs::openat(&parent.fd, name, flags, mode))?;
        loop {
            let mut data = archive.fill_data()?;
            if data.is_empty() {
                break;
            }
            let length = data.len();
            while !data.is_empty() {
                match rustix::io::write(&file, data) {
                    Ok(written) => data = &data[written..],
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error).context("write"),
                }
            }
            archive.consume_data(length);
        }
        self.tree.count(entry.size);
        attributes.apply_to_file(&file, parent.is_plain(), self.privileged)
    }

    fn hard_link(&mut self, parent: &Rc<Dir>, name: &[u8], entry: &Entry) -> Result<()> {
        let (target_parent, target) =
            split(&entry.link).ok_or_else(|| Error::invalid("malformed archive: a link to the root"))?;
        if entry.link == entry.path {
            return Err(Error::invalid("malformed archive: a file that is a link to itself"));
        }
        let target_parent = self.tree.directory(target_parent)?;
        if let Some((uid, gid)) = self.tree.bring_up(&target_parent, target)? {
            self.info.max_owner_id = self.info.max_owner_id.max(uid).max(gid);
        }
        self.tree
            .create(parent, name, || rustix::fs::linkat(&target_parent.fd, target, &parent.fd, name, AtFlags::empty()))
    }

    fn symbolic_link(
        &mut self,
        parent: &Rc<Dir>,
        name: &[u8],
        entry: &Entry,
        attributes: &Attributes<'_>,
    ) -> Result<()> {
        self.tree.create(parent, name, || rustix::fs::symlinkat(entry.link.as_slice(), &parent.fd, name))?;
        attributes.apply_to_link(parent, name, self.privileged)
    }

    fn node(
        &mut self,
        parent: &Rc<Dir>,
        name: &[u8],
        kind: FileType,
        entry: &Entry,
        attributes: &Attributes<'_>,
    ) -> Result<()> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        if kind == FileType::Fifo {
            self.tree.create(parent, name, || rustix::fs::mknodat(&parent.fd, name, kind, mode, 0))?;
        } else {
            if !is_allowed_device(entry.device) {
                return Err(Error::invalid(BAD_DEVICE));
            }
            self.tree.create(parent, name, || self.privileged.device(&parent.fd, name, kind, mode, entry.device))?;
        }
        attributes.apply_to_node(parent, name, self.privileged)
    }
}

/// Parent and last component; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    })
}

/// The last access and change, both the time that the archive gives.
fn times_of(entry: &Entry) -> Times {
    Times { seconds: entry.modified.0, nanoseconds: entry.modified.1 }
}
