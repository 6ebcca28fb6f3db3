//! Sets of changes, in memory and as the bytes of a journal record.

use std::collections::BTreeMap;

/// One record set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Table, a zero byte, key.
    pub(crate) path: Vec<u8>,
    /// The new value; `None` removes.
    pub(crate) value: Option<Vec<u8>>,
}

/// The changes of one transaction, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(Vec<Change>);

/// Committed changes that are not in the database yet; the newest of each record.
pub(crate) type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Changes {
    pub(crate) fn push(&mut self, change: Change) {
        self.0.push(change);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn apply(self, overlay: &mut Overlay) {
        for change in self.0 {
            overlay.insert(change.path, change.value);
        }
    }

    /// Appends `[path length u32][path][value length u32, or all ones][value]` for each change.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for change in &self.0 {
            let value = change.value.as_deref();
            out.extend_from_slice(&(change.path.len() as u32).to_le_bytes());
            out.extend_from_slice(&change.path);
            out.extend_from_slice(&value.map_or(u32::MAX, |value| value.len() as u32).to_le_bytes());
            out.extend_from_slice(value.unwrap_or_default());
        }
    }

    /// Reads what [`Changes::encode`] wrote; `None` where it is malformed.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut changes = Vec::new();
        while !bytes.is_empty() {
            let path = take(&mut bytes, None)?.to_vec();
            let length = u32::from_le_bytes(*bytes.first_chunk()?);
            bytes = bytes.get(4..)?;
            let value = match length {
                u32::MAX => None,
                length => Some(take(&mut bytes, Some(length))?.to_vec()),
            };
            changes.push(Change { path, value });
        }
        Some(Self(changes))
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: Option<u32>) -> Option<&'a [u8]> {
    let length = match length {
        Some(length) => length,
        None => {
            let length = u32::from_le_bytes(*bytes.first_chunk()?);
            *bytes = bytes.get(4..)?;
            length
        }
    };
    let (taken, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(taken)
}
