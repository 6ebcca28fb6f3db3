//! Where a registry keeps what it has: records by key, blobs by digest, uploads by key.
//!
//! A directory ([`Local`]) and an object store ([`Objects`]) do not know what the records mean. [`Node`] has none, and
//! makes up those that give its content by digest.

mod local;
mod node;
mod objects;
#[cfg(test)]
mod tests;

pub(crate) use local::Local;
pub(crate) use node::Node;
pub(crate) use objects::Objects;

use crate::body::Source;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use rorqual_error::Result;
use rorqual_types::Digest;
use std::{fmt, fs::File, ops::Range, time::Duration};

/// What an operation of a storage returns.
pub(crate) type Later<'a, T> = BoxFuture<'a, Result<T>>;

/// A change of one record. Values are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Sets it.
    Put(String, Vec<u8>),
    /// Removes it; absent is fine.
    Delete(String),
}

/// Where a registry keeps what it has.
pub(crate) trait Storage: fmt::Debug + Send + Sync {
    /// The record `key`.
    fn get<'a>(&'a self, key: &'a str) -> Later<'a, Option<Vec<u8>>>;

    /// The keys that begin with `prefix` and come after `after`, `limit` at most, in order.
    fn page<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Later<'a, Vec<String>>;

    /// Carries changes out in their order; they survive a power cut when it returns. After a failure or a crash, a
    /// beginning of them may have been carried out.
    fn apply(&self, changes: Vec<Change>) -> Later<'_, ()>;

    /// Keeps a small blob; it survives a power cut when it returns.
    fn put_blob(&self, bytes: Bytes) -> Later<'_, Digest>;

    /// A small blob, its digest verified; `None` where it is not here.
    fn read_blob(&self, digest: Digest, limit: u64) -> Later<'_, Option<Bytes>>;

    /// The bytes of a blob within `range`; `None` where it is not here.
    fn open_blob(&self, digest: Digest, range: Range<u64>) -> Later<'_, Option<Source>>;

    /// The length of a blob; `None` where it is not here.
    fn blob_size(&self, digest: Digest) -> Later<'_, Option<u64>>;

    /// Every blob.
    fn blobs(&self) -> Later<'_, Vec<Digest>>;

    /// Deletes a blob; absent is fine.
    fn delete_blob(&self, digest: Digest) -> Later<'_, ()>;

    /// The upload `key`, made if absent.
    fn begin(&self, key: String) -> Later<'_, Box<dyn Upload>>;

    /// The upload `key` where an earlier one stopped; `None` where there is none.
    fn resume(&self, key: String) -> Later<'_, Option<Box<dyn Upload>>>;

    /// The upload `key` where an earlier one stopped, or a new one.
    fn begin_or_resume(&self, key: String) -> Later<'_, Box<dyn Upload>> {
        Box::pin(async move {
            match self.resume(key.clone()).await? {
                Some(upload) => Ok(upload),
                None => self.begin(key).await,
            }
        })
    }

    /// Every upload that is not open, and how long ago it last grew.
    fn idle_uploads(&self) -> Later<'_, Vec<(String, Duration)>>;

    /// Deletes an upload that is not open; absent is fine.
    fn delete_upload(&self, key: String) -> Later<'_, ()>;
}

/// A blob on its way in. Dropped unfinished, it stays, and [`Storage::resume`] goes on.
pub(crate) trait Upload: fmt::Debug + Send {
    /// Bytes so far.
    fn length(&self) -> u64;

    /// Appends.
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()>;

    /// The file that has everything that is settled, where there is one; it grows.
    fn file(&self) -> Result<Option<File>>;

    /// Waits until everything written survives the process, so that another can go on.
    fn settle(&mut self) -> Later<'_, ()>;

    /// The digest of everything written, all of which now survives a power cut.
    fn digest(&mut self) -> Later<'_, Digest>;

    /// Puts the blob under its digest, after [`Upload::digest`]; it survives a power cut when it returns.
    fn publish(self: Box<Self>) -> Later<'static, ()>;

    /// Deletes it.
    fn discard(self: Box<Self>) -> Later<'static, ()>;
}
