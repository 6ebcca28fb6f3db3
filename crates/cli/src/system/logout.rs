//! `logout`: forgets what `login` kept.

use super::login::server_key;
use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::Result,
    value::Value,
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
    let auths = cli.config.get("auths").map_or(&[][..], Value::entries).to_vec();
    cli.line(format!("Removing login credentials for {server}"))?;
    if auths.iter().any(|(name, _)| *name == server) {
        let rest = auths.into_iter().filter(|(name, _)| *name != server).collect();
        cli.config.store("auths", Some(Value::Map(rest)))?;
    }
    Ok(0)
}
