//! `cargo xtask run`: the shortest way from a clone to a running container.

use crate::build;
use anyhow::{Context as _, Result, bail};
use rorqual_testkit::{images, places};
use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// What runs in the foreground: starts the daemon, shows what it can do, waits, and takes all of it away again.
/// A shell does it because it can wait for signals, which safe Rust without a library cannot.
const SCRIPT: &str = include_str!("demo.sh");

/// Builds and runs. `--debug` takes the quick build; `--once` ends after the container's output.
pub fn run(words: &[String]) -> Result<()> {
    let has = |flag: &str| words.iter().any(|word| word == flag);
    if let Some(unknown) = words.iter().find(|word| !["--debug", "--once"].contains(&word.as_str())) {
        bail!("run takes --debug and --once, not {unknown}");
    }
    if !Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.starts_with(b"0\n")) {
        bail!("containers need root here: run it as root, or by `sudo -E env PATH=$PATH cargo xtask run`");
    }
    println!("building (the first time takes some minutes) ...");
    let profile = if has("--debug") { build::Profile::Dev } else { build::Profile::Release };
    let bin = build::all(profile)?;
    let image = bin.join("hello-image.tar");
    images::hello_of(&bin.join("rorqual-hello")).save(&image);
    // short, because a socket's path may have 108 bytes only
    let root = tempfile::Builder::new().prefix("rorqual-").tempdir().context("make a private root")?;
    fs::write(root.path().join("daemon.json"), "{}\n").context("write an empty configuration")?;
    let sweep = places::top().join("testkit/scripts/sweep.sh");
    let status = supervise(&bin, &image, root.path(), &sweep, has("--once"))?;
    if status != 0 {
        bail!("the demonstration ended with {status}");
    }
    Ok(())
}

fn supervise(bin: &Path, image: &Path, root: &Path, sweep: &Path, once: bool) -> Result<i32> {
    std::io::stdout().flush()?;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "run"]).args([bin, image, root, sweep]).arg(if once { "once" } else { "stay" });
    command.stdin(Stdio::null());
    let mut child = command.spawn().context("start a shell")?;
    // Ctrl-C reaches the shell too, and ends us after it: the shell cleans up either way
    Ok(child.wait().context("wait for the shell")?.code().unwrap_or(1))
}
