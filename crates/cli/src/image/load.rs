//! `load`.

use super::platform_json;
use crate::{
    args::{Args, Command, Flag, Matches},
    attach::tty,
    cli::{Cli, stdout_is_terminal},
    failure::{Failure, Result},
    opts::list_file::io_text,
    print::show_progress,
};

/// `rorqual load`.
pub const COMMAND: Command = Command {
    path: "image load",
    aliases: &["load"],
    operands: "",
    about: "Read images from a tar archive, a file or standard input",
    args: Args::None,
    flags: &[
        Flag::string("input", "Read the archive from this file").short('i'),
        Flag::string("platform", "Load only this platform of the image (linux/amd64)"),
        Flag::switch("quiet", "Do not print the progress").short('q'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let path = matches.text("input");
    let platform = platform_json(matches.text("platform"))?;
    if path.is_empty() && tty::stdin_is_terminal() {
        return Err(Failure::message("requested load from stdin, but stdin is empty"));
    }
    // Progress is for a terminal; elsewhere the daemon need not send it.
    let quiet = matches.on("quiet") || !stdout_is_terminal();
    let client = cli.client()?;
    let request = client.post("/images/load").query_some("platform", platform).query_flag("quiet", quiet);
    let request = match path {
        "" => request.stream("application/x-tar", crate::cli::stdin_file()?),
        path => {
            let file = tokio::fs::File::open(path)
                .await
                .map_err(|error| Failure::message(format!("open {path}: {}", io_text(&error))))?;
            request.stream("application/x-tar", file)
        }
    };
    let response = request.send().await?;
    if response.header("content-type") == Some("application/json") {
        show_progress(&mut response.lines(), false).await?;
    } else {
        crate::cli::write_all(&response.bytes().await?)?;
    }
    Ok(0)
}
