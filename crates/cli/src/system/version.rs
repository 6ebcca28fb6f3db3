//! `version`: of this program and of the daemon.

use super::moment;
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    context::endpoint,
    failure::{Failure, Result},
    opts::object,
    template::Template,
    value::Value,
};
use rorqual_client::Client;
use std::fmt::Write;

/// `rorqual version`.
pub const COMMAND: Command = Command {
    path: "version",
    aliases: &[],
    operands: "",
    about: "Show our version and the daemon's",
    args: Args::None,
    flags: &[Flag::string("format", "How to print: 'json', or a Go template").short('f')],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let context = endpoint::resolve(cli)?.context;
    let client = cli.client()?;
    let server = match client.get("/version").send().await {
        Ok(response) => Ok(response.json::<Value>().await?),
        Err(error) => Err(Failure::from(error)),
    };
    let own = own(&client, &context);
    let (server, failure) = match server {
        Ok(server) => (built(server), None),
        Err(failure) => (Value::Null, Some(failure)),
    };
    match matches.text("format") {
        "" => cli.print(plain(&own, &server))?,
        format => {
            let format = if format == "json" { "{{json .}}" } else { format };
            let template =
                Template::parse(format).map_err(|why| Failure::status(64, format!("template parsing error: {why}")))?;
            let all = object([("Client", own), ("Server", server)]);
            let text = template.render(&all, None).map_err(Failure::message)?;
            cli.line(text)?;
        }
    }
    failure.map_or(Ok(0), Err)
}

fn own(client: &Client, context: &str) -> Value {
    object([
        ("Platform", object([("Name", "Rorqual".into())])),
        ("Version", VERSION.into()),
        ("ApiVersion", client.version().into()),
        ("DefaultAPIVersion", Client::newest_version().into()),
        ("Os", std::env::consts::OS.into()),
        ("Arch", architecture().into()),
        ("Context", context.into()),
    ])
}

/// Go's name of the processor we were built for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// The daemon's answer with the build times of its components as docker's client prints them.
fn built(server: Value) -> Value {
    let Value::Map(fields) = server else { return server };
    let field = |(name, value): (String, Value)| match (name.as_str(), value) {
        ("Components", Value::List(components)) => (name, Value::List(components.into_iter().map(built).collect())),
        ("Details", Value::Map(details)) => (name, Value::Map(details.into_iter().map(detail).collect())),
        (_, value) => (name, value),
    };
    Value::Map(fields.into_iter().map(field).collect())
}

fn detail((name, value): (String, Value)) -> (String, Value) {
    match (name.as_str(), value) {
        ("BuildTime", Value::Str(text)) => (name, moment::build_time(&text).into()),
        (_, value) => (name, value),
    }
}

fn plain(own: &Value, server: &Value) -> String {
    let mut text = String::new();
    let platform = own.at(&["Platform"]).text("Name");
    let title = if platform.is_empty() { "Client:".to_owned() } else { format!("Client: {platform}") };
    let version = match (own.text("ApiVersion"), own.text("DefaultAPIVersion")) {
        (used, newest) if used == newest => used.to_owned(),
        (used, newest) => format!("{used} (downgraded from {newest})"),
    };
    let _ = write!(
        text,
        "{title}\n Version:           {}\n API version:       {version}\n OS/Arch:           {}/{}\n Context:           {}\n",
        own.text("Version"),
        own.text("Os"),
        own.text("Arch"),
        own.text("Context"),
    );
    if let Value::Null = server {
        return text;
    }
    let platform = server.at(&["Platform"]).text("Name");
    let _ = writeln!(text, "\nServer:{}{platform}", if platform.is_empty() { "" } else { " " });
    for component in server.at(&["Components"]).items() {
        write_component(&mut text, component);
    }
    text
}

fn write_component(text: &mut String, component: &Value) {
    let details = component.at(&["Details"]);
    let _ = writeln!(text, " {}:", component.text("Name"));
    let mut field = |name: &str, value: &str| {
        let name = format!("{name}:");
        let _ = writeln!(text, "  {name:<17}{value}");
    };
    field("Version", component.text("Version"));
    if component.text("Name") != "Engine" {
        for (name, value) in details.entries() {
            field(name, value.as_str().unwrap_or_default());
        }
        return;
    }
    let versions = format!("{} (minimum version {})", details.text("ApiVersion"), details.text("MinAPIVersion"));
    field("API version", &versions);
    for (title, name) in [("Go version", "GoVersion"), ("Git commit", "GitCommit"), ("Built", "BuildTime")] {
        if details.get(name).is_some() {
            field(title, details.text(name));
        }
    }
    field("OS/Arch", &format!("{}/{}", details.text("Os"), details.text("Arch")));
    field("Experimental", details.text("Experimental"));
}
