//! `rmi`.

use super::platform_json;
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{self, Failure, Result},
    value::Value,
};

/// `rorqual rmi`.
pub const COMMAND: Command = Command {
    path: "image rm",
    aliases: &["image remove", "rmi"],
    operands: "IMAGE [IMAGE...]",
    about: "Remove images or their names",
    args: Args::AtLeast(1),
    flags: &[
        Flag::switch("force", "Remove the image from stopped containers too").short('f'),
        Flag::switch("no-prune", "Keep parents that have no tag"),
        Flag::list("platform", "Remove only this platform of the image (linux/amd64)").of("strings"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let force = matches.on("force");
    let platforms = matches.list("platform").iter().flat_map(|text| text.split(','));
    let platforms = platforms.map(platform_json).collect::<Result<Vec<_>>>()?;
    let client = cli.client()?;
    let mut failures: Vec<Failure> = Vec::new();
    let mut only_missing = true;
    for name in matches.args() {
        let mut request = client
            .delete(format!("/images/{name}"))
            .query_flag("force", force)
            .query_flag("noprune", matches.on("no-prune"));
        for platform in platforms.iter().flatten() {
            request = request.query("platforms", platform);
        }
        let answer = match request.send().await {
            Ok(response) => response.json::<Value>().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => cli.print(report(&answer))?,
            Err(error) => {
                only_missing &= error.status() == Some(404);
                failures.push(error.into());
            }
        }
    }
    // Forced removal of what is not there has done what was asked.
    if force && only_missing && !failures.is_empty() {
        failures.iter().for_each(|failure| eprintln!("{}", failure.text()));
        return Ok(0);
    }
    failure::all(failures).map(|()| 0)
}

/// `Untagged: x:1` and `Deleted: sha256:…` lines.
pub(super) fn report(answer: &Value) -> String {
    let line = |entry: &Value| match entry.text("Deleted") {
        "" => format!("Untagged: {}\n", entry.text("Untagged")),
        id => format!("Deleted: {id}\n"),
    };
    answer.items().iter().map(line).collect()
}
