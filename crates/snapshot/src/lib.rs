//! Layered file systems: apply layers, prepare a root for a container, remove.

#![forbid(unsafe_code)]
