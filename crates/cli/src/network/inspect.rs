//! `network inspect`.

use crate::{
    args::{Args, Command, Flag},
    inspect::{self, FORMAT, Kind},
};

/// `rorqual network inspect`.
pub const COMMAND: Command = Command {
    path: "network inspect",
    aliases: &[],
    operands: "NETWORK [NETWORK...]",
    about: "Show all that is known of networks",
    args: Args::AtLeast(1),
    flags: &[FORMAT, Flag::switch("verbose", "Ask for what only a network's owner knows").short('v')],
    flags_first: false,
    run: |cli, matches| Box::pin(inspect::run(cli, matches, &[Kind::Network], true)),
};
