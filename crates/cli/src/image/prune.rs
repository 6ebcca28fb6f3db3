//! `image prune`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    human,
    opts::filter::Filters,
    value::Value,
};
use rorqual_client::Client;

/// `rorqual image prune`.
pub const COMMAND: Command = Command {
    path: "image prune",
    aliases: &[],
    operands: "",
    about: "Remove images that no container uses",
    args: Args::None,
    flags: &[
        Flag::switch("all", "Remove all unused images, not only dangling ones").short('a'),
        Flag::filter("Only those that match (until=<timestamp>)").no_short(),
        Flag::switch("force", "Do not ask").short('f'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let all = matches.on("all");
    let warning = match all {
        true => "WARNING! This will remove all images without at least one container associated to them.",
        false => "WARNING! This will remove all dangling images.",
    };
    if !matches.on("force") && !cli.confirm(&format!("{warning}\nAre you sure you want to continue?")).await? {
        return Ok(0);
    }
    let filters = cli.prune_filters(matches);
    let client = cli.client()?;
    let (report, reclaimed) = prune(&client, filters, all).await?;
    cli.print(report)?;
    cli.line(format!("Total reclaimed space: {}", human::size(reclaimed as f64, 4)))?;
    Ok(0)
}

/// Removes them; the list to print, and the bytes that are free again.
pub(crate) async fn prune(client: &Client, mut filters: Filters, all: bool) -> Result<(String, i64)> {
    filters.add("dangling", if all { "false" } else { "true" });
    let answer: Value =
        client.post("/images/prune").query_some("filters", filters.query()).send().await?.json().await?;
    let deleted = answer.at(&["ImagesDeleted"]);
    let report = match deleted.items() {
        [] => String::new(),
        _ => {
            let lines =
                super::rm::report(deleted).replace("Untagged: ", "untagged: ").replace("Deleted: ", "deleted: ");
            format!("Deleted Images:\n{lines}\n")
        }
    };
    Ok((report, answer.int("SpaceReclaimed")))
}
