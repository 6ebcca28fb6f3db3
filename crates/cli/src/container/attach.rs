//! `attach`: our streams to those of a running container.

use super::{run::Attach, wait::Wait};
use crate::{
    args::{Args, Command, Flag, Matches},
    attach::{DetachKeys, Ended, Streams, pump, signals, tty},
    cli::Cli,
    failure::{Failure, Result},
    value::Value,
};

/// `rorqual attach`.
pub const COMMAND: Command = Command {
    path: "container attach",
    aliases: &["attach"],
    operands: "CONTAINER",
    about: "Connect to the streams of a running container",
    args: Args::Exactly(1),
    flags: &[
        Flag::string("detach-keys", "Keys that detach from the container"),
        Flag::switch("no-stdin", "Do not attach standard input"),
        Flag::switch("sig-proxy", "Pass signals on to the container").default("true"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let name = matches.arg(0);
    let client = cli.client()?;
    // Armed first: the container may end before the streams are ours.
    let wait = Wait::arm(&client, name, None).await?;
    let container: Value = client.get(format!("/containers/{name}/json")).send().await?.json().await?;
    check(&container)?;
    let config = container.at(&["Config"]);
    let terminal = config.is_true("Tty");
    let stdin = !matches.on("no-stdin") && config.is_true("OpenStdin");
    if stdin && terminal && !tty::stdin_is_terminal() {
        return Err(Failure::message("the input device is not a TTY"));
    }
    let proxies = matches.switch("sig-proxy").unwrap_or(true) && !terminal;
    let _signals = proxies.then(|| signals::forward(&client, name));
    let keys = cli.detach_keys(matches.text("detach-keys"));
    let connection = Attach { stdin, stdout: true, stderr: true }.open(&client, name, &keys).await?;
    let sized = terminal && tty::stdout_is_terminal();
    if sized {
        signals::redraw(&client, name).await;
    }
    let _sizes = sized.then(|| signals::follow_size(&client, signals::Resized::Container(name)));
    let streams = Streams { stdin, output: true, tty: terminal };
    match pump(connection, streams, DetachKeys::parse(&keys)?).await? {
        Ended::Detached => Err(Failure::message("read escape sequence")),
        Ended::Output => Ok((wait.code().await? & 0xff) as u8),
    }
}

fn check(container: &Value) -> Result<()> {
    let state = container.at(&["State"]);
    let refused = match () {
        () if !state.is_true("Running") => "You cannot attach to a stopped container, start it first",
        () if state.is_true("Paused") => "You cannot attach to a paused container, unpause it first",
        () if state.is_true("Restarting") => "You cannot attach to a restarting container, wait until it is running",
        () => return Ok(()),
    };
    Err(Failure::message(refused))
}
