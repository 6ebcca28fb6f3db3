//! `wait`, and the wait that `run` and `start` arm before they start a container.

use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::{self, Failure, Result},
    value::Value,
};
use rorqual_client::{Client, Response};

/// `rorqual wait`.
pub const COMMAND: Command = Command {
    path: "container wait",
    aliases: &["wait"],
    operands: "CONTAINER [CONTAINER...]",
    about: "Wait for containers to end and print their exit codes",
    args: Args::AtLeast(1),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let mut failures = Vec::new();
    for name in matches.args() {
        match Wait::arm(&client, name, None).await {
            Ok(wait) => match wait.code().await {
                Ok(code) => cli.line(code.to_string())?,
                Err(failure) => failures.push(failure),
            },
            Err(failure) => failures.push(failure),
        }
    }
    failure::all(failures).map(|()| 0)
}

/// A wait that the daemon has accepted.
#[derive(Debug)]
pub(super) struct Wait(Response);

impl Wait {
    /// Asks; returns when the daemon has armed it.
    pub(super) async fn arm(client: &Client, name: &str, condition: Option<&str>) -> Result<Self> {
        let request = client.post(format!("/containers/{name}/wait")).query_some("condition", condition);
        Ok(Self(request.send().await?))
    }

    /// The exit code of the container.
    pub(super) async fn code(self) -> Result<i64> {
        let answer: Value = self.0.json().await?;
        match answer.at(&["Error", "Message"]).as_str() {
            Some(message) if !message.is_empty() => Err(Failure::message(message)),
            _ => Ok(answer.int("StatusCode")),
        }
    }
}
