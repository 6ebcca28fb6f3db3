//! `registry serve`: a registry server, until it is interrupted.

use super::{ADDRESS, ROOT_FLAG, UNTAGGED_FLAG, address, config};
use crate::{
    args::{Args, Command, Flag, Matches},
    attach::signals,
    cli::Cli,
    failure::{Failure, Result},
};
use rorqual_error::Context;
use rorqual_registry::{Authentication, Config, ObjectsConfig, Server, Tls, TokenConfig};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// `rorqual registry serve`.
pub const COMMAND: Command = Command {
    path: "registry serve",
    aliases: &[],
    operands: "",
    about: "Serve images by the OCI distribution specification",
    args: Args::None,
    flags: &[
        Flag::string("address", "Where to listen; ':5000' listens on all addresses").default(ADDRESS),
        Flag::switch("anonymous-pull", "Let anybody pull, and ask for credentials for the rest"),
        Flag::duration("gc-grace", "How long after its last request a push protects what it relies on").default("1h"),
        Flag::duration("gc-period", "How often garbage is collected; 0 for never").default("24h"),
        UNTAGGED_FLAG,
        Flag::string("htpasswd", "File of users and bcrypt hashes (htpasswd -B) whose passwords are asked for"),
        Flag::string("metrics", "Where to listen for Prometheus (/metrics)"),
        Flag::switch("no-access-log", "Do not log each request"),
        Flag::switch("no-delete", "Refuse to delete manifests, tags and blobs on request"),
        Flag::switch("plain-http", "Listen without TLS on an address that other machines reach"),
        Flag::switch("read-only", "Refuse every change"),
        Flag::string("realm", "What is shown to users who are asked for a password").default("Registry"),
        ROOT_FLAG,
        Flag::string("storage", "Object store instead of the directory (s3://BUCKET/PREFIX, az://..., gs://...)"),
        Flag::list(
            "storage-opt",
            "Setting of the object store, as aws_endpoint=URL; others come from AWS_*, AZURE_*, GOOGLE_*",
        ),
        Flag::string("tls-cert", "Certificate chain (PEM)"),
        Flag::string("tls-key", "Key of the certificate (PEM)"),
        Flag::string("token-issuer", "Who makes the tokens: their 'iss'"),
        Flag::string("token-keys", "Public keys of the issuer: a JWK set, or PEM"),
        Flag::string("token-realm", "URL where clients get tokens"),
        Flag::string("token-service", "This registry as the issuer names it: the tokens' 'aud'"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let config = whole_config(matches)?;
    log(cli.globals.last("log-level").unwrap_or("info"), !matches.on("no-access-log"));
    // Interrupts are for the server, which ends what is under way; one too many still ends us.
    let _held = signals::hold();
    tokio::task::spawn_blocking(move || serve(&config)).await.map_err(std::io::Error::from)??;
    Ok(0)
}

/// Serves on threads of its own, as many as there are processors.
fn serve(config: &Config) -> rorqual_error::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let server = Server::bind(config).await?;
        let tls = config.tls.is_some();
        tracing::info!(address = %server.address()?, tls, root = %config.root.display(), "serving");
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone()));
        server.run(stop).await;
        tracing::info!("stopped");
        Ok(())
    })
}

async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.cancel();
}

/// Starts the log, on standard error.
fn log(level: &str, access: bool) {
    let level = match level {
        "warning" => "warn",
        "fatal" | "panic" => "error",
        other => other,
    };
    let level = level.parse().unwrap_or(tracing::Level::INFO);
    let mut targets = Targets::new().with_default(level);
    if !access {
        targets = targets.with_target("access", tracing_subscriber::filter::LevelFilter::OFF);
    }
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    // A second log in one process would be our own mistake, and would change nothing.
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
}

fn whole_config(matches: &Matches) -> Result<Config> {
    let mut config = config(matches)?;
    let option = |text: &String| match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Failure::message(format!("invalid --storage-opt {text:?}: say KEY=VALUE"))),
    };
    let options = matches.list("storage-opt").iter().map(option).collect::<Result<_>>()?;
    config.objects = matches.last("storage").map(|url| ObjectsConfig { url: url.to_owned(), options });
    config.metrics = matches.last("metrics").map(address).transpose()?;
    config.tls = match (matches.last("tls-cert"), matches.last("tls-key")) {
        (Some(certificate), Some(key)) => Some(Tls { certificate: certificate.into(), key: key.into() }),
        (None, None) => None,
        _ => return Err(Failure::message("--tls-cert and --tls-key go together")),
    };
    if config.tls.is_none() && !config.address.ip().is_loopback() && !matches.on("plain-http") {
        return Err(Failure::message(format!(
            "listening on {} without TLS lets whoever is on the way change images: give --tls-cert and --tls-key, or \
             --plain-http where something in front speaks TLS",
            config.address
        )));
    }
    config.access.authentication = authentication(matches)?;
    config.access.anonymous_pull = matches.on("anonymous-pull");
    config.access.read_only = matches.on("read-only");
    config.access.deletion = !matches.on("no-delete");
    let seconds = |name: &str| u64::try_from(matches.duration(name)).map(Duration::from_nanos).unwrap_or_default();
    if matches.given("gc-period") {
        config.collect.period = Some(seconds("gc-period")).filter(|period| !period.is_zero());
    }
    if matches.given("gc-grace") {
        config.collect.grace = seconds("gc-grace");
        config.collect.grace_at_start = config.collect.grace;
    }
    Ok(config)
}

fn authentication(matches: &Matches) -> Result<Authentication> {
    let parts = ["token-issuer", "token-keys", "token-realm", "token-service"].map(|name| matches.last(name));
    match (matches.last("htpasswd"), parts) {
        (None, [None, None, None, None]) => Ok(Authentication::None),
        (Some(path), [None, None, None, None]) => {
            let realm = matches.last("realm").unwrap_or("Registry").to_owned();
            Ok(Authentication::Htpasswd { path: path.into(), realm })
        }
        (None, [Some(issuer), Some(keys), Some(realm), Some(service)]) => Ok(Authentication::Token(TokenConfig {
            realm: realm.to_owned(),
            service: service.to_owned(),
            issuer: issuer.to_owned(),
            keys: keys.into(),
        })),
        (Some(_), _) => Err(Failure::message("--htpasswd and tokens exclude each other")),
        (None, _) => {
            Err(Failure::message("tokens need all of --token-issuer, --token-keys, --token-realm and --token-service"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn check(line: &str) -> std::result::Result<Config, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let matches = args::parse(&COMMAND, "registry serve", &words).map_err(|failure| failure.text())?;
        whole_config(&matches).map_err(|failure| failure.text())
    }

    #[test]
    fn flags_become_the_configuration() {
        let config = check("").unwrap();
        assert_eq!(config.address.to_string(), ADDRESS);
        assert!(config.access.deletion && config.collect.keep_untagged && config.collect.period.is_some());
        let config =
            check("--gc-period 0 --gc-grace 5m --gc-untagged --no-delete --read-only --metrics :9000").unwrap();
        assert_eq!((config.collect.period, config.collect.grace), (None, Duration::from_secs(300)));
        assert!(!config.access.deletion && !config.collect.keep_untagged && config.access.read_only);
        let config = check("--token-issuer i --token-keys k --token-realm r --token-service s").unwrap();
        assert!(matches!(config.access.authentication, Authentication::Token(_)));
    }

    #[test]
    fn what_would_be_open_or_unclear_is_refused() {
        check("--address :5000 --plain-http").unwrap();
        check("--address :5000 --tls-cert c --tls-key k").unwrap();
        for bad in [
            "--address :5000",
            "--address 192.0.2.1:5000",
            "--tls-cert c",
            "--htpasswd f --token-issuer i",
            "--token-issuer i",
            "--address x",
            "extra",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
