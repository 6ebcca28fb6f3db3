//! The runtime against the real kernel.

#![forbid(unsafe_code)]
