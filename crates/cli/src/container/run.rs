//! `run`: create, attach, arm the wait, start, pump, and exit as the container did.

use super::{
    create::{self, create},
    create_body,
    create_flags::FLAGS,
    wait::Wait,
};
use crate::{
    args::{Args, Command, Matches},
    attach::{DetachKeys, Ended, Streams, pump, signals, tty},
    cli::Cli,
    failure::{Failure, Result},
};
use rorqual_client::{Client, Hijacked};

/// `rorqual run`.
pub const COMMAND: Command = Command {
    path: "container run",
    aliases: &["run"],
    operands: "IMAGE [COMMAND] [ARG...]",
    about: "Make a container from an image and start it",
    args: Args::AtLeast(1),
    flags: &FLAGS,
    flags_first: true,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let failed = |text: String| Failure::Run { text, status: 125, called: matches.called.clone() };
    create::check_system(matches)?;
    let mut body = create_body::parse(matches).map_err(failed)?;
    create::check(matches).map_err(failed)?;
    let detached = matches.on("detach");
    if detached {
        if matches.given("attach") {
            return Err(Failure::message("conflicting options: cannot specify both --attach and --detach"));
        }
        create_body::detach(&mut body);
    } else if body.attach_stdin && body.tty && !tty::stdin_is_terminal() {
        return Err(Failure::message("the input device is not a TTY"));
    }
    let id = create(cli, matches, &body).await.map_err(|failure| as_run(failure, matches))?;
    let client = cli.client()?;
    let proxies = matches.switch("sig-proxy").unwrap_or(true) && !body.tty;
    let _signals = (!detached).then(|| if proxies { signals::forward(&client, &id) } else { signals::hold() });

    let streams = Streams { stdin: body.attach_stdin, output: body.attach_stdout || body.attach_stderr, tty: body.tty };
    let keys_text = cli.detach_keys(matches.text("detach-keys"));
    let attached = if streams.stdin || streams.output {
        let which = Attach { stdin: body.attach_stdin, stdout: body.attach_stdout, stderr: body.attach_stderr };
        Some(which.open(&client, &id, &keys_text).await?)
    } else {
        None
    };
    let condition = if body.auto_remove { "removed" } else { "next-exit" };
    let wait = Wait::arm(&client, &id, Some(condition)).await?;
    let started = client.post(format!("/containers/{id}/start")).send().await;
    if let Err(error) = started {
        // The streams of a container that never ran end with it.
        drop(attached);
        if body.auto_remove {
            let _ = wait.code().await;
        }
        return Err(as_run(error.into(), matches));
    }
    let _sizes = (body.tty && tty::stdout_is_terminal() && !detached)
        .then(|| signals::follow_size(&client, signals::Resized::Container(&id)));
    let Some(connection) = attached else {
        cli.line(&id)?;
        return Ok(0);
    };
    if pump(connection, streams, DetachKeys::parse(&keys_text)?).await? == Ended::Detached {
        return Ok(0);
    }
    let code = wait.code().await?;
    Ok((code & 0xff) as u8)
}

/// Which streams of a container are attached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attach {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

impl Attach {
    /// Takes the connection over.
    pub(super) async fn open(self, client: &Client, id: &str, keys: &str) -> Result<Hijacked> {
        let request = client
            .post(format!("/containers/{id}/attach"))
            .query_some("detachKeys", Some(keys).filter(|keys| !keys.is_empty()))
            .query_flag("stderr", self.stderr)
            .query_flag("stdin", self.stdin)
            .query_flag("stdout", self.stdout)
            .query_flag("stream", true)
            .header("content-type", "text/plain");
        Ok(request.hijack().await?)
    }
}

/// A failure of the daemon or of the image as `run` reports it: 127 where the program is missing, 126 where it cannot
/// be run, else 125.
fn as_run(failure: Failure, matches: &Matches) -> Failure {
    let text = failure.text();
    let status = match () {
        () if matches!(failure, Failure::Client(rorqual_client::Error::Connect { .. })) => 125,
        () if ["executable file not found", "no such file or directory", "system cannot find the file specified"]
            .iter()
            .any(|part| text.contains(part)) =>
        {
            127
        }
        () if text.contains("permission denied") || text.contains("is a directory") => 126,
        () => 125,
    };
    Failure::Run { text, status, called: matches.called.clone() }
}
