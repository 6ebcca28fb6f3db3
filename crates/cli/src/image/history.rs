//! `history`: how an image was made.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    human,
    limits::SIZE_DIGITS,
    print::{Listing, ellipsis, row, short_id},
    value::Value,
};
use jiff::{Timestamp, tz::TimeZone};

/// `rorqual history`.
pub const COMMAND: Command = Command {
    path: "image history",
    aliases: &["history"],
    operands: "IMAGE",
    about: "Show the steps that made an image",
    args: Args::Exactly(1),
    flags: &[
        Flag::format(),
        Flag::switch("human", "Print sizes and times for people").short('H').default("true"),
        Flag::switch("no-trunc", "Do not cut long values"),
        Flag::string("platform", "Platform of the image, where it has several (linux/amd64)"),
        Flag::switch("quiet", "Print IDs only").short('q'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

const HEADINGS: [(&str, &str); 6] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

const LISTING: Listing<'_> = Listing {
    kind: "*history.historyContext",
    headings: &HEADINGS,
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
    raw: "",
};

const EXACT: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

/// Columns of the instruction without `--no-trunc`.
const INSTRUCTION: usize = 45;

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let request = client
        .get(format!("/images/{}/history", matches.arg(0)))
        .query_some("platform", super::platform_json(matches.text("platform"))?);
    let layers: Value = request.send().await?.json().await?;
    let whole = matches.on("no-trunc");
    let for_people = matches.switch("human").unwrap_or(true);
    let now = Timestamp::now();
    let rows = layers.items().iter().map(|layer| {
        let id = layer.text("Id");
        let created = layer.int("Created");
        let instruction = layer.text("CreatedBy").replace('\t', " ");
        let size = layer.int("Size");
        row([
            ("ID", if whole { id } else { short_id(id) }.into()),
            ("CreatedSince", if created < 1 { "N/A".to_owned() } else { human::ago(created, now) }.into()),
            ("CreatedAt", rfc3339(created).into()),
            ("CreatedBy", if whole { instruction } else { ellipsis(&instruction, INSTRUCTION) }.into()),
            ("Size", if for_people { human::size(size as f64, SIZE_DIGITS) } else { size.to_string() }.into()),
            ("Comment", layer.text("Comment").into()),
        ])
    });
    let rows = rows.collect();
    let table = if for_people { LISTING.table } else { EXACT };
    cli.print(Listing { table, ..LISTING }.render(matches.text("format"), matches.on("quiet"), rows)?)?;
    Ok(0)
}

fn rfc3339(unix_seconds: i64) -> String {
    if unix_seconds < 1 {
        return String::new();
    }
    let Ok(moment) = Timestamp::from_second(unix_seconds) else { return String::new() };
    let zoned = moment.to_zoned(TimeZone::system());
    let zone = if zoned.offset().is_zero() { "Z".to_owned() } else { zoned.strftime("%:z").to_string() };
    format!("{}{zone}", zoned.strftime("%Y-%m-%dT%H:%M:%S"))
}
