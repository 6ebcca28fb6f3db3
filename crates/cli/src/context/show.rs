//! `context show`.

use super::endpoint;
use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::Result,
};

/// `rorqual context show`.
pub const COMMAND: Command = Command {
    path: "context show",
    aliases: &[],
    operands: "",
    about: "Print the name of the current context",
    args: Args::None,
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, _: &Matches) -> Result<u8> {
    cli.line(endpoint::current(cli))?;
    Ok(0)
}
