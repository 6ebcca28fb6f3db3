//! The directory that a layer is unpacked into, seen together with the layers below it.

use super::{
    attributes::{Attributes, Privileged, Times},
    lower::{Lower, Lowers, TRUSTED_OPAQUE, USER_OPAQUE, is_whiteout, kind, open_directory, read_link},
};
use crate::{
    limits::{LINKS_MAX, OPEN_DIRECTORIES_MAX, PATH_MAX},
    remove::remove_tree,
    tar::shown,
};
use rorqual_error::{Context, Error, Result};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, XattrFlags},
    io::{self, Errno},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    os::fd::OwnedFd,
    rc::Rc,
};

/// The file system's unit for the estimate of a file's space.
const SPACE_UNIT: u64 = 4096;

/// An open directory of the layer.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    /// Its path in the merged tree, free of links.
    path: Vec<u8>,
    /// Whether what is made in it takes nothing over from it (group, access list).
    plain: bool,
}

impl Dir {
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }
}

/// See the module.
pub(super) struct Tree<'a> {
    root: Rc<Dir>,
    lowers: Lowers,
    privileged: &'a dyn Privileged,
    open: HashMap<Vec<u8>, Rc<Dir>>,
    /// The path last asked for, as it was asked.
    last: Option<(Vec<u8>, Rc<Dir>)>,
    /// Directories' times, set when nothing more is made in them.
    times: BTreeMap<Vec<u8>, Times>,
    /// Directories of this layer that hide what lower ones have in them.
    opaque: HashSet<Vec<u8>>,
    /// Whiteouts of this layer; none is below a directory that hides all.
    whiteouts: BTreeSet<Vec<u8>>,
    bytes: u64,
}

/// One step of a walk.
enum Step {
    Into(Rc<Dir>),
    Link(Vec<u8>),
}

pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// Space that a file of `length` bytes takes.
pub(crate) fn space(length: u64) -> u64 {
    length.next_multiple_of(SPACE_UNIT)
}

impl<'a> Tree<'a> {
    pub(super) fn new(layer: OwnedFd, lowers: Lowers, privileged: &'a dyn Privileged) -> Result<Self> {
        let root = Rc::new(Dir { fd: layer, path: Vec::new(), plain: true });
        let open = HashMap::new();
        let mut tree = Self {
            root,
            lowers,
            privileged,
            open,
            last: None,
            times: BTreeMap::new(),
            opaque: HashSet::new(),
            whiteouts: BTreeSet::new(),
            bytes: 0,
        };
        // Overlay shows the topmost layer's root, whatever the archive says of it.
        if let Some(attributes) = tree.lowers.root()? {
            tree.set_root(&attributes)?;
        }
        Ok(tree)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sets the root directory's attributes.
    pub(super) fn set_root(&mut self, attributes: &Attributes<'_>) -> Result<()> {
        attributes.apply_but_times(&self.root.fd, false, self.privileged)?;
        self.times.insert(Vec::new(), attributes.times);
        let fd = self.root.fd.try_clone().context("open the layer's root")?;
        self.root = Rc::new(Dir { fd, path: Vec::new(), plain: is_plain(attributes, true) });
        self.last = None;
        Ok(())
    }

    /// The directory under `path`, made where it is missing, as the merged tree has it.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<Rc<Dir>> {
        if let Some((_, directory)) = self.last.as_ref().filter(|(asked, _)| asked == path) {
            return Ok(directory.clone());
        }
        let mut at = self.root.clone();
        let mut rest: Vec<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            at = match (name.as_slice(), self.step(&at, &name)) {
                (b"..", _) => self.parent_of(&at)?,
                (_, Ok(Step::Into(directory))) => directory,
                (_, Err(error)) => return Err(error),
                (_, Ok(Step::Link(target))) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::invalid(format!("too many links on the way to {:?}", shown(path))));
                    }
                    rest.extend(components(&target));
                    if target.starts_with(b"/") { self.root.clone() } else { at }
                }
            };
        }
        self.last = Some((path.to_vec(), at.clone()));
        Ok(at)
    }

    fn parent_of(&mut self, directory: &Dir) -> Result<Rc<Dir>> {
        match directory.path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => {
                let path = directory.path[..at].to_vec();
                if let Some(open) = self.open.get(&path) {
                    return Ok(open.clone());
                }
                let fd = open_directory(&self.root.fd, &path).context("open a parent directory")?;
                self.remember(path, fd)
            }
            None => Ok(self.root.clone()),
        }
    }

    fn step(&mut self, at: &Rc<Dir>, name: &[u8]) -> Result<Step> {
        if name == b".." {
            return Ok(Step::Into(at.clone()));
        }
        let path = join(&at.path, name);
        if let Some(open) = self.open.get(&path) {
            return Ok(Step::Into(open.clone()));
        }
        if path.len() >= PATH_MAX {
            return Err(Error::invalid(format!("a path of more than {} bytes", PATH_MAX - 1)));
        }
        match open_directory(&at.fd, name) {
            Ok(fd) => self.remember(path, fd).map(Step::Into),
            Err(Errno::NOENT) => self.step_down(at, name, path),
            Err(Errno::NOTDIR | Errno::LOOP) => self.step_on(at, name),
            Err(error) => Err(error).with_context(|| format!("open {:?}", shown(&path))),
        }
    }

    /// A step to what this layer does not have.
    fn step_down(&mut self, at: &Rc<Dir>, name: &[u8], path: Vec<u8>) -> Result<Step> {
        let attributes = match self.lowers.find(&path)? {
            Lower::Missing => None,
            Lower::Found(parent, stat) => match kind(&stat) {
                FileType::Directory => {
                    let directory = open_directory(&parent, name).context("open a directory of a lower layer")?;
                    Some(Attributes::read(&directory).context("read a directory of a lower layer")?)
                }
                FileType::Symlink => return read_link(&parent, name).map(Step::Link),
                _ => return Err(not_a_directory(&path)),
            },
        };
        let mode = attributes.as_ref().map_or(0o755, |attributes| attributes.mode & 0o777);
        rustix::fs::mkdirat(&at.fd, name, Mode::from_raw_mode(mode)).context("create a directory")?;
        let fd = open_directory(&at.fd, name).context("open a directory")?;
        match attributes {
            Some(attributes) => {
                attributes.apply_but_times(&fd, false, self.privileged)?;
                self.times.insert(path.clone(), attributes.times);
            }
            None => Attributes::implied(Times::default()).apply_but_times(&fd, false, self.privileged)?,
        }
        self.remember(path, fd).map(Step::Into)
    }

    /// A step to what is no directory in this layer.
    fn step_on(&mut self, at: &Rc<Dir>, name: &[u8]) -> Result<Step> {
        let path = join(&at.path, name);
        let stat = rustix::fs::statat(&at.fd, name, AtFlags::SYMLINK_NOFOLLOW).context("look at a parent")?;
        if kind(&stat) == FileType::Symlink {
            return read_link(&at.fd, name).map(Step::Link);
        }
        if !is_whiteout(&stat) {
            return Err(not_a_directory(&path));
        }
        // Removed by this archive and now made anew: nothing of the old directory may show.
        rustix::fs::unlinkat(&at.fd, name, AtFlags::empty()).context("replace a whiteout")?;
        rustix::fs::mkdirat(&at.fd, name, Mode::from_raw_mode(0o755)).context("create a directory")?;
        let fd = open_directory(&at.fd, name).context("open a directory")?;
        Attributes::implied(Times::default()).apply_but_times(&fd, false, self.privileged)?;
        self.whiteouts.remove(&path);
        self.hide_lower(&fd, &path)?;
        self.remember(path, fd).map(Step::Into)
    }

    fn remember(&mut self, path: Vec<u8>, fd: OwnedFd) -> Result<Rc<Dir>> {
        let stat = rustix::fs::fstat(&fd).context("look at a directory")?;
        let has_acl = rustix::fs::fgetxattr(&fd, "system.posix_acl_default", &mut [0u8; 1]) != Err(Errno::NODATA);
        let plain = stat.st_mode & 0o2000 == 0 && !has_acl;
        if self.open.len() >= OPEN_DIRECTORIES_MAX {
            self.open.clear();
        }
        let directory = Rc::new(Dir { fd, path: path.clone(), plain });
        self.open.insert(path, directory.clone());
        Ok(directory)
    }

    /// Makes `name` by `make`; what this archive made there before goes away.
    pub(super) fn create<T>(&mut self, parent: &Rc<Dir>, name: &[u8], make: impl Fn() -> io::Result<T>) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                self.remove(parent, name)?;
                make().context("create")
            }
            result => result.context("create"),
        }
    }

    /// Counts a file's space.
    pub(super) fn count(&mut self, length: u64) {
        self.bytes += space(length);
    }

    pub(super) fn make_directory(&mut self, parent: &Rc<Dir>, name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        let path = join(&parent.path, name);
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        let mut fresh = true;
        match rustix::fs::mkdirat(&parent.fd, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                fresh = false;
                let stat = rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW).context("look")?;
                if kind(&stat) != FileType::Directory {
                    self.remove(parent, name)?;
                    rustix::fs::mkdirat(&parent.fd, name, mode).context("create a directory")?;
                    let fd = open_directory(&parent.fd, name).context("open a directory")?;
                    self.hide_lower(&fd, &path)?;
                }
            }
            Err(error) => return Err(error).context("create a directory"),
        }
        let fd = open_directory(&parent.fd, name).context("open a directory")?;
        attributes.apply_but_times(&fd, fresh && parent.plain, self.privileged)?;
        self.times.insert(path.clone(), attributes.times);
        if self.open.remove(&path).is_some() {
            self.last = None;
        }
        let directory = Dir { fd, path: path.clone(), plain: is_plain(attributes, parent.plain) };
        if self.open.len() >= OPEN_DIRECTORIES_MAX {
            self.open.clear();
        }
        self.open.insert(path, Rc::new(directory));
        Ok(())
    }

    /// Removes what this layer has under `name`; nothing there is fine.
    fn remove(&mut self, parent: &Rc<Dir>, name: &[u8]) -> Result<()> {
        let path = join(&parent.path, name);
        match rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {
                self.whiteouts.remove(&path);
                Ok(())
            }
            Err(Errno::ISDIR | Errno::PERM) => {
                let below = join(&path, b"");
                let within = |other: &[u8]| other == path || other.starts_with(&below);
                self.open.retain(|other, _| !within(other));
                self.times.retain(|other, _| !within(other));
                self.opaque.retain(|other| !within(other));
                self.take_whiteouts(&path);
                self.last = None;
                remove_tree(&parent.fd, name).context("replace a directory")
            }
            Err(error) => Err(error).context("replace"),
        }
    }

    /// Makes `name` disappear from the merged tree.
    pub(super) fn white_out(&mut self, parent: &Rc<Dir>, name: &[u8]) -> Result<()> {
        self.remove(parent, name)?;
        let path = join(&parent.path, name);
        // Where all below is hidden, the kernel lists a whiteout as a name.
        if self.is_hidden(&parent.path) || matches!(self.lowers.find(&path)?, Lower::Missing) {
            return Ok(());
        }
        rustix::fs::mknodat(&parent.fd, name, FileType::CharacterDevice, Mode::empty(), 0)
            .context("write a whiteout")?;
        self.whiteouts.insert(path);
        Ok(())
    }

    /// Whether the directory, or one that it is in, hides what lower layers have in it.
    fn is_hidden(&self, path: &[u8]) -> bool {
        let mut at = path;
        while !self.opaque.is_empty() && !at.is_empty() {
            if self.opaque.contains(at) {
                return true;
            }
            at = at.iter().rposition(|byte| *byte == b'/').map_or(&[], |end| &at[..end]);
        }
        false
    }

    /// The whiteouts below a directory, which are no longer known after this.
    fn take_whiteouts(&mut self, directory: &[u8]) -> Vec<Vec<u8>> {
        let below = join(directory, b"");
        let all = self.whiteouts.range(below.clone()..).take_while(|path| path.starts_with(&below));
        let all: Vec<Vec<u8>> = all.cloned().collect();
        for path in &all {
            self.whiteouts.remove(path);
        }
        all
    }

    /// Makes everything that lower layers have in the directory disappear.
    pub(super) fn set_opaque(&mut self, directory: &Rc<Dir>) -> Result<()> {
        if self.lowers.is_empty() {
            return Ok(());
        }
        if directory.path.is_empty() {
            return self.white_out_root();
        }
        self.hide_lower(&directory.fd, &directory.path)
    }

    /// Both forms: overlay in a user namespace reads `user.`, elsewhere `trusted.`. Whiteouts that are below the
    /// directory hide nothing then, and go.
    fn hide_lower(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        if self.lowers.is_empty() {
            return Ok(());
        }
        self.opaque.insert(path.to_vec());
        for whiteout in self.take_whiteouts(path) {
            let Some((parent, name)) = super::split(&whiteout) else { continue };
            let parent = open_directory(&self.root.fd, parent).context("open a directory")?;
            rustix::fs::unlinkat(&parent, name, AtFlags::empty()).context("remove a whiteout")?;
        }
        rustix::fs::fsetxattr(directory, USER_OPAQUE, b"y", XattrFlags::empty()).context("hide lower layers")?;
        self.privileged.xattr(directory, b"", TRUSTED_OPAQUE, b"y").context("hide lower layers")
    }

    /// Overlay does not look whether a layer's root is opaque: each name is whited out.
    fn white_out_root(&mut self) -> Result<()> {
        let root = self.root.clone();
        for name in self.lowers.root_names()? {
            match rustix::fs::statat(&root.fd, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => self.white_out(&root, &name)?,
                Ok(stat) if kind(&stat) == FileType::Directory => {
                    let fd = open_directory(&root.fd, &name).context("open a directory")?;
                    self.hide_lower(&fd, &name)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sees to it that this layer itself has `name`, which a hard link is to name.
    pub(super) fn bring_up(&mut self, parent: &Rc<Dir>, name: &[u8]) -> Result<Option<(u32, u32)>> {
        match rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if !is_whiteout(&stat) => return Ok(None),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).context("look at a link's target"),
        }
        let path = join(&parent.path, name);
        let Lower::Found(lower, stat) = self.lowers.find(&path)? else {
            return Err(Error::invalid(format!("a hard link to {:?}, which does not exist", shown(&path))));
        };
        let owner = Some((stat.st_uid, stat.st_gid));
        match kind(&stat) {
            FileType::RegularFile => self.copy_file(&lower, parent, name)?,
            FileType::Symlink => {
                let target = read_link(&lower, name)?;
                rustix::fs::symlinkat(target.as_slice(), &parent.fd, name).context("copy a link")?;
                let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
                rustix::fs::chownat(&parent.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                    .context("set owner")?;
            }
            _ => return Err(Error::invalid(format!("a hard link to {:?}, which is no file", shown(&path)))),
        }
        Ok(owner)
    }

    fn copy_file(&mut self, lower: &OwnedFd, parent: &Rc<Dir>, name: &[u8]) -> Result<()> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = rustix::fs::openat(lower, name, read, Mode::empty()).context("open a lower layer's file")?;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = rustix::fs::openat(&parent.fd, name, write, Mode::from_raw_mode(0o600)).context("copy a file")?;
        let attributes = Attributes::read(&from).context("read a lower layer's file")?;
        let mut from = std::fs::File::from(from);
        let to = std::fs::File::from(to);
        let length = std::io::copy(&mut from, &mut &to).context("copy a file")?;
        self.count(length);
        attributes.apply_to_file(&to.into(), false, self.privileged)
    }

    /// Sets what could not be set before.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.open.clear();
        self.last = None;
        let root = rustix::fs::fstat(&self.root.fd).context("look at the layer's root")?;
        self.bytes += root.st_blocks as u64 * 512;
        for (path, times) in &self.times {
            let directory = open_directory(&self.root.fd, path).context("open a directory")?;
            times.set(&directory).context("set times")?;
            if !path.is_empty() {
                let stat = rustix::fs::fstat(&directory).context("look at a directory")?;
                self.bytes += stat.st_blocks as u64 * 512;
            }
        }
        Ok(())
    }
}

/// The parts of a path, last first.
pub(crate) fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}

pub(crate) fn not_a_directory(path: &[u8]) -> Error {
    Error::invalid(format!("{:?} is not a directory", shown(path)))
}

fn is_plain(attributes: &Attributes<'_>, plain_parent: bool) -> bool {
    plain_parent
        && attributes.mode & 0o2000 == 0
        && !attributes.xattrs.iter().any(|(name, _)| name == "system.posix_acl_default")
}
