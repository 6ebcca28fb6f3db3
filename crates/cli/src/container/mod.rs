//! `rorqual container`: what runs, and what has run.

mod attach;
pub(crate) mod create;
mod create_body;
mod create_flags;
mod exec;
mod inspect;
mod kill;
mod logs;
pub(crate) mod ls;
mod pause;
mod port;
pub(crate) mod prune;
mod rename;
mod restart;
mod rm;
mod run;
mod start;
mod stop;
mod top;
mod unpause;
mod update;
mod wait;

use crate::{
    args::Group,
    cli::Cli,
    failure::{self, Failure, Result},
};

/// The group.
pub const GROUP: Group = Group {
    name: "container",
    about: "Manage containers",
    commands: &[
        &attach::COMMAND,
        &create::COMMAND,
        &exec::COMMAND,
        &inspect::COMMAND,
        &kill::COMMAND,
        &logs::COMMAND,
        &ls::COMMAND,
        &pause::COMMAND,
        &port::COMMAND,
        &prune::COMMAND,
        &rename::COMMAND,
        &restart::COMMAND,
        &rm::COMMAND,
        &run::COMMAND,
        &start::COMMAND,
        &stop::COMMAND,
        &top::COMMAND,
        &unpause::COMMAND,
        &update::COMMAND,
        &wait::COMMAND,
    ],
};

/// Runs `call` for each container, prints each name that worked at once, and gives all failures at the end.
async fn each(
    cli: &mut Cli,
    names: &[String],
    call: impl AsyncFn(&rorqual_client::Client, &str) -> Result<()>,
) -> Result<u8> {
    let client = cli.client()?;
    let mut failures: Vec<Failure> = Vec::new();
    for name in names {
        match call(&client, name).await {
            Ok(()) => cli.line(name)?,
            Err(failure @ Failure::Client(rorqual_client::Error::Connect { .. })) => return Err(failure),
            // Already said, and not an error.
            Err(Failure::Message { text, status: 0 }) if text.is_empty() => {}
            Err(failure) => failures.push(failure),
        }
    }
    failure::all(failures).map(|()| 0)
}
