//! The node's records in one embedded transactional store.
//!
//! A commit is one record appended to a journal; a background thread folds the journal into a redb database.
//! Reads see every committed change at once. What survives what is said by [`Durability`].

#![forbid(unsafe_code)]

pub mod failpoint;

use rorqual_error::Result;
use serde::{Serialize, de::DeserializeOwned};
use std::{marker::PhantomData, path::Path, sync::Arc};

/// The store of one data root. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<()>,
}

/// How much a commit must survive before it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// `kill -9` of the daemon; after a power cut at most the last 10 ms are missing.
    Grouped,
    /// A power cut.
    Synced,
}

/// A key: text that sorts as it is written. Ids, names and digests are keys.
pub trait Key {
    /// The key's bytes.
    fn to_key(&self) -> Vec<u8>;
    /// Reads it back; `None` where the bytes are no such key.
    fn from_key(bytes: &[u8]) -> Option<Self>
    where
        Self: Sized;
}

impl Key for String {
    fn to_key(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_key(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

/// One kind of record; values are stored as JSON, so that fields can be added.
#[derive(Debug)]
pub struct Table<K, V> {
    store: Store,
    name: &'static str,
    types: PhantomData<fn(K, V)>,
}

impl Store {
    /// Opens the store in `directory` (made if absent), finishing whatever a crash interrupted.
    ///
    /// # Errors
    /// `Conflict` if another process has it open; `Internal` where the journal is damaged in its middle.
    pub fn open(directory: &Path) -> Result<Self> {
        let _ = directory;
        todo!()
    }

    /// The table `name`; made by its first write.
    pub fn table<K: Key, V: Serialize + DeserializeOwned>(&self, name: &'static str) -> Table<K, V> {
        Table { store: self.clone(), name, types: PhantomData }
    }

    /// An empty set of changes that [`Transaction::commit`] applies together.
    pub fn begin(&self) -> Transaction {
        todo!()
    }

    /// Waits until every commit so far survives a power cut.
    pub fn sync(&self) -> Result<()> {
        todo!()
    }

    /// Folds the journal into the database and closes cleanly; later commits fail. Optional: `open` recovers.
    pub fn close(&self) -> Result<()> {
        todo!()
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// The record under `key`.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let _ = (key, &self.store.inner, self.name);
        todo!()
    }

    /// Every record, by key.
    pub fn list(&self) -> Result<Vec<(K, V)>> {
        todo!()
    }

    /// Writes one record: [`Store::begin`], put and commit.
    pub fn put(&self, key: &K, value: &V, durability: Durability) -> Result<()> {
        let _ = (key, value, durability);
        todo!()
    }

    /// Deletes one record.
    pub fn delete(&self, key: &K, durability: Durability) -> Result<()> {
        let _ = (key, durability);
        todo!()
    }
}

/// Changes that become visible and durable together, or not at all. Dropped without commit, it changes nothing.
#[derive(Debug)]
pub struct Transaction {
    _store: Store,
}

impl Transaction {
    /// Sets the record under `key`.
    pub fn put<K: Key, V: Serialize + DeserializeOwned>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<()> {
        let _ = (table, key, value);
        todo!()
    }

    /// Removes the record under `key`; absent is fine.
    pub fn delete<K: Key, V>(&mut self, table: &Table<K, V>, key: &K) {
        let _ = (table, key);
        todo!()
    }

    /// Applies the changes in the order they were made.
    ///
    /// # Errors
    /// Nothing was applied. A full disk is an error of this call alone; the store goes on.
    pub fn commit(self, durability: Durability) -> Result<()> {
        let _ = durability;
        todo!()
    }
}
