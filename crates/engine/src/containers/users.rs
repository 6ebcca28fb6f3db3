//! Ranges of host ids for the containers' user namespaces: each running container has its own.

use rorqual_error::{Error, Result};
use rorqual_types::ContainerId;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// The first host id that is given away; below are the host's own users and what it may have delegated.
const FIRST: u32 = 0x1000_0000;
/// Ids in one slot.
const SLOT: u32 = 65_536;
/// Slots there are: the rest of the ids, the last one kept out because 2^32-1 means "no id".
const SLOTS: u32 = (u32::MAX - FIRST) / SLOT;

/// Where a container's ids are on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The host's id of user 0.
    pub uid: u32,
    /// The host's id of group 0.
    pub gid: u32,
    /// How many.
    pub size: u32,
}

/// Who has which slots.
#[derive(Debug, Default)]
pub struct IdRanges {
    /// By first slot: how many, and whose.
    taken: Mutex<BTreeMap<u32, (u32, ContainerId)>>,
}

impl IdRanges {
    /// Gives `container` a range that holds all ids up to `max_id`.
    pub fn take(&self, container: &ContainerId, max_id: u32) -> Result<IdRange> {
        let slots = max_id / SLOT + 1;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = 0;
        for (start, (count, _)) in taken.iter() {
            if start - first >= slots {
                break;
            }
            first = start + count;
        }
        if first.checked_add(slots).is_none_or(|end| end > SLOTS) {
            return Err(Error::unavailable("no range of user ids is left for the container's user namespace"));
        }
        taken.insert(first, (slots, container.clone()));
        let host = FIRST + first * SLOT;
        Ok(IdRange { uid: host, gid: host, size: slots * SLOT })
    }

    /// Notes a range that a running container has already.
    pub fn adopt(&self, container: &ContainerId, range: IdRange) {
        if let Some(offset) = range.uid.checked_sub(FIRST) {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.insert(offset / SLOT, (range.size.div_ceil(SLOT).max(1), container.clone()));
        }
    }

    /// Takes back what `container` has.
    pub fn release(&self, container: &ContainerId) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, owner)| owner != container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ContainerId {
        ContainerId::from_random([byte; 32])
    }

    #[test]
    fn ranges_never_overlap_and_gaps_are_filled() {
        let ranges = IdRanges::default();
        let first = ranges.take(&id(1), 1000).unwrap();
        let wide = ranges.take(&id(2), 70_000).unwrap();
        let third = ranges.take(&id(3), 0).unwrap();
        assert_eq!(first, IdRange { uid: FIRST, gid: FIRST, size: SLOT });
        assert_eq!(wide, IdRange { uid: FIRST + SLOT, gid: FIRST + SLOT, size: 2 * SLOT });
        assert_eq!(third.uid, FIRST + 3 * SLOT);
        ranges.release(&id(2));
        assert_eq!(ranges.take(&id(4), 10).unwrap().uid, FIRST + SLOT);
        assert_eq!(ranges.take(&id(5), 10).unwrap().uid, FIRST + 2 * SLOT);
        assert_eq!(ranges.take(&id(6), 10).unwrap().uid, FIRST + 4 * SLOT);
    }

    #[test]
    fn an_image_that_owns_the_highest_id_is_refused() {
        assert!(IdRanges::default().take(&id(1), u32::MAX).is_err());
    }

    #[test]
    fn an_adopted_range_is_not_given_again() {
        let ranges = IdRanges::default();
        ranges.adopt(&id(1), IdRange { uid: FIRST, gid: FIRST, size: SLOT });
        assert_eq!(ranges.take(&id(2), 0).unwrap().uid, FIRST + SLOT);
    }
}
