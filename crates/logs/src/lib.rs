//! Container output: the json-file format, rotation, reading, follow.

#![forbid(unsafe_code)]
