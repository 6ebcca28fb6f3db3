//! `create`, and the part of `run` that makes the container.

use super::{
    create_body::{self, Body},
    create_flags::CREATE,
};
use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::{Failure, Result},
    image::pull,
    value::Value,
};
use rorqual_client::Client;
use rorqual_types::{Platform, Reference};

/// `rorqual create`.
pub const COMMAND: Command = Command {
    path: "container create",
    aliases: &["create"],
    operands: "IMAGE [COMMAND] [ARG...]",
    about: "Make a container from an image without starting it",
    args: Args::AtLeast(1),
    flags: CREATE,
    flags_first: true,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let failed = |text: String| Failure::Run { text, status: 125, called: matches.called.clone() };
    check_system(matches)?;
    let body = create_body::parse(matches).map_err(failed)?;
    check(matches).map_err(failed)?;
    let id = create(cli, matches, &body).await?;
    cli.line(id)?;
    Ok(0)
}

/// Flags that mean something to a daemon on Windows alone.
const WINDOWS: [&str; 4] = ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"];

/// Refuses the flags of another system.
pub(super) fn check_system(matches: &Matches) -> Result<()> {
    let given = WINDOWS.into_iter().filter(|flag| matches.given(flag));
    let lines: Vec<String> = given
        .map(|flag| {
            format!("\"--{flag}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux")
        })
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(Failure::message(lines.join("\n"))) }
}

/// What both commands refuse before they call the daemon.
pub(super) fn check(matches: &Matches) -> std::result::Result<(), String> {
    match matches.last("pull").unwrap_or("missing") {
        "always" | "missing" | "never" => Ok(()),
        other => Err(format!("invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\"")),
    }
}

/// Creates the container and gives its id; pulls the image where it is missing and may be pulled.
pub(super) async fn create(cli: &mut Cli, matches: &Matches, body: &Body) -> Result<String> {
    let cidfile = CidFile::open(matches.text("cidfile")).map_err(Failure::from)?;
    let image = matches.arg(0);
    // A digest or an id names an image as well as a reference does.
    let named = match image.parse::<Reference>() {
        Ok(reference) => Some(reference.or_latest()),
        Err(_) if is_id(image) => None,
        Err(error) => return Err(Failure::message(error.to_string())),
    };
    let platform = match matches.text("platform") {
        "" => None,
        text => Some(parse_platform(text)?),
    };
    let client = cli.client()?;
    let policy = matches.last("pull").unwrap_or("missing");
    let quiet = matches.on("quiet");
    if policy == "always"
        && let Some(reference) = &named
    {
        pull::pull(cli, reference, platform.as_deref(), pull::Output::of(quiet)).await?;
    }
    let name = matches.last("name").filter(|name| !name.is_empty());
    let mut answer = post(&client, body, name, platform.as_deref()).await;
    if let (Err(failure), Some(reference)) = (&answer, &named)
        && failure.http_status() == Some(404)
        && policy == "missing"
    {
        if !quiet {
            eprintln!("Unable to find image '{}' locally", reference.familiar());
        }
        pull::pull(cli, reference, platform.as_deref(), pull::Output::of(quiet)).await?;
        answer = post(&client, body, name, platform.as_deref()).await;
    }
    let answer = answer?;
    for warning in answer.at(&["Warnings"]).items() {
        eprintln!("WARNING: {}", warning.as_str().unwrap_or_default());
    }
    let id = answer.text("Id").to_owned();
    cidfile.write(&id)?;
    Ok(id)
}

async fn post(client: &Client, body: &Body, name: Option<&str>, platform: Option<&str>) -> Result<Value> {
    let request = client.post("/containers/create").query_some("name", name).query_some("platform", platform);
    Ok(request.json(&body.json()).send().await?.json().await?)
}

fn is_id(image: &str) -> bool {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The platform as the daemon takes it; what it can mean at all is checked here.
pub(crate) fn parse_platform(text: &str) -> Result<String> {
    let unknown = || {
        Failure::message(format!(
            "error parsing specified platform: {text:?}: unknown operating system or architecture: invalid argument"
        ))
    };
    const KNOWN: [&str; 14] = [
        "linux", "windows", "darwin", "freebsd", "amd64", "386", "arm", "arm64", "riscv64", "ppc64le", "s390x",
        "mips64le", "x86_64", "aarch64",
    ];
    if !text.contains('/') && !KNOWN.contains(&text) {
        return Err(unknown());
    }
    if text.contains('/') {
        text.parse::<Platform>().map_err(|_| unknown())?;
    }
    Ok(text.to_owned())
}

/// `--cidfile`: must not exist, is removed again where nothing was created.
struct CidFile<'a>(&'a str);

impl<'a> CidFile<'a> {
    fn open(path: &'a str) -> std::result::Result<Self, String> {
        if !path.is_empty() && std::fs::exists(path).unwrap_or(false) {
            return Err(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            ));
        }
        Ok(Self(path))
    }

    fn write(&self, id: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        std::fs::write(self.0, id)
            .map_err(|error| Failure::message(format!("failed to write the container ID ({id}) to file: {error}")))
    }
}

#[cfg(test)]
mod tests;
