//! `system prune`: everything that nothing uses.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    container,
    failure::{Failure, Result},
    human, image, network,
    value::Value,
    volume,
};

/// `rorqual system prune`.
pub const COMMAND: Command = Command {
    path: "system prune",
    aliases: &[],
    operands: "",
    about: "Remove everything that nothing uses",
    args: Args::None,
    flags: &[
        Flag::switch("all", "Remove all unused images, not only dangling ones").short('a'),
        Flag::filter("Only what matches (label=<key>=<value>)").no_short(),
        Flag::switch("force", "Do not ask").short('f'),
        Flag::switch("volumes", "Remove anonymous volumes too"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let filters = cli.prune_filters(matches);
    let (all, volumes) = (matches.on("all"), matches.on("volumes"));
    if volumes && filters.contains("until") {
        return Err(Failure::message("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !matches.on("force") && !cli.confirm(&question(all, volumes, &filters.texts().collect::<Vec<_>>())).await? {
        return Ok(0);
    }
    let client = cli.client()?;
    let mut reclaimed = 0;
    let (report, bytes) = container::prune::prune(&client, &filters).await?;
    reclaimed += bytes;
    cli.print(report)?;
    cli.print(network::prune::prune(&client, &filters).await?)?;
    if volumes {
        let (report, bytes) = volume::prune::prune(&client, &filters).await?;
        reclaimed += bytes;
        cli.print(report)?;
    }
    let (report, bytes) = image::prune::prune(&client, filters.clone(), all).await?;
    reclaimed += bytes;
    cli.print(report)?;
    let request = client.post("/build/prune").query_flag("all", all).query_some("filters", filters.query());
    match request.send().await {
        Ok(response) => {
            let answer: Value = response.json().await?;
            reclaimed += answer.int("SpaceReclaimed");
            cli.print(deleted_caches(&answer))?;
        }
        // A daemon without a builder has no cache to prune.
        Err(error) if matches!(error.status(), Some(404 | 501)) => {}
        Err(error) => return Err(error.into()),
    }
    cli.line(format!("Total reclaimed space: {}", human::size(reclaimed as f64, 4)))?;
    Ok(0)
}

fn deleted_caches(answer: &Value) -> String {
    let caches: Vec<&str> = answer.at(&["CachesDeleted"]).items().iter().filter_map(Value::as_str).collect();
    if caches.is_empty() { String::new() } else { format!("Deleted build cache objects:\n{}\n\n", caches.join("\n")) }
}

fn question(all: bool, volumes: bool, filters: &[String]) -> String {
    let mut text = String::from("WARNING! This will remove:\n  - all stopped containers\n");
    text.push_str("  - all networks not used by at least one container\n");
    if volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    text.push_str(match all {
        true => "  - all images without at least one container associated to them\n  - all build cache\n",
        false => "  - all dangling images\n  - unused build cache\n",
    });
    if !filters.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        text.extend(filters.iter().map(|filter| format!("  - {filter}\n")));
    }
    text + "\nAre you sure you want to continue?"
}
