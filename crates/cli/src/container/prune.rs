//! `container prune`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    human,
    opts::filter::Filters,
    value::Value,
};
use rorqual_client::Client;
use std::fmt::Write;

/// `rorqual container prune`.
pub const COMMAND: Command = Command {
    path: "container prune",
    aliases: &[],
    operands: "",
    about: "Remove containers that are not running",
    args: Args::None,
    flags: &[
        Flag::filter("Only those that match (until=<timestamp>, label=<label>)").no_short(),
        Flag::switch("force", "Do not ask").short('f'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let warning = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !matches.on("force") && !cli.confirm(warning).await? {
        return Ok(0);
    }
    let filters = cli.prune_filters(matches);
    let client = cli.client()?;
    let (report, reclaimed) = prune(&client, &filters).await?;
    cli.print(report)?;
    cli.line(format!("Total reclaimed space: {}", human::size(reclaimed as f64, 4)))?;
    Ok(0)
}

/// Removes them; the list to print, and the bytes that are free again.
pub(crate) async fn prune(client: &Client, filters: &Filters) -> Result<(String, i64)> {
    let request = client.post("/containers/prune").query_some("filters", filters.query());
    let answer: Value = request.send().await?.json().await?;
    let mut report = String::new();
    let deleted = answer.at(&["ContainersDeleted"]).items();
    if !deleted.is_empty() {
        report.push_str("Deleted Containers:\n");
        for id in deleted {
            let _ = writeln!(report, "{}", id.as_str().unwrap_or_default());
        }
        report.push('\n');
    }
    Ok((report, answer.int("SpaceReclaimed")))
}
