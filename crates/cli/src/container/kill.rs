//! `kill`.

use super::each;
use crate::args::{Args, Command, Flag};

/// `rorqual kill`.
pub const COMMAND: Command = Command {
    path: "container kill",
    aliases: &["kill"],
    operands: "CONTAINER [CONTAINER...]",
    about: "Send a signal to running containers",
    args: Args::AtLeast(1),
    flags: &[Flag::string("signal", "Signal to send").short('s')],
    flags_first: false,
    run: |cli, matches| {
        Box::pin(each(cli, matches.args(), async |client, name| {
            let signal = matches.last("signal").filter(|signal| !signal.is_empty());
            client.post(format!("/containers/{name}/kill")).query_some("signal", signal).send().await?;
            Ok(())
        }))
    },
};
