//! Measures container engines side by side through the Docker API.

#![forbid(unsafe_code)]

fn main() {}
