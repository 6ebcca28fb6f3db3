//! `inspect` of everything: the daemon's own JSON, in order, indented; or a template over it.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    template::Template,
    value::{Value, indent_json},
};
use rorqual_client::Client;

/// The `--format` of all inspect commands.
pub const FORMAT: Flag = Flag::string("format", "How to print: 'json', or a Go template").short('f');

/// `rorqual inspect`.
pub const COMMAND: Command = Command {
    path: "inspect",
    aliases: &[],
    operands: "NAME|ID [NAME|ID...]",
    about: "Show all that is known of containers, images, networks and volumes",
    args: Args::AtLeast(1),
    flags: &[
        FORMAT,
        Flag::switch("size", "Show the sizes of files too, where it is a container").short('s'),
        Flag::string("type", "Look only for objects of this type"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(any(cli, matches)),
};

/// What can be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

const ALL: [Kind; 4] = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];

async fn any(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let kind = match matches.text("type") {
        "" if !matches.given("type") => return run(cli, matches, &ALL, false).await,
        "container" => Kind::Container,
        "image" => Kind::Image,
        "network" => Kind::Network,
        "volume" => Kind::Volume,
        "" => {
            return Err(Failure::message(
                "type is empty: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"",
            ));
        }
        kind @ ("config" | "node" | "plugin" | "secret" | "service" | "task") => {
            return Err(Failure::message(format!("inspection of objects of type {kind:?} is not supported yet")));
        }
        other => {
            return Err(Failure::message(format!(
                "unknown type: {other:?}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
            )));
        }
    };
    run(cli, matches, &[kind], true).await
}

/// Looks for each name among `kinds`, in that order. With `only` the daemon's own error is told, else that no such
/// object exists.
pub async fn run(cli: &mut Cli, matches: &Matches, kinds: &[Kind], only: bool) -> Result<u8> {
    let mut printer = Printer::new(matches.text("format"))?;
    let client = cli.client()?;
    let mut failures = Vec::new();
    for name in matches.args() {
        match find(&client, matches, name, kinds, only).await {
            Ok(raw) => {
                if let Err(why) = printer.add(&raw) {
                    failures.push(why);
                }
            }
            Err(failure @ Failure::Client(rorqual_client::Error::Connect { .. })) => return Err(failure),
            Err(failure) => failures.push(failure.text()),
        }
    }
    cli.print(printer.finish())?;
    if failures.is_empty() { Ok(0) } else { Err(Failure::message(failures.join("\n"))) }
}

async fn find(client: &Client, matches: &Matches, name: &str, kinds: &[Kind], only: bool) -> Result<Vec<u8>> {
    for kind in kinds {
        match get(client, matches, name, *kind).await {
            Ok(raw) => return Ok(raw),
            Err(failure) if only || failure.http_status() != Some(404) => return Err(failure),
            Err(_) => {}
        }
    }
    Err(Failure::message(format!("Error: No such object: {name}")))
}

async fn get(client: &Client, matches: &Matches, name: &str, kind: Kind) -> Result<Vec<u8>> {
    let request = match kind {
        Kind::Container => client.get(format!("/containers/{name}/json")).query_flag("size", matches.on("size")),
        Kind::Image => {
            let platform = crate::image::platform_json(matches.text("platform"))?;
            client.get(format!("/images/{name}/json")).query_some("platform", platform)
        }
        Kind::Network => {
            client.get(format!("/networks/{name}")).query_some("verbose", matches.on("verbose").then_some("true"))
        }
        Kind::Volume => client.get(format!("/volumes/{name}")),
    };
    Ok(request.send().await?.bytes().await?.to_vec())
}

/// Collects what is printed at the end.
pub(crate) struct Printer {
    template: Option<Template>,
    json_lines: bool,
    found: Vec<Vec<u8>>,
    text: String,
}

impl Printer {
    /// A printer for `--format`; a malformed template is an error at once.
    pub(crate) fn new(format: &str) -> Result<Self> {
        let template = match format {
            "" | "json" => None,
            format => Some(
                Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n"))
                    .map_err(|why| Failure::status(64, format!("template parsing error: {why}")))?,
            ),
        };
        Ok(Self { template, json_lines: format == "json", found: Vec::new(), text: String::new() })
    }

    pub(crate) fn add(&mut self, raw: &[u8]) -> Result<(), String> {
        let Some(template) = &self.template else {
            self.found.push(raw.to_vec());
            return Ok(());
        };
        let value = Value::parse(raw).map_err(|error| format!("unable to read inspect data: {error}"))?;
        let text = template.render(&value, None).map_err(|why| format!("template parsing error: {why}"))?;
        self.text.push_str(&text);
        self.text.push('\n');
        Ok(())
    }

    pub(crate) fn finish(self) -> String {
        if self.template.is_some() {
            return if self.text.is_empty() { "\n".to_owned() } else { self.text };
        }
        let trimmed = self.found.iter().map(|raw| raw.trim_ascii());
        if self.json_lines {
            let lines: Vec<&[u8]> = trimmed.collect();
            return format!("[{}]\n", String::from_utf8_lossy(&lines.join(&b","[..])));
        }
        let mut whole = b"[".to_vec();
        whole.extend(trimmed.collect::<Vec<_>>().join(&b","[..]));
        whole.push(b']');
        indent_json(&whole, "    ") + "\n"
    }
}
