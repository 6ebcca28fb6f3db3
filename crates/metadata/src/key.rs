//! What can be a key.

use rorqual_types::{ContainerId, ContainerName, Digest, ExecId, VolumeName};

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

impl Key for u64 {
    fn to_key(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn from_key(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

macro_rules! text_keys {
    ($($type:ty),*) => {$(
        impl Key for $type {
            fn to_key(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }

            fn from_key(bytes: &[u8]) -> Option<Self> {
                std::str::from_utf8(bytes).ok()?.parse().ok()
            }
        }
    )*};
}

text_keys!(ContainerId, ContainerName, Digest, ExecId, VolumeName);
