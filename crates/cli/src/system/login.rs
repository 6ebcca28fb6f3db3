//! `login`: the daemon checks the credentials, `config.json` keeps them.

use crate::{
    args::{Args, Command, Flag, Matches},
    attach::tty,
    cli::{Cli, read_line},
    credentials,
    failure::{Failure, Result},
    opts::object,
    value::Value,
};
use std::io::Read;

/// `rorqual login`.
pub const COMMAND: Command = Command {
    path: "login",
    aliases: &[],
    operands: "[SERVER]",
    about: "Check credentials with a registry and keep them",
    args: Args::Between(0, 1),
    flags: &[
        Flag::string("password", "Password or access token").short('p'),
        Flag::switch("password-stdin", "Read the password from standard input"),
        Flag::string("username", "User name").short('u'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

/// The name under which the credentials of Docker Hub are kept.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// The key of a registry in `auths`.
pub(crate) fn server_key(server: &str) -> String {
    match server {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        server => {
            let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
            if server == HUB { HUB.to_owned() } else { bare.split('/').next().unwrap_or(bare).to_owned() }
        }
    }
}

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let server = server_key(matches.arg(0));
    let (user, password) = asked(matches).await?;
    let client = cli.client()?;
    let body = object([
        ("username", user.as_str().into()),
        ("password", password.as_str().into()),
        ("serveraddress", server.as_str().into()),
    ]);
    let answer: Value = client.post("/auth").json(&body).send().await?.json().await?;
    let token = answer.text("IdentityToken").to_owned();
    if credentials::store(&mut cli.config, &server, &user, &password, &token).await? {
        let file = cli.config.directory().join("config.json");
        eprintln!("WARNING! Your credentials are stored unencrypted in '{}'.", file.display());
    }
    let status = answer.text("Status");
    if !status.is_empty() {
        cli.line(status)?;
    }
    Ok(0)
}

async fn asked(matches: &Matches) -> Result<(String, String)> {
    let user = matches.text("username").to_owned();
    if matches.on("password-stdin") {
        if matches.given("password") {
            return Err(Failure::message("--password and --password-stdin are mutually exclusive"));
        }
        if user.is_empty() {
            return Err(Failure::message("Must provide --username with --password-stdin"));
        }
        let mut password = String::new();
        std::io::stdin().read_to_string(&mut password)?;
        return Ok((user, password.trim_end_matches(['\n', '\r']).to_owned()));
    }
    if matches.given("password") {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let password = matches.text("password").to_owned();
    if !user.is_empty() && !password.is_empty() {
        return Ok((user, password));
    }
    if !tty::stdin_is_terminal() {
        return Err(Failure::message("Error: Cannot perform an interactive login from a non TTY device"));
    }
    let user = if user.is_empty() { ask("Username: ", Echo::Shown).await? } else { user };
    let password = if password.is_empty() { ask("Password: ", Echo::Hidden).await? } else { password };
    Ok((user, password))
}

#[derive(PartialEq)]
enum Echo {
    Shown,
    Hidden,
}

async fn ask(question: &str, echo: Echo) -> Result<String> {
    crate::cli::print(question)?;
    if echo == Echo::Shown {
        return read_line().await;
    }
    let hidden = tty::NoEcho::enter();
    let answer = read_line().await?;
    drop(hidden);
    crate::cli::print("\n")?;
    Ok(answer)
}
