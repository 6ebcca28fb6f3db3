//! `context use`.

use super::store::{DEFAULT, Store};
use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::Result,
};

/// `rorqual context use`.
pub const COMMAND: Command = Command {
    path: "context use",
    aliases: &[],
    operands: "CONTEXT",
    about: "Set the current context",
    args: Args::Exactly(1),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let name = matches.arg(0);
    let stored = match name {
        DEFAULT => None,
        name => {
            Store::of(cli.config.directory()).get(name)?;
            Some(name.into())
        }
    };
    if cli.config.text("currentContext") != stored.as_ref().map_or("", |_| name) {
        cli.config.store("currentContext", stored)?;
    }
    cli.line(name)?;
    eprintln!("Current context is now {name:?}");
    if name != DEFAULT {
        super::warn_of_host(Some(name));
    }
    Ok(0)
}
