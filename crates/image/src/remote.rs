//! What a registry looks like from here: the engine brings it, with its transport and credentials. All calls block.

use crate::oci::Descriptor;
use rorqual_error::Result;
use rorqual_types::{Digest, Reference};
use std::fs::File;

/// Takes a blob's bytes as they arrive, in order; an error ends the transfer.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + Send + 'a;

/// A repository to pull from.
pub trait Source: Sync {
    /// The manifest or index under the tag or digest that is pulled: its descriptor and its exact bytes, which have
    /// the digest that the descriptor (and the request, where it named one) says.
    fn root(&self) -> Result<(Descriptor, Vec<u8>)>;

    /// A manifest or index by its descriptor: bytes of exactly that digest and length.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>>;

    /// What refers to the manifest or index `subject`, as the registry lists it: the list is verified by nobody.
    /// `given_up` is asked now and then.
    fn referrers(&self, subject: &Digest, given_up: &(dyn Fn() -> bool + Sync)) -> Result<Vec<Descriptor>> {
        let _ = (subject, given_up);
        Ok(Vec::new())
    }

    /// The bytes of a blob from `offset` to its end. Interruptions are the source's to repair; what arrives is not
    /// verified there.
    fn fetch(&self, blob: &Descriptor, offset: u64, sink: &mut Sink<'_>) -> Result<()>;
}

/// What became of a blob that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was sent.
    Sent,
    /// It was there.
    Existed,
    /// It was there in another repository, `from`'s element of this number, and is linked from it.
    Mounted(usize),
}

/// A repository to push to.
pub trait Destination: Sync {
    /// Sends a blob that may be there already; `open` gives it from its start, `progress` is told the bytes sent.
    /// `from` names images of this registry that have the blob here, and so probably there.
    fn blob(
        &self,
        blob: &Descriptor,
        from: &[Reference],
        open: &(dyn Fn() -> Result<File> + Sync),
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Pushed>;

    /// Sends a manifest or index, under `tag` or, without one, under its digest only.
    fn document(&self, descriptor: &Descriptor, bytes: &[u8], tag: Option<&str>) -> Result<Digest>;

    /// Sends a manifest or index that refers to `subject`, which is there, so that it is found by it.
    fn referrer(&self, subject: &Digest, descriptor: &Descriptor, bytes: &[u8]) -> Result<()>;
}
