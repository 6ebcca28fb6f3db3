//! `completion`: scripts for shells, made from the tree of commands.

use crate::{
    PROGRAM,
    args::{Args, Command, Matches},
    cli::{Cli, write_all},
    failure::{Failure, Result},
    tree,
};
use clap_complete::{Shell, generate};

/// `rorqual completion`.
pub const COMMAND: Command = Command {
    path: "completion",
    aliases: &[],
    operands: "bash|zsh|fish",
    about: "Print a completion script for a shell",
    args: Args::Exactly(1),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(_: &mut Cli, matches: &Matches) -> Result<u8> {
    let shell = match matches.arg(0) {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        other => return Err(Failure::message(format!("no completion for {other:?}: choose bash, zsh or fish"))),
    };
    let mut script = Vec::new();
    generate(shell, &mut tree::whole(), PROGRAM, &mut script);
    write_all(&script)?;
    Ok(0)
}
