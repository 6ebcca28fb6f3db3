//! `exec`: another program in a running container.

use crate::{
    args::{Args, Command, Flag, Matches},
    attach::{DetachKeys, Ended, Streams, pump, signals, tty},
    cli::Cli,
    failure::{Failure, Result},
    opts::{hosts, list_file, object, texts_list, texts_or_null},
    value::Value,
};

/// `rorqual exec`.
pub const COMMAND: Command = Command {
    path: "container exec",
    aliases: &["exec"],
    operands: "CONTAINER COMMAND [ARG...]",
    about: "Run another command in a running container",
    args: Args::AtLeast(2),
    flags: &[
        Flag::switch("detach", "Leave the command in the background").short('d'),
        Flag::string("detach-keys", "Keys that detach from the command"),
        Flag::list("env", "Set a variable of the environment").short('e').check(hosts::check_env),
        Flag::list("env-file", "Read variables from a file"),
        Flag::switch("interactive", "Keep standard input open").short('i'),
        Flag::switch("privileged", "Give the command all privileges"),
        Flag::switch("tty", "Give the command a terminal").short('t'),
        Flag::string("user", "User to run as (<name|uid>[:<group|gid>])").short('u'),
        Flag::string("workdir", "Directory to start in").short('w'),
    ],
    flags_first: true,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let name = matches.arg(0);
    let (detach, terminal) = (matches.on("detach"), matches.on("tty"));
    let stdin = matches.on("interactive") && !detach;
    let body = body(cli, matches)?;
    let client = cli.client()?;
    // A missing container is told apart from a terminal that is missing.
    client.get(format!("/containers/{name}/json")).send().await?.finish().await?;
    if !detach && terminal && stdin && !tty::stdin_is_terminal() {
        return Err(Failure::message("the input device is not a TTY"));
    }
    let created: Value = client.post(format!("/containers/{name}/exec")).json(&body).send().await?.json().await?;
    let id = created.text("Id");
    if id.is_empty() {
        return Err(Failure::message("exec ID empty"));
    }
    let start = client.post(format!("/exec/{id}/start")).json(&start_body(detach, terminal));
    if detach {
        start.send().await?;
        return Ok(0);
    }
    let connection = start.hijack().await?;
    let _sizes =
        (terminal && tty::stdin_is_terminal()).then(|| signals::follow_size(&client, signals::Resized::Exec(id)));
    let keys = DetachKeys::parse(&cli.detach_keys(matches.text("detach-keys")))?;
    let streams = Streams { stdin, output: true, tty: terminal };
    if pump(connection, streams, keys).await? == Ended::Detached {
        return Err(Failure::message("read escape sequence"));
    }
    let finished: Value = client.get(format!("/exec/{id}/json")).send().await?.json().await?;
    Ok((finished.int("ExitCode") & 0xff) as u8)
}

fn body(cli: &Cli, matches: &Matches) -> Result<Value> {
    let mut env = list_file::read(matches.list("env-file"), true)?;
    env.extend(matches.list("env").iter().map(|entry| hosts::env(entry)));
    let (detach, terminal) = (matches.on("detach"), matches.on("tty"));
    let attach = Value::Bool(!detach);
    let mut fields = vec![
        ("User", Value::from(matches.text("user"))),
        ("Privileged", matches.on("privileged").into()),
        ("Tty", terminal.into()),
    ];
    if terminal {
        fields.push(("ConsoleSize", console_size()));
    }
    fields.extend([
        ("AttachStdin", Value::Bool(!detach && matches.on("interactive"))),
        ("AttachStderr", attach.clone()),
        ("AttachStdout", attach),
        ("Detach", detach.into()),
        ("DetachKeys", cli.detach_keys(matches.text("detach-keys")).into()),
        ("Env", texts_or_null(&env)),
        ("WorkingDir", matches.text("workdir").into()),
        ("Cmd", texts_list(&matches.args()[1..])),
    ]);
    Ok(Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

fn start_body(detach: bool, terminal: bool) -> Value {
    let mut body = object([("Detach", detach.into()), ("Tty", terminal.into())]);
    if let (Value::Map(fields), true) = (&mut body, terminal) {
        fields.push(("ConsoleSize".to_owned(), console_size()));
    }
    body
}

/// Rows and columns of our terminal; zeros where it has none.
fn console_size() -> Value {
    let (rows, columns) = tty::stdout_size().unwrap_or((0, 0));
    Value::List(vec![Value::Int(rows.into()), Value::Int(columns.into())])
}
