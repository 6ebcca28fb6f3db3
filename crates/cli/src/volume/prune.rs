//! `volume prune`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    human,
    opts::filter::Filters,
    value::Value,
};
use rorqual_client::Client;

/// `rorqual volume prune`.
pub const COMMAND: Command = Command {
    path: "volume prune",
    aliases: &[],
    operands: "",
    about: "Remove volumes that no container uses",
    args: Args::None,
    flags: &[
        Flag::switch("all", "Remove named volumes too, not only anonymous ones").short('a'),
        Flag::filter("Only those that match (label=<label>)").no_short(),
        Flag::switch("force", "Do not ask").short('f'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let all = matches.on("all");
    let mut filters = cli.prune_filters(matches);
    if all {
        if filters.contains("all") {
            return Err(Failure::message("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.add("all", "true");
    }
    let which = if all { "all" } else { "anonymous" };
    let warning = format!("WARNING! This will remove {which} local volumes not used by at least one container.");
    if !matches.on("force") && !cli.confirm(&format!("{warning}\nAre you sure you want to continue?")).await? {
        return Ok(0);
    }
    let client = cli.client()?;
    let (report, reclaimed) = prune(&client, &filters).await?;
    cli.print(report)?;
    cli.line(format!("Total reclaimed space: {}", human::size(reclaimed as f64, 4)))?;
    Ok(0)
}

/// Removes them; the list to print, and the bytes that are free again.
pub(crate) async fn prune(client: &Client, filters: &Filters) -> Result<(String, i64)> {
    let answer: Value =
        client.post("/volumes/prune").query_some("filters", filters.query()).send().await?.json().await?;
    let deleted: Vec<&str> = answer.at(&["VolumesDeleted"]).items().iter().filter_map(Value::as_str).collect();
    let report = match deleted.is_empty() {
        true => String::new(),
        false => format!("Deleted Volumes:\n{}\n\n", deleted.join("\n")),
    };
    Ok((report, answer.int("SpaceReclaimed")))
}
