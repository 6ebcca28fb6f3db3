//! `stop`.

use super::each;
use crate::args::{Args, Command, Flag};

/// `rorqual stop`.
pub const COMMAND: Command = Command {
    path: "container stop",
    aliases: &["stop"],
    operands: "CONTAINER [CONTAINER...]",
    about: "Stop running containers",
    args: Args::AtLeast(1),
    flags: &[
        Flag::string("signal", "Signal to send").short('s'),
        Flag::int("timeout", "Seconds to wait before the container is killed").short('t').alias("time"),
    ],
    flags_first: false,
    run: |cli, matches| {
        Box::pin(each(cli, matches.args(), async |client, name| {
            client
                .post(format!("/containers/{name}/stop"))
                .query_some("signal", matches.last("signal").filter(|signal| !signal.is_empty()))
                .query_some("t", matches.int_given("timeout").map(|seconds| seconds.to_string()))
                .send()
                .await?;
            Ok(())
        }))
    },
};
