//! Binaries: the daemon and the command line as the toolchain links them, the shim and the image's program static.

use crate::{cargo, check};
use anyhow::{Context as _, Result};
use rorqual_testkit::places;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// How to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build; tests use it.
    Dev,
    /// What one installs.
    Release,
}

impl Profile {
    /// The name of cargo's directory.
    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds all four programs; gives the directory they were put into.
pub fn all(profile: Profile) -> Result<PathBuf> {
    let release = (profile == Profile::Release).then_some("--release");
    check(cargo().args(["build", "--quiet", "-p", "rorquald", "-p", "rorqual"]).args(release))?;
    let target = static_target()?;
    let mut command = cargo();
    command.args(["build", "--quiet", "-p", "rorqual-shim", "-p", "rorqual-hello", "--target", &target]).args(release);
    if !target.contains("musl") {
        // Neither program outlives a broken invariant; without unwinding they are smaller in memory.
        command.env("RUSTFLAGS", "-C target-feature=+crt-static -C panic=abort");
    }
    check(&mut command)?;
    let out = places::target().join("dist").join(profile.directory());
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let dynamic = places::target().join(profile.directory());
    let fixed = places::target().join(&target).join(profile.directory());
    for (from, name) in
        [(&dynamic, "rorquald"), (&dynamic, "rorqual"), (&fixed, "rorqual-shim"), (&fixed, "rorqual-hello")]
    {
        install(&from.join(name), &out.join(name))?;
    }
    Ok(out)
}

/// Puts a program where a running copy of it may be: by rename, never by writing over it.
fn install(from: &Path, to: &Path) -> Result<()> {
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if modified(to) >= modified(from) && to.exists() {
        return Ok(());
    }
    let temporary = to.with_extension("new");
    fs::copy(from, &temporary).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&temporary, to).with_context(|| format!("rename to {}", to.display()))
}

/// The musl target where it is installed (smaller), otherwise the host's own, which links statically too.
fn static_target() -> Result<String> {
    let machine = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    let musl = format!("{machine}-unknown-linux-musl");
    let out = Command::new("rustc").args(["--print", "sysroot"]).current_dir(places::top()).output();
    let sysroot = String::from_utf8(out.context("ask rustc for its sysroot")?.stdout)?;
    let installed = Path::new(sysroot.trim()).join("lib/rustlib").join(&musl).join("lib").exists();
    Ok(if installed { musl } else { format!("{machine}-unknown-linux-gnu") })
}
