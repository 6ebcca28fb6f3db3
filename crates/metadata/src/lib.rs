//! The node's records in one embedded transactional store.

#![forbid(unsafe_code)]
