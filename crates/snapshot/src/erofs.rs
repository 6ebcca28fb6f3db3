//! Layers without extraction: an index in the format of erofs that points into the layer's archive.
//!
//! The archive is read once, by the same strict reader as for a directory, while its bytes go to a file. What its entries
//! make is put together in memory, by the same rules as on disk, and written at the end: the kernel mounts the index, and
//! reads the files' data from the archive. The kernel never parses an erofs that somebody else made.
//!
//! What an index cannot say as a directory would is not guessed: such a layer is [`Indexed::Unsuitable`] and unpacked.

mod build;
mod format;
#[cfg(test)]
mod tests;
mod tree;
mod write;

use crate::{
    apply::{Lowers, is_dropped, space},
    limits::PROGRESS_BYTES,
    store::LayerInfo,
    tar::{Reader, shown},
};
use build::Builder;
use rorqual_error::{Context, Error, Result};
use std::{
    io::{BufRead, Write},
    os::fd::OwnedFd,
};

pub(crate) use write::{check, empty};

/// What came of an archive.
#[derive(Debug)]
pub(crate) enum Indexed {
    /// The index is written.
    Done(LayerInfo),
    /// This has no place in an index; the archive has been read to its end nevertheless.
    Unsuitable(&'static str),
}

/// Why no more entries are taken.
#[derive(Debug)]
enum Stop {
    Refused(Error),
    Unsuitable(&'static str),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Writes the index of `archive`, above `lowers` (topmost first), to `out`, which is empty. `progress` is told the
/// archive's position now and then.
pub(crate) fn index<R: BufRead>(
    archive: &mut Reader<R>,
    lowers: Vec<OwnedFd>,
    uuid: [u8; 16],
    out: impl Write,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Indexed> {
    let mut builder = match Builder::new(Lowers::new(lowers)) {
        Ok(builder) => Ok(builder),
        Err(Stop::Refused(error)) => return Err(error),
        Err(Stop::Unsuitable(why)) => Err(why),
    };
    let mut reported = 0;
    while let Some(entry) = archive.next_entry()? {
        if let Ok(open) = &mut builder {
            match open.entry(&entry, archive.position()) {
                Ok(()) => {}
                Err(Stop::Refused(error)) => {
                    return Err(error).with_context(|| format!("unpack {:?}", shown(&entry.path)));
                }
                Err(Stop::Unsuitable(why)) => builder = Err(why),
            }
        }
        if archive.position() - reported >= PROGRESS_BYTES {
            reported = archive.position();
            progress(reported)?;
        }
    }
    let (tree, max_owner_id) = match builder {
        // A mapped page shows what follows a file's end.
        Ok(_) if !archive.is_clean() => return Ok(Indexed::Unsuitable("blocks that are not filled up with zeros")),
        Ok(builder) => builder.finish(),
        Err(why) => return Ok(Indexed::Unsuitable(why)),
    };
    let length = match write::write(&tree, uuid, archive.position(), out) {
        Ok(length) => length,
        Err(write::WriteError::TooLarge) => return Ok(Indexed::Unsuitable("more blocks than can be numbered")),
        Err(write::WriteError::Io(error)) => return Err(error).context("write the index"),
    };
    // Both files, and the directory that the index is mounted on.
    let size = space(archive.position()) + space(length) + space(1);
    Ok(Indexed::Done(LayerInfo { size, entries: archive.entries(), max_owner_id, shared: 0, archived: true }))
}

/// Writes the index of a layer that has none below it to `out`; returns false where such a layer is unpacked instead.
///
/// # Errors
/// `InvalidArgument` where the archive is refused.
pub fn index_alone(archive: impl BufRead, out: impl Write) -> Result<bool> {
    let indexed = index(&mut Reader::new(archive), Vec::new(), [0; 16], out, &mut |_| Ok(()))?;
    Ok(matches!(indexed, Indexed::Done(_)))
}

/// Whether a file keeps this attribute, as one on disk does that the unprivileged helper makes: those of users (`user.`)
/// only on what `takes_user`.
fn keeps_xattr(name: &str, value: &[u8], takes_user: bool) -> Result<bool, Stop> {
    /// Second version of the value: what is allowed to whom, without the owner of a user namespace.
    const CAPABILITY_BYTES: usize = 20;
    const CAPABILITY_VERSION: u8 = 2;
    let kept = match name {
        _ if is_dropped(name) => false,
        "security.capability" => {
            if value.len() != CAPABILITY_BYTES || value[1..4] != [0, 0, CAPABILITY_VERSION] || value[0] > 1 {
                return Err(Stop::Unsuitable("a file capability of an unusual version"));
            }
            true
        }
        _ if name.starts_with("trusted.") => true,
        _ if name.starts_with("user.") => takes_user,
        // Access lists are passed on to what is made in a directory.
        _ if name.starts_with("system.") && takes_user => return Err(Stop::Unsuitable("an access list")),
        _ => false,
    };
    if kept && !format::is_writable_xattr(name, value) {
        return Err(Stop::Unsuitable("an attribute with a long name or value"));
    }
    Ok(kept)
}
