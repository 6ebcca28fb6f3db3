//! Manifests in memory, newest use first, within a bound.

use bytes::Bytes;
use rorqual_types::Digest;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Two generations: what is used moves to the young one; when that holds half the bound it becomes the old one, and the
/// old one is forgotten.
#[derive(Debug)]
pub(crate) struct Cache {
    half: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Bytes>,
    bytes: usize,
    old: HashMap<Digest, Bytes>,
}

impl Cache {
    /// With room for `bound` bytes.
    pub(crate) fn new(bound: usize) -> Self {
        Self { half: bound / 2, generations: Mutex::default() }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Bytes> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = generations.young.get(digest) {
            return Some(bytes.clone());
        }
        let bytes = generations.old.remove(digest)?;
        generations.insert(*digest, bytes.clone(), self.half);
        Some(bytes)
    }

    pub(crate) fn put(&self, digest: Digest, bytes: Bytes) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, bytes, self.half);
    }
}

impl Generations {
    fn insert(&mut self, digest: Digest, bytes: Bytes, half: usize) {
        if bytes.len() > half {
            return;
        }
        if self.bytes + bytes.len() > half {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        let length = bytes.len();
        if self.young.insert(digest, bytes).is_none() {
            self.bytes += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_what_is_used_stays() {
        let cache = Cache::new(100);
        let digest = |n: u8| Digest::from_bytes([n; 32]);
        for n in 0..50 {
            cache.put(digest(n), Bytes::from(vec![n; 10]));
            assert_eq!(cache.get(&digest(0)).unwrap(), vec![0; 10]);
            let generations = cache.generations.lock().unwrap();
            assert!(generations.young.len() + generations.old.len() <= 10);
        }
        assert!(cache.get(&digest(1)).is_none());
        cache.put(digest(99), Bytes::from(vec![0; 51]));
        assert!(cache.get(&digest(99)).is_none());
    }
}
