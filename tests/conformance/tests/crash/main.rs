//! The daemon is killed, at random and at every named step, while work is in flight. Afterwards all it acknowledged
//! is there, nothing it did not is half there, and what ran goes on without a line lost.
//!
//! `RORQUAL_KILLS` sets the number of random kills (20), `RORQUAL_SEED` repeats a run.

#![forbid(unsafe_code)]

mod ledger;
mod points;
mod random;
mod shim;

use rorqual_testkit::{Archive, Daemon, Options, archive::Tar, images, places};
use serde_json::json;
use std::fs;

/// A daemon with the images the workers use.
fn start(label: &str, options: Options) -> Daemon {
    let daemon = Daemon::start_with(label, options);
    daemon.load(&images::hello());
    daemon.load(&images::busybox());
    daemon
}

/// A small image of its own content, under `tag`.
fn small_image(tag: &str) -> Vec<u8> {
    let hello = fs::read(places::binary("rorqual-hello")).expect("read hello");
    let mut tar = Tar::new();
    tar.file("hello", 0o755, &hello).file("name", 0o644, tag.as_bytes());
    for number in 0..20 {
        tar.file(&format!("d{number}"), 0o644, tag.as_bytes());
    }
    Archive::new(tag, json!({"Entrypoint": ["/hello"]})).layer(tar.finish()).docker_archive()
}

/// Checks that lines are 1, 2, 3, ... without one lost or doubled; gives how many.
#[track_caller]
fn consecutive(log: &str) -> usize {
    for (at, line) in log.lines().enumerate() {
        assert_eq!(line, (at + 1).to_string(), "line {} of the log", at + 1);
    }
    log.lines().count()
}
