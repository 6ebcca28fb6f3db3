//! `tag`.

use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::{Failure, Result},
};
use rorqual_types::Reference;

/// `rorqual tag`.
pub const COMMAND: Command = Command {
    path: "image tag",
    aliases: &["tag"],
    operands: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Give an image another name",
    args: Args::Exactly(2),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let (source, target) = (matches.arg(0), matches.arg(1));
    let reference = target
        .parse::<Reference>()
        .map_err(|error| {
            Failure::message(format!("Error parsing reference: {target:?} is not a valid repository/tag: {error}"))
        })?
        .or_latest();
    if reference.digest().is_some() {
        return Err(Failure::message("refusing to create a tag with a digest reference"));
    }
    let client = cli.client()?;
    client
        .post(format!("/images/{source}/tag"))
        .query("repo", reference.name())
        .query_some("tag", reference.tag())
        .send()
        .await?;
    Ok(0)
}
