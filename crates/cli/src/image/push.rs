//! `push`.

use super::pull::{Output, asked, registry_auth};
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::Result,
    image::platform_json,
    print::show_progress,
};

/// `rorqual push`.
pub const COMMAND: Command = Command {
    path: "image push",
    aliases: &["push"],
    operands: "NAME[:TAG]",
    about: "Send an image to a registry",
    args: Args::Exactly(1),
    flags: &[
        Flag::switch("all-tags", "Send every tag of the repository").short('a'),
        Flag::switch("disable-content-trust", "Do not sign the image").default("true"),
        Flag::string("platform", "Send only the manifest of this platform"),
        Flag::switch("quiet", "Do not print the progress").short('q'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let (reference, quiet) = (asked(cli, matches)?, matches.on("quiet"));
    let client = cli.client()?;
    let request = client
        .post(format!("/images/{}/push", reference.familiar_name()))
        .query_some("platform", platform_json(matches.text("platform"))?)
        .query_some("tag", reference.tag())
        .header("x-registry-auth", registry_auth(&cli.config, &reference).await?);
    let mut lines = request.send().await?.lines();
    show_progress(&mut lines, Output::of(quiet) == Output::Quiet).await?;
    if quiet {
        cli.line(reference.to_string())?;
    }
    Ok(0)
}
