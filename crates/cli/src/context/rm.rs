//! `context rm`.

use super::{
    endpoint,
    store::{DEFAULT, Store},
};
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{self, Failure, Result},
};

/// `rorqual context rm`.
pub const COMMAND: Command = Command {
    path: "context rm",
    aliases: &["context remove"],
    operands: "CONTEXT [CONTEXT...]",
    about: "Remove contexts",
    args: Args::AtLeast(1),
    flags: &[Flag::switch("force", "Remove the context in use too").short('f')],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let store = Store::of(cli.config.directory());
    let mut failures = Vec::new();
    for name in matches.args() {
        match remove(cli, &store, name, matches.on("force")) {
            Ok(()) => cli.line(name)?,
            Err(failure) => failures.push(failure),
        }
    }
    failure::all(failures).map(|()| 0)
}

fn remove(cli: &mut Cli, store: &Store, name: &str, force: bool) -> Result<()> {
    if name == DEFAULT {
        return Err(Failure::message("context \"default\" cannot be removed"));
    }
    if !force {
        store.get(name)?;
    }
    let current = endpoint::current(cli) == name;
    if current && !force {
        return Err(Failure::message(format!("context {name:?} is in use, set -f flag to force remove")));
    }
    if cli.config.text("currentContext") == name {
        cli.config.store("currentContext", None)?;
    }
    store.remove(name).map(drop)
}
