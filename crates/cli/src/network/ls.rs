//! `network ls`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    opts::filter::Filters,
    print::{Listing, label_method, labels_text, row, short_id},
    system::moment,
    value::Value,
    volume::ls::natural,
};

/// `rorqual network ls`.
pub const COMMAND: Command = Command {
    path: "network ls",
    aliases: &["network list"],
    operands: "",
    about: "List networks",
    args: Args::None,
    flags: &[
        Flag::filter("Only those that match (driver=bridge)"),
        Flag::format(),
        Flag::switch("no-trunc", "Do not cut long values"),
        Flag::switch("quiet", "Print IDs only").short('q'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

const LISTING: Listing<'_> = Listing {
    kind: "*formatter.networkContext",
    headings: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
    raw: "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let request = client.get("/networks").query_some("filters", Filters::parse(matches.list("filter")).query());
    let answer: Value = request.send().await?.json().await?;
    let mut networks: Vec<&Value> = answer.items().iter().collect();
    networks.sort_by(|a, b| natural(a.text("Name"), b.text("Name")));
    let whole = matches.on("no-trunc");
    let rows = networks.into_iter().map(|network| {
        let id = network.text("Id");
        let labels = network.at(&["Labels"]);
        let truth = |name: &str| Value::Str(network.is_true(name).to_string());
        row([
            ("CreatedAt", moment::go_time_of(network.text("Created")).into()),
            ("Driver", network.text("Driver").into()),
            ("ID", if whole { id } else { short_id(id) }.into()),
            ("IPv4", truth("EnableIPv4")),
            ("IPv6", truth("EnableIPv6")),
            ("Internal", truth("Internal")),
            ("Label", label_method(labels)),
            ("Labels", labels_text(labels).into()),
            ("Name", network.text("Name").into()),
            ("Scope", network.text("Scope").into()),
        ])
    });
    let rows = rows.collect();
    let format = cli.list_format(matches, "networksFormat");
    cli.print(LISTING.render(&format, matches.on("quiet"), rows)?)?;
    Ok(0)
}
