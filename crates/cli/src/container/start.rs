//! `start`: several at once, or one with its streams attached.

use super::{run::Attach, wait::Wait};
use crate::{
    args::{Args, Command, Flag, Matches},
    attach::{DetachKeys, Ended, Streams, pump, signals, tty},
    cli::Cli,
    failure::{Failure, Result},
    value::Value,
};

/// `rorqual start`.
pub const COMMAND: Command = Command {
    path: "container start",
    aliases: &["start"],
    operands: "CONTAINER [CONTAINER...]",
    about: "Start containers that are not running",
    args: Args::AtLeast(1),
    flags: &[
        Flag::switch("attach", "Attach to the output and pass signals on").short('a'),
        Flag::string("detach-keys", "Keys that detach from the container"),
        Flag::switch("interactive", "Attach to the container's standard input").short('i'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    if !matches.on("attach") && !matches.on("interactive") {
        return start_all(cli, matches.args()).await;
    }
    if matches.args().len() > 1 {
        return Err(Failure::message("you cannot start and attach multiple containers at once"));
    }
    attached(cli, matches).await
}

async fn start_all(cli: &mut Cli, names: &[String]) -> Result<u8> {
    let client = cli.client()?;
    let mut failed = Vec::new();
    for name in names {
        match client.post(format!("/containers/{name}/start")).send().await {
            Ok(_) => cli.line(name)?,
            Err(error @ rorqual_client::Error::Connect { .. }) => return Err(error.into()),
            Err(error) => {
                eprintln!("{}", Failure::from(error).text());
                failed.push(name.as_str());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(0),
        false => Err(Failure::message(format!("Error: failed to start containers: {}", failed.join(", ")))),
    }
}

async fn attached(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let client = cli.client()?;
    let container: Value = client.get(format!("/containers/{}/json", matches.arg(0))).send().await?.json().await?;
    let id = container.text("Id");
    let config = container.at(&["Config"]);
    let terminal = config.is_true("Tty");
    let _signals = (!terminal).then(|| signals::forward(&client, id));
    let stdin = matches.on("interactive") && config.is_true("OpenStdin");
    let keys = cli.detach_keys(matches.text("detach-keys"));
    let attach = Attach { stdin, stdout: true, stderr: true };
    let connection = attach.open(&client, id, &keys).await?;
    let auto_remove = container.at(&["HostConfig"]).is_true("AutoRemove");
    let condition = if auto_remove { "removed" } else { "next-exit" };
    let wait = Wait::arm(&client, id, Some(condition)).await?;
    if let Err(error) = client.post(format!("/containers/{id}/start")).send().await {
        drop(connection);
        if auto_remove {
            let _ = wait.code().await;
        }
        return Err(error.into());
    }
    let _sizes =
        (terminal && tty::stdout_is_terminal()).then(|| signals::follow_size(&client, signals::Resized::Container(id)));
    let streams = Streams { stdin, output: true, tty: terminal };
    if pump(connection, streams, DetachKeys::parse(&keys)?).await? == Ended::Detached {
        return Ok(0);
    }
    Ok((wait.code().await? & 0xff) as u8)
}
