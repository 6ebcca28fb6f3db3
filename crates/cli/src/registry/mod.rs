//! `rorqual registry`: a registry server of our own. No daemon is called.

mod gc;
mod serve;

use crate::{
    args::{Flag, Group, Matches},
    failure::{Failure, Result},
};
use rorqual_registry::Config;
use std::{net::SocketAddr, path::PathBuf};

/// The group.
pub const GROUP: Group =
    Group { name: "registry", about: "Serve images to others", commands: &[&gc::COMMAND, &serve::COMMAND] };

/// Where a registry is unless the user says otherwise.
const ROOT: &str = "/var/lib/rorqual-registry";
/// Where it listens.
const ADDRESS: &str = "127.0.0.1:5000";

const ROOT_FLAG: Flag = Flag::string("root", "Directory of the registry").default(ROOT);
const UNTAGGED_FLAG: Flag = Flag::switch("gc-untagged", "Collect manifests without a tag too");

/// What the flags that all commands share say.
fn config(matches: &Matches) -> Result<Config> {
    let root: PathBuf = matches.last("root").unwrap_or(ROOT).into();
    let address = address(matches.last("address").unwrap_or(ADDRESS))?;
    let mut config = Config::new(root, address);
    config.collect.keep_untagged = !matches.on("gc-untagged");
    Ok(config)
}

/// `ADDRESS:PORT`, or `:PORT` for all addresses.
fn address(text: &str) -> Result<SocketAddr> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| Failure::message(format!("invalid address {text:?}: say ADDRESS:PORT or :PORT")))
}

impl From<rorqual_error::Error> for Failure {
    fn from(error: rorqual_error::Error) -> Self {
        Self::message(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port() {
        assert_eq!(address(":5000").unwrap().to_string(), "[::]:5000");
        assert_eq!(address("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        for bad in ["", "5000", "localhost:5000", "127.0.0.1", ":x"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
