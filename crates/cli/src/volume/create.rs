//! `volume create`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    opts::pairs,
    value::Value,
};

/// `rorqual volume create`.
pub const COMMAND: Command = Command {
    path: "volume create",
    aliases: &[],
    operands: "[VOLUME]",
    about: "Create a volume",
    args: Args::Between(0, 1),
    flags: &[
        Flag::string("driver", "Driver of the volume").short('d').default("local"),
        Flag::list("label", "Set a label"),
        Flag::string("name", "Name of the volume").hidden(),
        Flag::list("opt", "Set an option of the driver").short('o').of("map").default("map[]"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let mut name = matches.text("name");
    if let Some(argument) = matches.args().first() {
        if !name.is_empty() {
            return Err(Failure::message(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
            ));
        }
        name = argument;
    }
    let mut fields = vec![("Driver", Value::from(matches.last("driver").unwrap_or("local")))];
    if !matches.list("opt").is_empty() {
        fields.push(("DriverOpts", pairs(matches.list("opt"))));
    }
    if !matches.list("label").is_empty() {
        fields.push(("Labels", pairs(matches.list("label"))));
    }
    if !name.is_empty() {
        fields.push(("Name", name.into()));
    }
    let body = Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let client = cli.client()?;
    let volume: Value = client.post("/volumes/create").json(&body).send().await?.json().await?;
    cli.line(volume.text("Name"))?;
    Ok(0)
}
