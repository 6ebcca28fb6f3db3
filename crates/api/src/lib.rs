//! HTTP: decode, call, encode. One file per noun, one table of routes.

#![forbid(unsafe_code)]
