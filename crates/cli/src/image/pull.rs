//! `pull`, and the pull that `run` and `create` do.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    config::Config,
    credentials,
    failure::{Failure, Result},
    print::show_progress,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE};
use rorqual_types::Reference;

/// `rorqual pull`.
pub const COMMAND: Command = Command {
    path: "image pull",
    aliases: &["pull"],
    operands: "NAME[:TAG|@DIGEST]",
    about: "Fetch an image from a registry",
    args: Args::Exactly(1),
    flags: &[
        Flag::switch("all-tags", "Download every tag of the repository").short('a'),
        Flag::switch("disable-content-trust", "Accept unsigned images").default("true"),
        Flag::string("platform", "Platform of the image, where it has several"),
        Flag::switch("quiet", "Do not print the progress").short('q'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

/// Where the progress of a pull goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// To the user.
    Shown,
    /// Nowhere; only an error is told.
    Quiet,
}

impl Output {
    /// As `--quiet` says.
    pub(crate) fn of(quiet: bool) -> Self {
        if quiet { Self::Quiet } else { Self::Shown }
    }
}

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let reference = asked(cli, matches)?;
    let platform = Some(matches.text("platform")).filter(|text| !text.is_empty());
    pull(cli, &reference, platform, Output::of(matches.on("quiet"))).await?;
    if !matches.on("all-tags") {
        cli.line(reference.to_string())?;
    }
    Ok(0)
}

/// The name that a pull or push is given: with tag `latest` where it says nothing else and not all tags are meant.
pub(super) fn asked(cli: &Cli, matches: &Matches) -> Result<Reference> {
    let reference = matches.arg(0).parse::<Reference>()?;
    let bare = reference.tag().is_none() && reference.digest().is_none();
    if matches.on("all-tags") {
        return if bare { Ok(reference) } else { Err(Failure::message("tag can't be used with --all-tags/-a")) };
    }
    let reference = reference.or_latest();
    if bare && !matches.on("quiet") {
        cli.line(format!("Using default tag: {}", reference.tag().unwrap_or("latest")))?;
    }
    Ok(reference)
}

/// Asks the daemon to fetch `reference`; without tag and digest every tag of its repository.
pub(crate) async fn pull(cli: &mut Cli, reference: &Reference, platform: Option<&str>, output: Output) -> Result<()> {
    let client = cli.client()?;
    let digest = reference.digest().map(ToString::to_string);
    let request = client
        .post("/images/create")
        .query("fromImage", reference.name())
        .query_some("platform", platform.map(str::to_lowercase))
        .query_some("tag", digest.as_deref().or(reference.tag()))
        .header("x-registry-auth", registry_auth(&cli.config, reference).await?);
    let mut lines = request.send().await?.lines();
    show_progress(&mut lines, output == Output::Quiet).await
}

/// The credentials of the reference's registry, as the daemon takes them; `e30=`, an empty object, where there are none.
pub(crate) async fn registry_auth(config: &Config, reference: &Reference) -> Result<String> {
    registry_auth_of(config, reference.domain()).await
}

/// The same of a registry.
pub(crate) async fn registry_auth_of(config: &Config, domain: &str) -> Result<String> {
    let found = credentials::find(config, domain).await?;
    Ok(BASE64_URL_SAFE.encode(found.map_or_else(|| "{}".to_owned(), |auth| auth.json())))
}
