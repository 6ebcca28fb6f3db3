//! What a hostile container, image or archive may not do: the regression list of vulnerability classes.
//!
//! Functions are named after the list: `esc_` escapes, `race_` races against a flipper of names, `tar_` and `bomb_`
//! archives, `leak_` resources, `conf_` the configuration a container sees. `RORQUAL_RACES` sets how often races run.

#![forbid(unsafe_code)]

mod archives;
mod canary;
mod identity;
mod leaks;
mod races;
mod runtime;
mod surface;

use rorqual_testkit::{Archive, Daemon, Finished, archive::Tar, images, places};
use serde_json::json;
use std::{fs, sync::OnceLock};

/// One daemon of ours for all; what the tests make must not stay.
fn daemon() -> &'static Daemon {
    static DAEMON: OnceLock<Daemon> = OnceLock::new();
    DAEMON.get_or_init(|| {
        let daemon = Daemon::start("esc");
        daemon.load(&images::hello());
        daemon.load(&images::busybox());
        daemon
    })
}

/// The docker command line; split at spaces, `%` in a word stands for a space.
#[track_caller]
fn docker(line: &str) -> Finished {
    daemon().docker(line.split_whitespace().map(|word| word.replace('%', " ")))
}

/// How often a race is run.
fn races() -> usize {
    std::env::var("RORQUAL_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// An image with busybox and hello in it, deformed by `deform`, loaded as `tag`.
#[track_caller]
fn image(tag: &str, config: serde_json::Value, deform: impl FnOnce(&mut Tar)) {
    let hello = fs::read(places::binary("rorqual-hello")).expect("read hello");
    let mut base = images::busybox_archive();
    base.tags = vec![format!("{tag}:latest")];
    let mut tar = Tar::new();
    tar.file("hello", 0o755, &hello);
    deform(&mut tar);
    let mut whole = json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]});
    for (key, value) in config.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    base.config = whole;
    let done = load(&base.layer(tar.finish()));
    assert!(!done.contains("error"), "{done}");
}

/// Loads an archive; gives what the daemon streamed.
fn load(archive: &Archive) -> String {
    load_bytes(&archive.docker_archive())
}

fn load_bytes(bytes: &[u8]) -> String {
    match daemon().api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(bytes)) {
        Ok(answer) if answer.status < 400 => answer.text(),
        Ok(answer) => format!("error {}: {}", answer.status, answer.text()),
        // a refusal before the body was read whole
        Err(error) => format!("error: {error}"),
    }
}
