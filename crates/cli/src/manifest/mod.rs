//! `rorqual manifest`: images of several platforms put together in a registry, from images that are there. No daemon
//! is called. What docker's command does step by step, and what manifest-tool does from a file.

mod annotate;
mod create;
mod entry;
mod file;
mod inspect;
mod push;
mod remote;
mod rm;
mod store;

use crate::{
    args::{Flag, Group},
    failure::{Failure, Result},
};
use rorqual_types::Reference;

/// The group.
pub const GROUP: Group = Group {
    name: "manifest",
    about: "Put images of several platforms together",
    commands: &[&annotate::COMMAND, &create::COMMAND, &inspect::COMMAND, &push::COMMAND, &rm::COMMAND],
};

const INSECURE: Flag = Flag::switch("insecure", "Speak to the registry without TLS or with any certificate");

/// A name, with tag `latest` unless it says more.
fn reference(text: &str) -> Result<Reference> {
    Ok(text.parse::<Reference>()?.or_latest())
}

fn no_such(reference: &Reference) -> Failure {
    Failure::message(format!("No such manifest: {reference}"))
}
