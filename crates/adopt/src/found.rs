//! What a data root holds: an object, or why it cannot be taken.

use rorqual_error::Result;

/// One object by name.
#[derive(Debug)]
pub struct Found<T> {
    /// As users call it.
    pub what: String,
    /// The object, or what stands against it.
    pub object: Result<T>,
}
