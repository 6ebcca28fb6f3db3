//! `image gc`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    human,
    print::{Listing, Row, row, short_id},
    value::Value,
};
use jiff::Timestamp;

/// `rorqual image gc`.
pub const COMMAND: Command = Command {
    path: "image gc",
    aliases: &[],
    operands: "",
    about: "Remove the least recently used images until the disk budget, or a size, is kept; none that is in use or pinned",
    args: Args::None,
    flags: &[
        Flag::switch("dry-run", "Only say what would be removed"),
        Flag::string(
            "target",
            "Bytes that images may take afterwards (20GB); else the low mark of the daemon's budget",
        )
        .check(|text| human::parse_bytes(text).map(drop)),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

const IMAGES: Listing<'_> = Listing {
    kind: "*formatter.collectedImageContext",
    headings: &[("ID", "IMAGE ID"), ("Names", "NAMES"), ("LastUsed", "LAST USED"), ("Size", "SIZE")],
    table: "{{.ID}}\t{{.Names}}\t{{.LastUsed}}\t{{.Size}}",
    quiet: "",
    raw: "",
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let dry = matches.on("dry-run");
    let target = match matches.text("target") {
        "" => None,
        text => human::parse_bytes(text).ok().map(|bytes| bytes.to_string()),
    };
    let client = cli.client()?;
    let request = client.post("/rorqual/images/gc").query_flag("dry-run", dry).query_some("target", target);
    let answer: Value = request.send().await?.json().await?;
    let images = answer.at(&["Images"]).items();
    if !images.is_empty() {
        let now = Timestamp::now();
        cli.print(IMAGES.render("", false, images.iter().map(|image| row_of(image, now)).collect())?)?;
    }
    let reclaimed = human::size(answer.int("SpaceReclaimed") as f64, 4);
    let before = human::size(answer.int("Size") as f64, 4);
    cli.line(match dry {
        true => format!("Would reclaim: {reclaimed} of {before}"),
        false => format!("Total reclaimed space: {reclaimed} of {before}"),
    })?;
    let missed = answer.int("Missed");
    if missed > 0 {
        let missed = human::size(missed as f64, 4);
        eprintln!("{missed} more stay: the other images are in use, pinned or were of use a moment ago");
    }
    Ok(0)
}

fn row_of(image: &Value, now: Timestamp) -> Row {
    let names: Vec<&str> = image.at(&["Names"]).items().iter().filter_map(Value::as_str).collect();
    let used = image.int("LastUsed");
    row([
        ("ID", short_id(image.text("Id")).into()),
        ("Names", if names.is_empty() { "<none>".to_owned() } else { names.join(", ") }.into()),
        ("LastUsed", human::ago(used, now).into()),
        ("Size", human::size(image.int("Size") as f64, 4).into()),
    ])
}
