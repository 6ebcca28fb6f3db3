//! `context ls`.

use super::{
    endpoint,
    store::{DEFAULT, Store},
};
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    print::{Listing, Row, ellipsis, row},
};

/// `rorqual context ls`.
pub const COMMAND: Command = Command {
    path: "context ls",
    aliases: &["context list"],
    operands: "",
    about: "List contexts",
    args: Args::None,
    flags: &[Flag::format(), Flag::switch("quiet", "Print names only").short('q')],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

const LISTING: Listing<'_> = Listing {
    kind: "*formatter.clientContextContext",
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Current", ""),
        ("Error", "ERROR"),
    ],
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
    quiet: "{{.Name}}",
    raw: "",
};

/// Most columns of an error.
const ERROR: usize = 45;

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let current = endpoint::current(cli);
    let store = Store::of(cli.config.directory());
    let line = |name: &str, description: &str, host: &str, error: &str| -> Row {
        row([
            ("Name", name.into()),
            ("Description", description.into()),
            ("DockerEndpoint", host.into()),
            ("Current", (name == current).into()),
            ("Error", ellipsis(error, ERROR).into()),
        ])
    };
    let mut rows: Vec<(String, Row)> = store
        .list()
        .iter()
        .map(|context| (context.name.clone(), line(&context.name, &context.description, &context.host, "")))
        .collect();
    let default = line(DEFAULT, "Current DOCKER_HOST based configuration", &endpoint::default_host(cli), "");
    rows.push((DEFAULT.to_owned(), default));
    if !rows.iter().any(|(name, _)| *name == current) {
        let error = store.get(&current).err().map(|failure| failure.text()).unwrap_or_default();
        rows.push((current.clone(), line(&current, "", "", &error)));
    }
    rows.sort_by(|a, b| crate::volume::ls::natural(&a.0, &b.0));
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    cli.print(LISTING.render(matches.text("format"), matches.on("quiet"), rows)?)?;
    if !cli.globals.given("context") && !cli.globals.given("host") {
        super::warn_of_host(None);
    }
    Ok(0)
}
