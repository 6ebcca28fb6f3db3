//! Full names, familiar names, and the name of what has none.

use rorqual_types::{Digest, Reference};

/// The name under which docker keeps images without a name.
const DANGLING: &str = "moby-dangling@";

/// The name of the image `id` where it has no other.
pub(crate) fn dangling(id: &Digest) -> String {
    format!("{DANGLING}{id}")
}

/// Whether it stands for no name.
pub(crate) fn is_dangling(name: &str) -> bool {
    name.starts_with(DANGLING)
}

/// As users type it; `None` for what stands for no name.
pub(crate) fn familiar(name: &str) -> Option<String> {
    if is_dangling(name) {
        return None;
    }
    Some(name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar()))
}

/// The first twelve digits of an ID.
pub(crate) fn short(id: &Digest) -> String {
    id.hex().chars().take(12).collect()
}
