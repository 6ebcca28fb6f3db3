//! `network prune`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    opts::filter::Filters,
    value::Value,
};
use rorqual_client::Client;

/// `rorqual network prune`.
pub const COMMAND: Command = Command {
    path: "network prune",
    aliases: &[],
    operands: "",
    about: "Remove networks that no container uses",
    args: Args::None,
    flags: &[
        Flag::filter("Only those that match (until=<timestamp>)").no_short(),
        Flag::switch("force", "Do not ask").short('f'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let warning = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";
    if !matches.on("force") && !cli.confirm(warning).await? {
        return Ok(0);
    }
    let filters = cli.prune_filters(matches);
    let client = cli.client()?;
    let report = prune(&client, &filters).await?;
    cli.print(report)?;
    Ok(0)
}

/// Removes them; the list to print.
pub(crate) async fn prune(client: &Client, filters: &Filters) -> Result<String> {
    let answer: Value =
        client.post("/networks/prune").query_some("filters", filters.query()).send().await?.json().await?;
    let deleted: Vec<&str> = answer.at(&["NetworksDeleted"]).items().iter().filter_map(Value::as_str).collect();
    Ok(match deleted.is_empty() {
        true => String::new(),
        false => format!("Deleted Networks:\n{}\n\n", deleted.join("\n")),
    })
}
