//! Volumes: to be filled.

/// The component.
#[derive(Clone, Debug)]
pub struct Volumes {}
