//! `manifest rm`.

use super::{reference, store::Store};
use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::{self, Result},
};

/// `rorqual manifest rm`.
pub const COMMAND: Command = Command {
    path: "manifest rm",
    aliases: &[],
    operands: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Forget lists that were begun",
    args: Args::AtLeast(1),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(async move { run(cli, matches) }),
};

fn run(cli: &Cli, matches: &Matches) -> Result<u8> {
    let store = Store::of(&cli.config);
    let removed = matches.args().iter().map(|name| reference(name).and_then(|list| store.remove(&list)));
    failure::all(removed.filter_map(Result::err).collect()).map(|()| 0)
}
