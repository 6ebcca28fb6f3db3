//! How single fields are read and written where serde's own way differs from Go's.

use serde::{Deserialize, Deserializer};

/// Whether a field holds its zero value, which dockerd leaves out of an answer where its type says `omitempty`.
pub fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads `null` as the zero value.
pub fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a list of strings, or one string as a list of one: what `Cmd`, `Entrypoint`, `CapAdd` and `CapDrop` take.
pub(crate) fn string_list<'de, D>(deserializer: D) -> Result<Option<Vec<String>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<Option<String>>),
        One(String),
    }
    Ok(Option::<OneOrMany>::deserialize(deserializer)?.map(|value| match value {
        OneOrMany::Many(list) => list.into_iter().map(Option::unwrap_or_default).collect(),
        OneOrMany::One(text) => vec![text],
    }))
}
