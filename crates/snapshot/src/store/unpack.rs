//! A layer's way into the store: made under another name, and renamed when it is complete.

use super::{INGEST, LayerInfo, Snapshots, check_free_space, descriptor_path, lock, make_directory};
use crate::{
    apply::space,
    erofs,
    helper::{self, IndexFiles, Made, Task, Work},
    mounts::{ARCHIVE, INDEX},
};
use rorqual_error::{Context, Error, Result};
use rorqual_metadata::failpoint;
use rorqual_types::{ChainId, DiffId};
use rustix::fs::{AtFlags, CWD, Mode};
use std::{
    fmt,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::{PoisonError, atomic::Ordering},
};

/// A layer to unpack.
pub struct Unpack<'a> {
    /// The layer's archive, in any compression.
    pub archive: File,
    /// The digest that its uncompressed bytes must have.
    pub diff_id: DiffId,
    /// Whether the archive's own bytes are known to have that digest: it is not compressed, was hashed on arrival, and does
    /// not change any more. The layer's archive may then become another name of the same file.
    pub verified: bool,
    /// The chain IDs from the lowest layer to this one.
    pub chain: &'a [ChainId],
    /// Returns when the layers below are there; absent where they are. What can be done without them is done first.
    pub below: Option<&'a Below<'a>>,
}

impl fmt::Debug for Unpack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unpack({})", self.diff_id)
    }
}

/// Waits for layers; an error when they will not come.
pub type Below<'a> = dyn Fn() -> Result<()> + Sync + 'a;

/// A layer in the making.
struct Ingest<'a> {
    /// Its directory's name below the layers.
    name: &'a str,
    directory: &'a Path,
    /// The layers below, topmost first.
    lowers: &'a [String],
    diff_id: DiffId,
    chain: ChainId,
}

impl Snapshots {
    /// Unpacks a layer above the layers below it. Already there, or being unpacked by another
    /// caller: nothing is done, and `None` returned. Survives a power cut after [`Snapshots::sync`].
    ///
    /// # Errors
    /// `InvalidArgument` for a hostile archive or a wrong digest; nothing is left then.
    pub fn unpack(&self, unpack: Unpack<'_>, progress: &mut dyn FnMut(u64)) -> Result<Option<LayerInfo>> {
        let Some((chain, below)) = unpack.chain.split_last() else {
            return Err(Error::internal("a layer without a chain ID"));
        };
        let place = self.layers.join(chain.hex());
        let mut unpacking = lock(&self.unpacking);
        while unpacking.contains(chain) {
            unpacking = self.unpacked.wait(unpacking).unwrap_or_else(PoisonError::into_inner);
        }
        if place.exists() {
            return Ok(None);
        }
        unpacking.insert(*chain);
        drop(unpacking);
        let lowers = below.iter().rev().map(ChainId::hex).collect();
        let result = self.unpack_to(&place, unpack, *chain, lowers, progress);
        lock(&self.unpacking).remove(chain);
        self.unpacked.notify_all();
        result.map(Some)
    }

    fn unpack_to(
        &self,
        place: &Path,
        unpack: Unpack<'_>,
        chain: ChainId,
        lowers: Vec<String>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<LayerInfo> {
        check_free_space(&self.layers)?;
        let name = format!("{INGEST}{}", self.next.fetch_add(1, Ordering::Relaxed));
        let directory = self.layers.join(&name);
        make_directory(&directory)?;
        let ingest = Ingest { name: &name, directory: &directory, lowers: &lowers, diff_id: unpack.diff_id, chain };
        let fill = || {
            let root = directory.join("fs");
            DirBuilder::new().mode(0o755).create(&root).with_context(|| format!("create {}", root.display()))?;
            let root = File::open(&root).with_context(|| format!("open {}", root.display()))?;
            rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).context("set the mode of a layer's root")?;
            let info = if self.archives {
                self.archive(&ingest, unpack.archive, unpack.verified, unpack.below, progress)?
            } else {
                unpack.below.map_or(Ok(()), |wait| wait())?;
                self.extract(&ingest, unpack.archive, !unpack.verified, progress)?
            };
            failpoint!("snapshot.unpacked")?;
            fs::rename(&directory, place).with_context(|| format!("put layer {} in its place", place.display()))?;
            failpoint!("snapshot.renamed")?;
            Ok(info)
        };
        let result = fill();
        if result.is_err() {
            self.discard(&directory)?;
        }
        let info = result?;
        if let Err(error) = self.mount(&chain.hex()) {
            self.discard(place)?;
            return Err(error);
        }
        Ok(info)
    }

    /// Fills the layer's directory.
    fn extract(
        &self,
        ingest: &Ingest<'_>,
        archive: File,
        digest: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<LayerInfo> {
        match self.run(ingest, ingest.lowers, Work { archive, digest, index: None, keep: None }, progress)? {
            Made::Layer(info) => Ok(info),
            other => Err(Error::internal(format!("the unpack helper did not unpack: {other:?}"))),
        }
    }

    /// Keeps the archive and makes its index; what has no place in an index is unpacked from the archive.
    fn archive(
        &self,
        ingest: &Ingest<'_>,
        mut archive: File,
        verified: bool,
        below: Option<&Below<'_>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<LayerInfo> {
        let create = |name: &str| {
            let path = ingest.directory.join(name);
            let file = File::options().read(true).write(true).create_new(true).open(&path);
            file.with_context(|| format!("create {}", path.display()))
        };
        let kept = ingest.directory.join(ARCHIVE);
        // Elsewhere, or with too many names already, it is written once more.
        let is_linked = verified && link(&archive, &kept).is_ok();
        let mut uuid = [0; 16];
        // Another one for each layer: overlay tells file systems apart by it.
        uuid.copy_from_slice(&ingest.chain.bytes()[..16]);
        let open_kept = || File::open(&kept).with_context(|| format!("open {}", kept.display()));
        let mut copy = if is_linked { None } else { Some(create(ARCHIVE)?) };
        let mut digest = !verified;
        if let Some(wait) = below {
            if let Some(keep) = copy.take() {
                // Most of the work is decompression, which needs nothing of the layers below.
                self.run(ingest, &[], Work { archive, digest, index: None, keep: Some(keep) }, progress)?;
                (archive, digest) = (open_kept()?, false);
            }
            wait()?;
        }
        let index = Some(IndexFiles { archive: copy, index: create(INDEX)?, uuid });
        let why = match self.run(ingest, ingest.lowers, Work { archive, digest, index, keep: None }, progress)? {
            Made::Layer(info) => {
                let index = File::open(ingest.directory.join(INDEX)).context("open a layer's index")?;
                erofs::check(&index, &open_kept()?, uuid)?;
                let shared = if is_linked { space_of(&kept)? } else { 0 };
                return Ok(LayerInfo { shared, ..info });
            }
            Made::Unsuitable(why) => why,
            Made::Kept => return Err(Error::internal("the unpack helper made no index")),
        };
        tracing::debug!(diff_id = %ingest.diff_id, why, "a layer cannot be indexed and is unpacked");
        // The digest has been checked, and progress told.
        let info = self.extract(ingest, open_kept()?, false, &mut |_| {})?;
        let remove = || -> io::Result<()> {
            fs::remove_file(ingest.directory.join(INDEX))?;
            fs::remove_file(&kept)
        };
        remove().context("remove an archive without an index")?;
        Ok(info)
    }

    fn run(&self, ingest: &Ingest<'_>, lowers: &[String], work: Work, progress: &mut dyn FnMut(u64)) -> Result<Made> {
        let task = Task { layers: self.layers_dir(), layer: ingest.name, lowers, work };
        let (made, digest) = helper::run(&self.helper, task, progress)?;
        if let Some(digest) = digest.filter(|digest| *digest != ingest.diff_id) {
            return Err(Error::invalid(format!(
                "layer has the uncompressed digest {digest}, its image says {}",
                ingest.diff_id
            )));
        }
        Ok(made)
    }
}

/// Gives an open file one more name.
fn link(file: &File, path: &Path) -> rustix::io::Result<()> {
    rustix::fs::linkat(CWD, descriptor_path(file), CWD, path, AtFlags::SYMLINK_FOLLOW)
}

fn space_of(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    Ok(space(metadata.len()))
}
