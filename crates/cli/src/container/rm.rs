//! `rm`.

use super::each;
use crate::{
    args::{Args, Command, Flag},
    failure::Failure,
};

/// `rorqual rm`.
pub const COMMAND: Command = Command {
    path: "container rm",
    aliases: &["container remove", "rm"],
    operands: "CONTAINER [CONTAINER...]",
    about: "Remove containers",
    args: Args::AtLeast(1),
    flags: &[
        Flag::switch("force", "Kill a running container first").short('f'),
        Flag::switch("link", "Remove the link, not the container").short('l'),
        Flag::switch("volumes", "Remove the container's anonymous volumes too").short('v'),
    ],
    flags_first: false,
    run: |cli, matches| {
        Box::pin(each(cli, matches.args(), async |client, name| {
            let name = name.trim_matches('/');
            if name.is_empty() {
                return Err(Failure::message("container name cannot be empty"));
            }
            let removed = client
                .delete(format!("/containers/{name}"))
                .query_flag("force", matches.on("force"))
                .query_flag("link", matches.on("link"))
                .query_flag("v", matches.on("volumes"))
                .send()
                .await;
            match removed {
                // Forced removal of what is not there has done what was asked.
                Err(error) if matches.on("force") && error.status() == Some(404) => {
                    eprintln!("{}", Failure::from(error).text());
                    Err(Failure::silent(0))
                }
                other => other.map(drop).map_err(Failure::from),
            }
        }))
    },
};
