//! `search`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    image::pull::registry_auth_of,
    opts::filter::Filters,
    print::{Listing, row},
    value::Value,
};

/// `rorqual search`.
pub const COMMAND: Command = Command {
    path: "search",
    aliases: &[],
    operands: "TERM",
    about: "Search a registry's index for images",
    args: Args::Exactly(1),
    flags: &[
        Flag::filter("Only those that match (is-official=true, stars=3)"),
        Flag::format(),
        Flag::string("limit", "How many results at most"),
        Flag::switch("no-trunc", "Do not cut descriptions"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

/// Columns of a description without `--no-trunc`.
const DESCRIPTION_COLUMNS: usize = 45;

const LISTING: Listing<'_> = Listing {
    kind: "*formatter.searchContext",
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
    table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
    raw: "name: {{.Name}}\n",
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let term = matches.arg(0);
    // The index is the term's first part where that is a host, as with pull.
    let domain = term.split_once('/').map_or("docker.io", |(first, _)| {
        if first.contains(['.', ':']) || first == "localhost" { first } else { "docker.io" }
    });
    let limit = Some(matches.text("limit")).filter(|text| !text.is_empty());
    let request = client
        .get("/images/search")
        .query("term", term)
        .query_some("limit", limit)
        .query_some("filters", Filters::parse(matches.list("filter")).query())
        .header("x-registry-auth", registry_auth_of(&cli.config, domain).await?);
    let answer: Value = request.send().await?.json().await?;
    let whole = matches.on("no-trunc");
    let tick = |is: bool| Value::Str(if is { "[OK]" } else { "" }.to_owned());
    let rows = answer.items().iter().map(|found| {
        row([
            ("Name", found.text("name").into()),
            ("Description", described(found.text("description"), whole).into()),
            ("StarCount", Value::Str(found.int("star_count").to_string())),
            ("IsOfficial", tick(found.is_true("is_official"))),
            ("IsAutomated", tick(found.is_true("is_automated"))),
        ])
    });
    let rows = rows.collect();
    let format = cli.list_format(matches, "searchFormat");
    cli.print(LISTING.render(&format, false, rows)?)?;
    Ok(0)
}

/// In one line, cut where it is long.
fn described(text: &str, whole: bool) -> String {
    let line: String = text.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }).collect();
    if whole || line.chars().count() <= DESCRIPTION_COLUMNS {
        return line;
    }
    line.chars().take(DESCRIPTION_COLUMNS - 1).chain(['\u{2026}']).collect()
}
