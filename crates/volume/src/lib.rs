//! Volumes and the local driver.

#![forbid(unsafe_code)]
