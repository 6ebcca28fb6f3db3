//! `context create`.

use super::store::{Context, Store, check_name, meta_of};
use crate::{
    args::{Args, Command, Flag, Matches, parse_bool},
    cli::Cli,
    context::endpoint,
    failure::{Failure, Result},
    opts::comma_fields,
};
use rorqual_client::Host;
use std::path::PathBuf;

/// `rorqual context create`.
pub const COMMAND: Command = Command {
    path: "context create",
    aliases: &[],
    operands: "CONTEXT",
    about: "Create a context",
    args: Args::Exactly(1),
    flags: &[
        Flag::string("description", "Free text about the context"),
        Flag::list("docker", "The endpoint: host=..., ca=..., cert=..., key=..., skip-tls-verify=..., from=...")
            .of("stringToString")
            .default("[]"),
        Flag::string("from", "Copy another context"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let name = matches.arg(0);
    check_name(name)?;
    let store = Store::of(cli.config.directory());
    if store.get(name).is_ok() {
        return Err(Failure::message(format!("context {name:?} already exists")));
    }
    let (context, tls) = match matches.list("docker") {
        [] => copied(cli, &store, matches)?,
        texts => described(cli, &store, matches, texts)?,
    };
    store.create(&context, &tls)?;
    cli.line(name)?;
    eprintln!("Successfully created context {name:?}");
    Ok(0)
}

type New = (Context, Vec<(&'static str, PathBuf)>);

const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// From `--from`, or from what is in use now.
fn copied(cli: &Cli, store: &Store, matches: &Matches) -> Result<New> {
    let from = match matches.text("from") {
        "" => endpoint::current(cli),
        from => from.to_owned(),
    };
    if from == super::store::DEFAULT {
        let host = endpoint::default_host(cli);
        let files = endpoint::flags_tls(cli).unwrap_or_default();
        let tls = FILES.into_iter().zip([files.ca, files.cert, files.key]);
        let tls = tls.filter_map(|(name, path)| Some((name, path?))).collect();
        return Ok((context_of(matches, &host, files.skip_verify, matches.text("description")), tls));
    }
    let old = store.get(&from)?;
    let description = matches.last("description").unwrap_or(&old.description);
    let directory = store.tls_directory(&from).join("docker");
    let tls = FILES.into_iter().map(|name| (name, directory.join(name))).filter(|(_, path)| path.exists()).collect();
    Ok((context_of(matches, &old.host, old.skip_verify, description), tls))
}

/// From `--docker host=…,ca=…`.
fn described(cli: &Cli, store: &Store, matches: &Matches, texts: &[String]) -> Result<New> {
    let failed = |why: String| Failure::message(format!("unable to create docker endpoint config: {why}"));
    let (mut host, mut skip, mut tls) = (String::new(), false, Vec::new());
    for text in texts {
        for field in comma_fields(text).map_err(failed)? {
            let (name, value) =
                field.split_once('=').ok_or_else(|| failed(format!("{field} must be formatted as key=value")))?;
            match name {
                "host" => host = value.to_owned(),
                "ca" => tls.push(("ca.pem", PathBuf::from(value))),
                "cert" => tls.push(("cert.pem", PathBuf::from(value))),
                "key" => tls.push(("key.pem", PathBuf::from(value))),
                "skip-tls-verify" => skip = parse_bool(value).map_err(failed)?,
                "from" if value == super::store::DEFAULT => host = endpoint::default_host(cli),
                "from" => host = store.get(value)?.host,
                other => return Err(failed(format!("unrecognized config key: {other}"))),
            }
        }
    }
    if host.is_empty() {
        host = endpoint::SOCKET.to_owned();
    }
    if !host.contains("://") || host.parse::<Host>().is_err() && !host.starts_with("ssh://") {
        return Err(failed(format!("unable to apply docker endpoint options: unable to parse docker host `{host}`")));
    }
    Ok((context_of(matches, &host, skip, matches.text("description")), tls))
}

fn context_of(matches: &Matches, host: &str, skip_verify: bool, description: &str) -> Context {
    let name = matches.arg(0).to_owned();
    let meta = meta_of(&name, description, host, skip_verify);
    Context { name, description: description.to_owned(), host: host.to_owned(), skip_verify, meta }
}
