//! `unpause`.

use super::each;
use crate::args::{Args, Command};

/// `rorqual unpause`.
pub const COMMAND: Command = Command {
    path: "container unpause",
    aliases: &["unpause"],
    operands: "CONTAINER [CONTAINER...]",
    about: "Let paused containers go on",
    args: Args::AtLeast(1),
    flags: &[],
    flags_first: false,
    run: |cli, matches| {
        Box::pin(each(cli, matches.args(), async |client, name| {
            client.post(format!("/containers/{name}/unpause")).send().await?;
            Ok(())
        }))
    },
};
