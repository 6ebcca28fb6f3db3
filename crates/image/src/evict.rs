//! What a disk budget asks of images: what each would give back and when it was last of use, and the removal of those
//! that it chose.

use crate::{
    Deleted, Images, Users,
    filters::matches_reference,
    name::{familiar, is_dangling},
};
use rorqual_error::{Error, Result};
use rorqual_types::{ChainId, Digest, Filters};
use std::collections::HashSet;

/// Something on the disk that several images may lead to. A layer may have the digest of its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// A blob.
    Blob(Digest),
    /// An unpacked layer.
    Layer(ChainId),
}

/// An image as a disk budget sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its ID.
    pub id: Digest,
    /// Its names as users write them.
    pub names: Vec<String>,
    /// When its name was last set or its last container was removed, nanoseconds since 1970.
    pub used_ns: i64,
    /// Whether a container uses it or a pin names it.
    pub kept: bool,
    /// The blobs and layers that it leads to and no container holds, with the bytes of each.
    pub pieces: Vec<(Piece, u64)>,
}

impl Images {
    /// All images. `users` tells which containers use which; `pinned` are patterns of names as the filter `reference`
    /// takes them. An image that cannot be read gives nothing back.
    pub fn tenants(&self, users: &dyn Users, pinned: &[String]) -> Vec<Tenant> {
        let used: HashSet<Digest> = users.users().into_iter().map(|user| user.image).collect();
        let mut pins = Filters::default();
        pinned.iter().for_each(|pattern| pins.add("reference", pattern));
        let is_pinned = |name: &String| !pinned.is_empty() && matches_reference(&pins, name);
        let tenants = self.by_target().into_iter().map(|image| {
            let id = image.target.digest;
            let holdings = self.holdings_of(&image.target).unwrap_or_default();
            let state = self.state();
            let held: HashSet<&Digest> = state.holds.values().flat_map(|hold| &hold.chain).collect();
            let blobs =
                holdings.blobs.iter().filter_map(|digest| Some((Piece::Blob(*digest), *state.blobs.get(digest)?)));
            let layers = holdings.layers.iter().filter(|chain| !held.contains(chain));
            let layers = layers.map(|chain| (Piece::Layer(*chain), state.added(chain)));
            let set = image.names.iter().filter_map(|name| state.names.get(name)).map(|record| record.updated_ns);
            let released = state.used.get(&id).copied();
            Tenant {
                id,
                used_ns: set.chain(released).max().unwrap_or_default(),
                kept: used.contains(&id) || image.names.iter().any(is_pinned),
                pieces: blobs.chain(layers).collect(),
                names: image.names.iter().filter(|name| !is_dangling(name)).filter_map(|name| familiar(name)).collect(),
            }
        });
        tenants.collect()
    }

    /// Removes an image with all its names, and gives the bytes that are free again.
    ///
    /// # Errors
    /// `Conflict` where a container uses it by now.
    pub fn evict(&self, id: &Digest, users: &dyn Users) -> Result<(Deleted, u64)> {
        let _change = self.change();
        if users.users().iter().any(|user| user.image == *id) {
            return Err(Error::conflict(format!("image {id} is used by a container")));
        }
        self.delete_whole(id)
    }

    /// Removes what interrupted pulls have left and nobody has asked for in `age`. Gives the bytes.
    pub fn evict_partials(&self, age: std::time::Duration) -> Result<u64> {
        self.sweep_partials(age)
    }
}
