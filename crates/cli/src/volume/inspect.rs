//! `volume inspect`.

use crate::{
    args::{Args, Command},
    inspect::{self, FORMAT, Kind},
};

/// `rorqual volume inspect`.
pub const COMMAND: Command = Command {
    path: "volume inspect",
    aliases: &[],
    operands: "VOLUME [VOLUME...]",
    about: "Show all that is known of volumes",
    args: Args::AtLeast(1),
    flags: &[FORMAT],
    flags_first: false,
    run: |cli, matches| Box::pin(inspect::run(cli, matches, &[Kind::Volume], true)),
};
