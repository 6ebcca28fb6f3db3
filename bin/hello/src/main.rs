//! The program in the built-in image: hello, and small verbs for tests.

#![forbid(unsafe_code)]

fn main() {}
