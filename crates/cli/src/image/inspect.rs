//! `image inspect`.

use crate::{
    args::{Args, Command, Flag},
    inspect::{self, FORMAT, Kind},
};

/// `rorqual image inspect`.
pub const COMMAND: Command = Command {
    path: "image inspect",
    aliases: &[],
    operands: "IMAGE [IMAGE...]",
    about: "Show all that is known of images",
    args: Args::AtLeast(1),
    flags: &[FORMAT, Flag::string("platform", "Platform of the image, where it has several (linux/amd64)")],
    flags_first: false,
    run: |cli, matches| Box::pin(inspect::run(cli, matches, &[Kind::Image], true)),
};
