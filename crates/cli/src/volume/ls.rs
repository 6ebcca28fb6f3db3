//! `volume ls`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    human,
    opts::filter::Filters,
    print::{Listing, Row, label_method, labels_text, row},
    value::Value,
};

/// `rorqual volume ls`.
pub const COMMAND: Command = Command {
    path: "volume ls",
    aliases: &["volume list"],
    operands: "",
    about: "List volumes",
    args: Args::None,
    flags: &[
        Flag::filter("Only those that match (dangling=true)"),
        Flag::format(),
        Flag::switch("quiet", "Print names only").short('q'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

/// The list of volumes.
pub(crate) const LISTING: Listing<'static> = Listing {
    kind: "*formatter.volumeContext",
    headings: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    table: "{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
    raw: "name: {{.Name}}\ndriver: {{.Driver}}\n",
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let request = client.get("/volumes").query_some("filters", Filters::parse(matches.list("filter")).query());
    let answer: Value = request.send().await?.json().await?;
    let mut volumes: Vec<&Value> = answer.at(&["Volumes"]).items().iter().collect();
    volumes.sort_by(|a, b| natural(a.text("Name"), b.text("Name")));
    let rows = volumes.into_iter().map(row_of).collect();
    let format = cli.list_format(matches, "volumesFormat");
    cli.print(LISTING.render(&format, matches.on("quiet"), rows)?)?;
    Ok(0)
}

/// The fields of one volume.
pub(crate) fn row_of(volume: &Value) -> Row {
    let labels = volume.at(&["Labels"]);
    let usage = volume.at(&["UsageData"]);
    let (links, size) = match usage {
        Value::Map(_) => (usage.int("RefCount").to_string(), human::size(usage.int("Size") as f64, 4)),
        _ => ("N/A".to_owned(), "N/A".to_owned()),
    };
    let none = || Value::from("N/A");
    row([
        ("Availability", none()),
        ("Driver", volume.text("Driver").into()),
        ("Group", none()),
        ("Label", label_method(labels)),
        ("Labels", labels_text(labels).into()),
        ("Links", links.into()),
        ("Mountpoint", volume.text("Mountpoint").into()),
        ("Name", volume.text("Name").into()),
        ("Scope", volume.text("Scope").into()),
        ("Size", size.into()),
        ("Status", none()),
    ])
}

/// The order in which people count: `v2` before `v10`.
pub(crate) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (left, right) = (digits(a), digits(b));
        if left > 0 && right > 0 {
            let (x, y) = (a[..left].trim_start_matches('0'), b[..right].trim_start_matches('0'));
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| left.cmp(&right));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[left..], &b[right..]);
            continue;
        }
        let (mut rest_a, mut rest_b) = (a.chars(), b.chars());
        match (rest_a.next(), rest_b.next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (rest_a.as_str(), rest_b.as_str()),
            (x, y) => return x.cmp(&y),
        }
    }
}
