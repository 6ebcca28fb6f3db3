//! What outsiders may send us, and what must hold whatever they send: one function per reader of foreign bytes.
//!
//! A target takes any bytes and panics where a promise is broken: that what is printed reads back as the same, that two
//! readers see one thing, that nothing leads outside or past an end. libFuzzer looks for such bytes (`driver/`, started by
//! `cargo xtask fuzz`); the inputs worth keeping stand in `corpus/TARGET/` and are replayed by the tests.

#![forbid(unsafe_code)]

mod challenge;
mod compressed;
mod document;
mod erofs;
mod go;
mod layer;
mod range;
mod reference;
mod tar;

/// A reader, and how it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What the command line and the corpus call it.
    pub name: &'static str,
    /// Reads the bytes; panics where what must hold does not.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 9] = [
    Target { name: "reference", run: reference::run },
    Target { name: "manifest", run: document::manifest },
    Target { name: "index", run: document::index },
    Target { name: "challenge", run: challenge::run },
    Target { name: "range", run: range::run },
    Target { name: "tar", run: tar::run },
    Target { name: "gzip", run: compressed::gzip },
    Target { name: "zstd", run: compressed::zstd },
    Target { name: "layer", run: layer::run },
];
