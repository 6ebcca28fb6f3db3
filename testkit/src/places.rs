//! Where things are: built binaries, caches, clients.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The top of the work tree.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the manifest is one below the top").to_owned()
}

/// The directory with `rorquald`, `rorqual`, `rorqual-shim` and `rorqual-hello`, as `cargo xtask build` lays them out.
pub fn binaries() -> PathBuf {
    env::var_os("RORQUAL_BIN_DIR").map_or_else(|| target().join("dist/debug"), PathBuf::from)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}

/// One of our programs, by name.
pub fn binary(name: &str) -> PathBuf {
    let path = binaries().join(name);
    assert!(path.exists(), "{} is missing; `cargo xtask build --debug` makes it", path.display());
    path
}

/// What is expensive to make and stays between runs: image trees, clients.
pub fn cache() -> PathBuf {
    let path =
        env::var_os("RORQUAL_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/rorqual-test"), PathBuf::from);
    std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
    path
}

/// The unmodified docker command line the tests drive: `RORQUAL_TEST_DOCKER`, what `xtask` unpacked, or `docker`.
pub fn docker() -> PathBuf {
    if let Some(path) = env::var_os("RORQUAL_TEST_DOCKER") {
        return path.into();
    }
    let unpacked = cache().join("clients/usr/bin/docker");
    if unpacked.exists() { unpacked } else { "docker".into() }
}

/// The Python interpreter that has the published `docker` package.
pub fn python() -> PathBuf {
    env::var_os("RORQUAL_TEST_PYTHON").map_or_else(|| cache().join("python/bin/python3"), PathBuf::from)
}
