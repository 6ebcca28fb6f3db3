//! `registry gc`: has garbage collected, by the registry that serves the directory or, where none does, at once.

use super::{ROOT_FLAG, UNTAGGED_FLAG, config};
use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::Result,
    human,
};

/// `rorqual registry gc`.
pub const COMMAND: Command = Command {
    path: "registry gc",
    aliases: &[],
    operands: "",
    about: "Delete what no repository needs; a running registry goes on serving, and its own --gc-untagged counts",
    args: Args::None,
    flags: &[UNTAGGED_FLAG, ROOT_FLAG],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let collected = rorqual_registry::collect(&config(matches, COMMAND.flags, &[])?).await?;
    cli.line(format!("Deleted manifests: {}", collected.manifests))?;
    cli.line(format!("Deleted blobs: {}", collected.blobs))?;
    cli.line(format!("Total reclaimed space: {}", human::size(collected.bytes as f64, 4)))?;
    Ok(0)
}
