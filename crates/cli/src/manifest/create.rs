//! `manifest create`.

use super::{INSECURE, entry::Entry, reference, remote, store::Store};
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
};

/// `rorqual manifest create`.
pub const COMMAND: Command = Command {
    path: "manifest create",
    aliases: &[],
    operands: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Begin a list of images that are in a registry",
    args: Args::AtLeast(2),
    flags: &[Flag::switch("amend", "Add to a list that was begun before").short('a'), INSECURE],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let list = reference(matches.arg(0)).map_err(|why| {
        Failure::message(format!("error parsing name for manifest list {}: {}", matches.arg(0), why.text()))
    })?;
    let store = Store::of(&cli.config);
    let known = store.find(&list)?;
    if known.is_some() && !matches.on("amend") {
        return Err(Failure::message("refusing to amend an existing manifest list with no --amend flag"));
    }
    let mut entries: Vec<Entry> = known.unwrap_or_default();
    for name in &matches.args()[1..] {
        let name = reference(name)?;
        if entries.iter().all(|entry| entry.name != name.to_string()) {
            entries.push(remote::manifest(cli, &name, matches.on("insecure")).await?);
        }
    }
    store.put(&list, entries)?;
    cli.line(format!("Created manifest list {list}"))?;
    Ok(0)
}
