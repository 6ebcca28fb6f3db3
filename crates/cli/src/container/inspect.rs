//! `container inspect`.

use crate::{
    args::{Args, Command},
    inspect::{self, FORMAT, Kind},
};

/// `rorqual container inspect`.
pub const COMMAND: Command = Command {
    path: "container inspect",
    aliases: &[],
    operands: "CONTAINER [CONTAINER...]",
    about: "Show all that is known of containers",
    args: Args::AtLeast(1),
    flags: &[FORMAT, crate::args::Flag::switch("size", "Show the sizes of files too").short('s')],
    flags_first: false,
    run: |cli, matches| Box::pin(inspect::run(cli, matches, &[Kind::Container], true)),
};
