//! `rorqual system`: the daemon itself.

pub(crate) mod df;
pub(crate) mod events;
mod fsck;
pub(crate) mod info;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod moment;
mod prune;
pub(crate) mod version;

use crate::args::Group;

/// The group.
pub const GROUP: Group = Group {
    name: "system",
    about: "Manage the daemon",
    commands: &[&df::COMMAND, &events::COMMAND, &fsck::COMMAND, &info::COMMAND, &prune::COMMAND],
};
