//! `logs`: what a container has written, and what it writes.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::{Cli, write_all},
    failure::{Failure, Result},
    system::moment,
    value::Value,
};
use rorqual_client::{Frames, Stream};
use std::io::Write;

/// `rorqual logs`.
pub const COMMAND: Command = Command {
    path: "container logs",
    aliases: &["logs"],
    operands: "CONTAINER",
    about: "Print what a container has written",
    args: Args::Exactly(1),
    flags: &[
        Flag::switch("details", "Show the attributes the log driver keeps with each line"),
        Flag::switch("follow", "Keep printing what is written").short('f'),
        Flag::string("since", "Begin at a moment (2013-01-02T13:23:37Z) or a span ago (42m)"),
        Flag::string("tail", "Number of lines from the end").short('n').default("all"),
        Flag::switch("timestamps", "Print the time of each line").short('t'),
        Flag::string("until", "End before a moment (2013-01-02T13:23:37Z) or a span ago (42m)"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let container: Value = client.get(format!("/containers/{}/json", matches.arg(0))).send().await?.json().await?;
    let moment = |name: &str| match matches.text(name) {
        "" => Ok(None),
        text => {
            moment::parse(text).map(Some).map_err(|why| Failure::message(format!("invalid value for {name:?}: {why}")))
        }
    };
    let request = client
        .get(format!("/containers/{}/logs", container.text("Id")))
        .query_flag("details", matches.on("details"))
        .query_flag("follow", matches.on("follow"))
        .query_some("since", moment("since")?)
        .query_flag("stderr", true)
        .query_flag("stdout", true)
        .query("tail", matches.last("tail").unwrap_or("all"))
        .query_flag("timestamps", matches.on("timestamps"))
        .query_some("until", moment("until")?);
    let mut response = request.send().await?;
    if container.at(&["Config"]).is_true("Tty") {
        while let Some(chunk) = response.chunk().await? {
            write_all(&chunk)?;
        }
        return Ok(0);
    }
    let mut frames = Frames::default();
    while let Some(chunk) = response.chunk().await? {
        frames.push(&chunk);
        while let Some(frame) = frames.next_frame()? {
            match frame.stream {
                Stream::Stderr => std::io::stderr().write_all(&frame.data)?,
                Stream::System => {
                    let text = String::from_utf8_lossy(&frame.data).into_owned();
                    return Err(Failure::message(format!("error from daemon in stream: {text}")));
                }
                _ => write_all(&frame.data)?,
            }
        }
    }
    Ok(0)
}
