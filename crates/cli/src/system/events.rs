//! `events`.

use super::moment;
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    opts::filter::Filters,
    template::Template,
    value::Value,
};

/// `rorqual events`.
pub const COMMAND: Command = Command {
    path: "system events",
    aliases: &["events"],
    operands: "",
    about: "Print what happens in the daemon as it happens",
    args: Args::None,
    flags: &[
        Flag::filter("Only those that match"),
        Flag::string("format", "How to print: 'json', or a Go template"),
        Flag::string("since", "Begin at this moment"),
        Flag::string("until", "End at this moment"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let template = match matches.text("format") {
        "" => None,
        "json" => Some(Template::parse("{{json .}}")),
        format => Some(Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n"))),
    };
    let template = template.transpose().map_err(|why| Failure::status(64, format!("Error parsing format: {why}")))?;
    let moment = |name: &str| match matches.text(name) {
        "" => Ok(None),
        text => moment::parse(text).map(Some).map_err(Failure::message),
    };
    let client = cli.client()?;
    let request = client
        .get("/events")
        .query_some("filters", Filters::parse(matches.list("filter")).query())
        .query_some("since", moment("since")?)
        .query_some("until", moment("until")?);
    let mut lines = request.send().await?.lines();
    while let Some(event) = lines.json::<Value>().await? {
        let event = without_legacy(event);
        let text = match &template {
            None => plain(&event),
            Some(template) => template
                .render(&event, Some("*formatter.EventContext"))
                .map_err(|why| Failure::message(format!("failed to execute template: {why}")))?,
        };
        cli.line(text)?;
    }
    Ok(0)
}

/// Old daemons' fields, which say the same again, are left out as docker's client leaves them out.
fn without_legacy(event: Value) -> Value {
    match event {
        Value::Map(fields) => {
            let legacy = |name: &str| matches!(name, "status" | "id" | "from");
            Value::Map(fields.into_iter().filter(|(name, _)| !legacy(name)).collect())
        }
        other => other,
    }
}

/// `2026-…Z container create ID (image=busybox, name=x)`
fn plain(event: &Value) -> String {
    let nanoseconds = match event.int("timeNano") {
        0 => event.int("time").saturating_mul(1_000_000_000),
        nanoseconds => nanoseconds,
    };
    let actor = event.at(&["Actor"]);
    let mut text =
        format!("{} {} {} {}", moment::nano(nanoseconds), event.text("Type"), event.text("Action"), actor.text("ID"));
    let attributes = actor.at(&["Attributes"]).entries();
    if !attributes.is_empty() {
        let mut pairs: Vec<String> =
            attributes.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
        pairs.sort();
        text.push_str(&format!(" ({})", pairs.join(", ")));
    }
    text
}
