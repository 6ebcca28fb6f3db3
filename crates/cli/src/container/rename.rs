//! `rename`.

use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::{Failure, Result},
};

/// `rorqual rename`.
pub const COMMAND: Command = Command {
    path: "container rename",
    aliases: &["rename"],
    operands: "CONTAINER NEW_NAME",
    about: "Give a container another name",
    args: Args::Exactly(2),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let (old, new) = (matches.arg(0).trim(), matches.arg(1).trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::message("Error: Neither old nor new names may be empty"));
    }
    let client = cli.client()?;
    match client.post(format!("/containers/{old}/rename")).query("name", new).send().await {
        Ok(_) => Ok(0),
        Err(error) => {
            let why = Failure::from(error).text();
            Err(Failure::message(format!("{why}\nError: failed to rename container named {old}")))
        }
    }
}
