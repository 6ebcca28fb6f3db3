//! `volume rm`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{self, Result},
};

/// `rorqual volume rm`.
pub const COMMAND: Command = Command {
    path: "volume rm",
    aliases: &["volume remove"],
    operands: "VOLUME [VOLUME...]",
    about: "Remove volumes",
    args: Args::AtLeast(1),
    flags: &[Flag::switch("force", "A volume that is not there is no error").short('f')],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let mut failures = Vec::new();
    for name in matches.args() {
        let request = client.delete(format!("/volumes/{name}")).query_flag("force", matches.on("force"));
        match request.send().await {
            Ok(_) => cli.line(name)?,
            Err(error) => failures.push(error.into()),
        }
    }
    failure::all(failures).map(|()| 0)
}
