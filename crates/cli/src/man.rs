//! `man-pages`: a page for each command, written into a directory when a package is built.

use crate::{
    PROGRAM,
    args::{Args, Command, Matches},
    cli::Cli,
    failure::{Failure, Result},
    tree,
};
use clap_mangen::Man;
use std::path::Path;

/// `rorqual man-pages`, which no list shows.
pub const COMMAND: Command = Command {
    path: "man-pages",
    aliases: &[],
    operands: "DIRECTORY",
    about: "Write the man pages into a directory",
    args: Args::Exactly(1),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(_: &mut Cli, matches: &Matches) -> Result<u8> {
    let directory = Path::new(matches.arg(0));
    std::fs::create_dir_all(directory)?;
    write(directory, PROGRAM, tree::whole())?;
    Ok(0)
}

/// One page, then those of the commands below it: `rorqual-container-run.1`.
fn write(directory: &Path, name: &str, command: clap::Command) -> Result<()> {
    let children: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    let mut page = Vec::new();
    // The page's name is the command's whole path.
    // Names live as long as the tree; a few kilobytes, once, when a package is built.
    let named = command.name(&*name.to_owned().leak());
    Man::new(named).render(&mut page)?;
    let path = directory.join(format!("{name}.1"));
    std::fs::write(&path, page).map_err(|error| Failure::message(format!("{}: {error}", path.display())))?;
    children.into_iter().try_for_each(|child| write(directory, &format!("{name}-{}", child.get_name()), child))
}
