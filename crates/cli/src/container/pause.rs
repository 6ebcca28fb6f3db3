//! `pause`.

use super::each;
use crate::args::{Args, Command};

/// `rorqual pause`.
pub const COMMAND: Command = Command {
    path: "container pause",
    aliases: &["pause"],
    operands: "CONTAINER [CONTAINER...]",
    about: "Freeze every process of containers",
    args: Args::AtLeast(1),
    flags: &[],
    flags_first: false,
    run: |cli, matches| {
        Box::pin(each(cli, matches.args(), async |client, name| {
            client.post(format!("/containers/{name}/pause")).send().await?;
            Ok(())
        }))
    },
};
