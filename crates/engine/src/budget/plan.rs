//! Which cached things go, so that a disk budget is kept: a function of what there is, without a clock or a disk.
//!
//! Images share blobs and layers, so what one gives back depends on which others go. Whatever else is cached (the builder's
//! records) joins as entries with keys of its own.

use rorqual_image::Piece;
use std::collections::{HashMap, HashSet};

/// Something that could go.
#[derive(Clone, Debug)]
pub(crate) struct Entry<K> {
    /// What it is.
    pub key: K,
    /// When it was last of use; any unit.
    pub used: i64,
    /// Whether it must stay.
    pub kept: bool,
    /// The pieces it stands on, each once, and their bytes. A piece is free when nothing stands on it any more.
    pub pieces: Vec<(Piece, u64)>,
}

/// What is to go, least recently used first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan<K> {
    pub keys: Vec<K>,
    /// Bytes that all of it gives back.
    pub freed: u64,
}

/// How many entries stand on each piece.
struct Users(HashMap<Piece, u32>);

impl Users {
    /// Bytes that go with the entry.
    fn remove<K>(&mut self, entry: &Entry<K>) -> u64 {
        let mut freed = 0;
        for (piece, bytes) in &entry.pieces {
            if let Some(users) = self.0.get_mut(piece) {
                *users -= 1;
                freed += if *users == 0 { *bytes } else { 0 };
            }
        }
        freed
    }

    /// Bytes that stay with the entry.
    fn restore<K>(&mut self, entry: &Entry<K>) -> u64 {
        let mut kept = 0;
        for (piece, bytes) in &entry.pieces {
            let users = self.0.entry(*piece).or_default();
            kept += if *users == 0 { *bytes } else { 0 };
            *users += 1;
        }
        kept
    }
}

/// The least recently used entries whose removal frees `need` bytes, or as many as can be; none is removed in vain.
pub(crate) fn plan<K: Clone>(entries: &[Entry<K>], need: u64) -> Plan<K> {
    let mut users = Users(HashMap::new());
    for (piece, _) in entries.iter().flat_map(|entry| &entry.pieces) {
        *users.0.entry(*piece).or_default() += 1;
    }
    let mut candidates: Vec<&Entry<K>> = entries.iter().filter(|entry| !entry.kept).collect();
    candidates.sort_by_key(|entry| entry.used);
    let mut chosen = Vec::new();
    let mut freed = 0;
    for entry in candidates {
        if freed >= need {
            break;
        }
        freed += users.remove(entry);
        chosen.push(entry);
    }
    // Some of it may not have been necessary, for what came later gave enough; the most recently used is spared first.
    let enough = need.min(freed);
    let mut spared = HashSet::new();
    for (at, entry) in chosen.iter().enumerate().rev() {
        let kept = users.restore(entry);
        if freed - kept >= enough {
            freed -= kept;
            spared.insert(at);
        } else {
            users.remove(entry);
        }
    }
    let keys = chosen.iter().enumerate().filter(|(at, _)| !spared.contains(at)).map(|(_, entry)| entry.key.clone());
    Plan { keys: keys.collect(), freed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rorqual_types::Digest;

    /// A layer for a capital letter, which may have the digest of a blob.
    fn piece(name: char) -> Piece {
        let digest = Digest::from_bytes([name.to_ascii_lowercase() as u8; 32]);
        if name.is_ascii_uppercase() { Piece::Layer(digest) } else { Piece::Blob(digest) }
    }

    /// `name used[!] part=bytes ...`, an exclamation mark for what must stay.
    fn check(need: u64, entries: &str, wanted: &str) {
        let parse = |line: &str| {
            let mut words = line.split_whitespace();
            let key = words.next().unwrap().to_owned();
            let used = words.next().unwrap();
            let parts = words.map(|word| {
                let (part, bytes) = word.split_once('=').unwrap();
                (piece(part.chars().next().unwrap()), bytes.parse().unwrap())
            });
            Entry {
                key,
                used: used.trim_end_matches('!').parse().unwrap(),
                kept: used.ends_with('!'),
                pieces: parts.collect(),
            }
        };
        let entries: Vec<Entry<String>> = entries.split(';').map(parse).collect();
        let plan = plan(&entries, need);
        assert_eq!(format!("{} {}", plan.keys.join(","), plan.freed), wanted, "{entries:?}");
    }

    #[test]
    fn the_least_recently_used_go_first() {
        check(15, "a 3 x=10; b 1 y=10; c 2 z=10", "b,c 20");
        check(10, "a 3 x=10; b 1 y=10; c 2 z=10", "b 10");
        check(0, "a 3 x=10", " 0");
    }

    #[test]
    fn what_must_stay_stays_and_keeps_its_pieces() {
        check(100, "a 1! x=10; b 2 y=10; c 3 x=10 z=5", "b,c 15");
        check(100, "a 1! x=10", " 0");
    }

    #[test]
    fn a_shared_piece_goes_with_its_last_user() {
        check(10, "a 1 x=10; b 2 x=10; c 3 y=10", "a,b 10");
        check(1, "a 1 s=100 x=1; b 2 s=100 y=1", "a 1");
    }

    #[test]
    fn a_layer_is_not_the_blob_of_the_same_digest() {
        check(15, "a 1 x=10 X=1; b 2 y=10 Y=1", "a,b 22");
        check(11, "a 1 x=10 X=1; b 2 X=1 y=20", "b 20");
    }

    #[test]
    fn nothing_is_removed_in_vain() {
        // The first gives too little, the second enough by itself.
        check(50, "a 1 x=10; b 2 y=50", "b 50");
        // No image of these gives anything.
        check(5, "a 1 s=10; b 2! s=10", " 0");
    }
}
