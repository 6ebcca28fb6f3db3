//! `ps`: the list of containers.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    human,
    limits::{COMMAND_COLUMNS, SIZE_DIGITS},
    opts::filter::Filters,
    print::{Listing, Row, ellipsis, label_method, labels_text, ports, row, short_id},
    system::moment,
    template::Template,
    value::Value,
};
use jiff::Timestamp;
use rorqual_types::Reference;

/// `rorqual ps`.
pub const COMMAND: Command = Command {
    path: "container ls",
    aliases: &["container list", "container ps", "ps"],
    operands: "",
    about: "List containers",
    args: Args::None,
    flags: &[
        Flag::switch("all", "Show stopped containers too").short('a'),
        Flag::filter("Only those that match"),
        Flag::format(),
        Flag::int("last", "Show the last N created containers, stopped ones too").short('n').default("-1"),
        Flag::switch("latest", "Show the last created container, stopped ones too").short('l'),
        Flag::switch("no-trunc", "Do not cut long values"),
        Flag::switch("quiet", "Print IDs only").short('q'),
        Flag::switch("size", "Show the sizes of files").short('s'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

pub(crate) const LISTING: Listing<'_> = Listing {
    kind: "*formatter.ContainerContext",
    headings: &[
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Names", "NAMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("Ports", "PORTS"),
        ("RunningFor", "CREATED"),
        ("Size", "SIZE"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
    raw: "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{.State}}\nstatus: {{.Status}}\nnames: {{.Names}}\nlabels: {{.Labels}}\nports: {{.Ports}}\n",
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let format = cli.list_format(matches, "psFormat");
    let limit = match (matches.on("latest"), matches.int_given("last")) {
        (true, None | Some(..0)) => Some(1),
        (_, Some(count)) if count > 0 => Some(count),
        _ => None,
    };
    Template::parse(&format).map_err(|why| Failure::message(format!("failed to parse template: {why}")))?;
    // A template that prints sizes must ask for them.
    let sized = matches.on("size") || format.contains(".Size") || asks_for_all(&format);
    let client = cli.client()?;
    let request = client
        .get("/containers/json")
        .query_flag("all", matches.on("all"))
        .query_some("filters", Filters::parse(matches.list("filter")).query())
        .query_some("limit", limit.map(|count| count.to_string()))
        .query_flag("size", sized);
    let containers: Value = request.send().await?.json().await?;
    let now = Timestamp::now();
    let whole = matches.on("no-trunc");
    let rows = containers.items().iter().map(|container| row_of(container, whole, now)).collect();
    let table = format!("{}{}", LISTING.table, if matches.on("size") { "\t{{.Size}}" } else { "" });
    let listing = Listing { table: &table, ..LISTING };
    cli.print(listing.render(&format, matches.on("quiet"), rows)?)?;
    Ok(0)
}

/// Whether a template prints the whole row as JSON; the word `json` alone does not ask for sizes.
fn asks_for_all(format: &str) -> bool {
    format.replace(' ', "").contains("json.}")
}

/// The fields of one container.
pub(crate) fn row_of(container: &Value, whole: bool, now: Timestamp) -> Row {
    let id = container.text("Id");
    let created = container.int("Created");
    let labels = container.at(&["Labels"]);
    let command = container.text("Command");
    let command = if whole { command.to_owned() } else { ellipsis(command, COMMAND_COLUMNS) };
    let mounts = container.at(&["Mounts"]).items();
    let local = mounts.iter().filter(|mount| mount.text("Driver") == "local").count();
    let mut networks: Vec<&str> =
        container.at(&["NetworkSettings", "Networks"]).entries().iter().map(|(name, _)| name.as_str()).collect();
    networks.sort_unstable();
    row([
        ("Command", quoted(&command).into()),
        ("CreatedAt", moment::go_time(created).into()),
        ("ID", if whole { id } else { short_id(id) }.into()),
        ("Image", image(container, whole).into()),
        ("Label", label_method(labels)),
        ("Labels", labels_text(labels).into()),
        ("LocalVolumes", local.to_string().into()),
        ("Mounts", mounts_text(mounts, whole).into()),
        ("Names", names(container, whole).into()),
        ("Networks", networks.join(",").into()),
        ("Platform", container.at(&["ImageManifestDescriptor", "platform"]).clone()),
        ("Ports", ports::shown(container.at(&["Ports"]).items()).into()),
        ("RunningFor", human::ago(created, now).into()),
        ("Size", size(container).into()),
        ("State", container.text("State").into()),
        ("Status", container.text("Status").into()),
    ])
}

/// A command between quotes; what cannot be printed is escaped.
fn quoted(command: &str) -> String {
    let mut text = String::from("\"");
    for c in command.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if c.is_control() => text.push_str(&format!("\\x{:02x}", c as u32)),
            c => text.push(c),
        }
    }
    text + "\""
}

fn names(container: &Value, whole: bool) -> String {
    let names = container.at(&["Names"]).items().iter().filter_map(Value::as_str);
    let names = names.map(|name| name.strip_prefix('/').unwrap_or(name));
    // The names that links give a container hold another's.
    let names: Vec<&str> = names.filter(|name| whole || !name.contains('/')).collect();
    names.join(",")
}

fn image(container: &Value, whole: bool) -> String {
    let image = container.text("Image");
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if whole {
        return image.to_owned();
    }
    let id = short_id(container.text("ImageID"));
    if !id.is_empty() && id == short_id(image) {
        return id.to_owned();
    }
    match image.parse::<Reference>() {
        Ok(reference) if reference.digest().is_some() => match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.familiar_name()),
            None => reference.familiar_name().to_owned(),
        },
        _ => image.to_owned(),
    }
}

fn mounts_text(mounts: &[Value], whole: bool) -> String {
    const COLUMNS: usize = 15;
    let name = |mount: &Value| {
        let name = match mount.text("Name") {
            "" => mount.text("Source"),
            name => name,
        };
        if whole { name.to_owned() } else { ellipsis(name, COLUMNS) }
    };
    mounts.iter().map(name).collect::<Vec<_>>().join(",")
}

fn size(container: &Value) -> String {
    let own = human::size(container.int("SizeRw") as f64, SIZE_DIGITS);
    match container.int("SizeRootFs") {
        whole if whole > 0 => format!("{own} (virtual {})", human::size(whole as f64, SIZE_DIGITS)),
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The daemon's answer and what docker 28.2 printed for it, in the same second.
    fn check(format: &str, whole: bool, want: &str) {
        let containers = Value::parse(include_bytes!("../../tests/golden/containers.json")).unwrap();
        let now = include_str!("../../tests/golden/now.txt").trim().parse().unwrap();
        let now = Timestamp::from_second(now).unwrap();
        let rows = containers.items().iter().map(|container| row_of(container, whole, now)).collect();
        assert_eq!(LISTING.render(format, false, rows).unwrap(), want);
    }

    #[test]
    fn lists_are_dockers_to_the_byte() {
        check("", false, include_str!("../../tests/golden/ps.txt"));
        check("json", false, include_str!("../../tests/golden/ps-json.txt"));
        let columns = r#"table {{.ID}}\t{{.Command}}\t{{.Mounts}}\t{{.Label "com.example.some_name"}}"#;
        check(columns, true, include_str!("../../tests/golden/ps-table.txt"));
    }
}
