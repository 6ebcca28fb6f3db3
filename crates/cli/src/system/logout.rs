//! `logout`: forgets what `login` kept.

use super::login::server_key;
use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    credentials,
    failure::Result,
};

/// `rorqual logout`.
pub const COMMAND: Command = Command {
    path: "logout",
    aliases: &[],
    operands: "[SERVER]",
    about: "Forget the credentials of a registry",
    args: Args::Between(0, 1),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let server = server_key(matches.arg(0));
    cli.line(format!("Removing login credentials for {server}"))?;
    credentials::erase(&mut cli.config, &server).await?;
    Ok(0)
}
