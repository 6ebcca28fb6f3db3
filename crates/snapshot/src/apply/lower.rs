//! The layers below, as the merged tree shows them.

use super::attributes::Attributes;
use rorqual_error::{Context, Result};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::{self, Errno},
};
use std::{collections::BTreeSet, os::fd::OwnedFd};

/// How a directory hides what lower layers have in it: to an overlay in a user namespace.
pub(crate) const USER_OPAQUE: &str = "user.overlay.opaque";
/// See [`USER_OPAQUE`]; to every other overlay.
pub(crate) const TRUSTED_OPAQUE: &str = "trusted.overlay.opaque";

/// Layers, topmost first.
#[derive(Debug)]
pub(crate) struct Lowers(Vec<OwnedFd>);

/// What the lower layers together have under a path.
pub(crate) enum Lower {
    Missing,
    /// The directory that holds it, and what it is.
    Found(OwnedFd, Box<Stat>),
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(crate) fn open_directory(at: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(at, if path.is_empty() { b"." } else { path }, flags, Mode::empty(), resolve)
}

pub(crate) fn read_link(parent: &OwnedFd, name: &[u8]) -> Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(parent, name, Vec::new()).context("read a link")?.into_bytes())
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0u8; 2];
    matches!(rustix::fs::fgetxattr(directory, USER_OPAQUE, &mut value), Ok(1) if value[0] == b'y')
}

impl Lowers {
    pub(crate) fn new(layers: Vec<OwnedFd>) -> Self {
        Self(layers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The attributes of the root, which are those of the topmost layer's; `None` without layers.
    pub(crate) fn root(&self) -> Result<Option<Attributes<'static>>> {
        let top = self.0.first();
        top.map(|top| Attributes::read(top).context("read the root of the layer below")).transpose()
    }

    /// The names in the roots of all layers.
    pub(crate) fn root_names(&self) -> Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for layer in &self.0 {
            for entry in rustix::fs::Dir::read_from(layer).context("list a lower layer")? {
                let name = entry.context("list a lower layer")?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.insert(name);
                }
            }
        }
        Ok(names)
    }

    /// What stands under `path`, which is free of links.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Lower> {
        for layer in &self.0 {
            if let Some(answer) = look_in(layer, path).context("look into a lower layer")? {
                return Ok(answer);
            }
        }
        Ok(Lower::Missing)
    }
}

/// `None` where the layers below this one decide.
fn look_in(layer: &OwnedFd, path: &[u8]) -> io::Result<Option<Lower>> {
    let mut at = open_directory(layer, b"")?;
    let mut decides = false;
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let stat = match rustix::fs::statat(&at, part, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(decides.then_some(Lower::Missing)),
            Err(error) => return Err(error),
        };
        if is_whiteout(&stat) {
            return Ok(Some(Lower::Missing));
        }
        if parts.peek().is_none() {
            return Ok(Some(Lower::Found(at, Box::new(stat))));
        }
        if kind(&stat) != FileType::Directory {
            return Ok(Some(Lower::Missing));
        }
        at = open_directory(&at, part)?;
        decides |= is_opaque(&at);
    }
    Ok(None)
}
