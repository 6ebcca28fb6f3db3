//! `rorqual network`.

mod inspect;
mod ls;
pub(crate) mod prune;

use crate::args::Group;

/// The group.
pub const GROUP: Group =
    Group { name: "network", about: "Manage networks", commands: &[&inspect::COMMAND, &ls::COMMAND, &prune::COMMAND] };
