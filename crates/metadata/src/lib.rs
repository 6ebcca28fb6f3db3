//! The node's records in one embedded transactional store.
//!
//! A commit is one record appended to a journal; now and then the journal is folded into a redb database.
//! Reads see every committed change at once. What survives what is said by [`Durability`]. Opening is recovery.

#![forbid(unsafe_code)]

mod changes;
pub mod check;
pub mod failpoint;
mod journal;
mod key;
mod limits;
mod store;

pub use key::Key;
pub use store::Store;

use changes::{Change, Changes};
use rorqual_error::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, marker::PhantomData};

/// How much a commit must survive before it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// `kill -9` of the daemon; after a power cut at most the last 10 ms are missing.
    Grouped,
    /// A power cut.
    Synced,
}

/// One kind of record; values are stored as JSON, so that fields can be added.
pub struct Table<K, V> {
    store: Store,
    name: &'static str,
    types: PhantomData<fn(K, V)>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), name: self.name, types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.name)
    }
}

impl<K, V> Table<K, V> {
    /// `name`, a zero byte, the key: what the record is stored under.
    fn path(&self, key: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.name.len() + 1 + key.len());
        path.extend_from_slice(self.name.as_bytes());
        path.push(0);
        path.extend_from_slice(key);
        path
    }
}

impl Store {
    /// The table `name` (no zero byte in it); made by its first write.
    pub fn table<K: Key, V: Serialize + DeserializeOwned>(&self, name: &'static str) -> Table<K, V> {
        Table { store: self.clone(), name, types: PhantomData }
    }

    /// An empty set of changes that [`Transaction::commit`] applies together.
    pub fn begin(&self) -> Transaction {
        Transaction { store: self.clone(), changes: Changes::default() }
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// The record under `key`.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        match self.store.read(&self.path(&key.to_key()))? {
            Some(bytes) => self.decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Every record, by key.
    pub fn list(&self) -> Result<Vec<(K, V)>> {
        let prefix = self.path(&[]);
        let mut records = Vec::new();
        self.store.scan(&prefix, |path, bytes| {
            let key = K::from_key(path.get(prefix.len()..).unwrap_or_default())
                .ok_or_else(|| rorqual_error::Error::internal(format!("table {}: a malformed key", self.name)))?;
            records.push((key, self.decode(bytes)?));
            Ok(())
        })?;
        Ok(records)
    }

    /// At most `limit` records whose keys begin with `prefix` and come after `after`, by key: one page of a long table.
    pub fn page(&self, prefix: &K, after: Option<&K>, limit: usize) -> Result<Vec<(K, V)>> {
        let bare = self.path(&[]).len();
        let after = after.map(|key| self.path(&key.to_key()));
        let records = self.store.page(&self.path(&prefix.to_key()), after.as_deref(), limit)?;
        let decoded = records.iter().map(|(path, bytes)| {
            let key = K::from_key(path.get(bare..).unwrap_or_default())
                .ok_or_else(|| rorqual_error::Error::internal(format!("table {}: a malformed key", self.name)))?;
            Ok((key, self.decode(bytes)?))
        });
        decoded.collect()
    }

    fn decode(&self, bytes: &[u8]) -> Result<V> {
        serde_json::from_slice(bytes).with_context(|| format!("read a record of table {}", self.name))
    }

    /// Writes one record: [`Store::begin`], put and commit.
    pub fn put(&self, key: &K, value: &V, durability: Durability) -> Result<()> {
        let mut transaction = self.store.begin();
        transaction.put(self, key, value)?;
        transaction.commit(durability)
    }

    /// Deletes one record; absent is fine.
    pub fn delete(&self, key: &K, durability: Durability) -> Result<()> {
        let mut transaction = self.store.begin();
        transaction.delete(self, key);
        transaction.commit(durability)
    }
}

/// Changes that become visible and durable together, or not at all. Dropped without commit, it changes nothing.
#[must_use = "a transaction that is not committed changes nothing"]
#[derive(Debug)]
pub struct Transaction {
    store: Store,
    changes: Changes,
}

impl Transaction {
    /// Sets the record under `key`.
    pub fn put<K: Key, V: Serialize + DeserializeOwned>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<()> {
        let bytes = serde_json::to_vec(value).with_context(|| format!("write a record of table {}", table.name))?;
        self.changes.push(Change { path: table.path(&key.to_key()), value: Some(bytes) });
        Ok(())
    }

    /// Removes the record under `key`; absent is fine.
    pub fn delete<K: Key, V>(&mut self, table: &Table<K, V>, key: &K) {
        self.changes.push(Change { path: table.path(&key.to_key()), value: None });
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Applies the changes in the order they were made.
    ///
    /// # Errors
    /// Nothing was applied. A full disk is an error of this call alone; the store goes on. After a failed fsync every
    /// later commit is refused, since what the kernel still has is then unknown.
    pub fn commit(self, durability: Durability) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        self.store.commit(self.changes, durability)
    }
}

#[cfg(test)]
mod tests;
