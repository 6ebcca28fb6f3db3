//! Blobs by digest.

#![forbid(unsafe_code)]
