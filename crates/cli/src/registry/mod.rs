//! `rorqual registry`: a registry server of our own. No daemon is called.

mod gc;
mod serve;

use crate::{
    args::{Flag, Group, Kind, Matches},
    failure::{Failure, Result},
};
use rorqual_registry::{Config, Options};
use std::path::Path;

/// The group.
pub const GROUP: Group =
    Group { name: "registry", about: "Serve images to others", commands: &[&gc::COMMAND, &serve::COMMAND] };

/// Where a registry is unless the user says otherwise.
const ROOT: &str = "/var/lib/rorqual-registry";
const ROOT_FLAG: Flag = Flag::string("root", "Directory of the registry").default(ROOT);
const UNTAGGED_FLAG: Flag = Flag::switch("gc-untagged", "Collect manifests without a tag too");

/// What the flags of a command say; those in `others` are not the registry's.
fn config(matches: &Matches, flags: &[Flag], others: &[&str]) -> Result<Config> {
    let mut options = Options::default();
    for flag in flags.iter().filter(|flag| matches.given(flag.long) && !others.contains(&flag.long)) {
        match flag.kind {
            Kind::Switch => options.set(flag.long, matches.on(flag.long).to_string())?,
            _ => matches.list(flag.long).iter().try_for_each(|value| options.set(flag.long, value))?,
        }
    }
    Ok(options.config(Path::new(ROOT))?)
}

impl From<rorqual_error::Error> for Failure {
    fn from(error: rorqual_error::Error) -> Self {
        Self::message(error.to_string())
    }
}
