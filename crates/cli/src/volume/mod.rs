//! `rorqual volume`.

mod create;
mod inspect;
pub(crate) mod ls;
pub(crate) mod prune;
mod rm;

use crate::args::Group;

/// The group.
pub const GROUP: Group = Group {
    name: "volume",
    about: "Manage volumes",
    commands: &[&create::COMMAND, &inspect::COMMAND, &ls::COMMAND, &prune::COMMAND, &rm::COMMAND],
};
