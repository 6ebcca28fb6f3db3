//! `registry serve`: a registry server, until it is interrupted.

use super::{ROOT_FLAG, UNTAGGED_FLAG, config};
use crate::{
    args::{Args, Command, Flag, Matches},
    attach::signals,
    cli::Cli,
    failure::Result,
};
use rorqual_error::Context;
use rorqual_registry::{ADDRESS, Config, Server};
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
        Flag::string("gc-grace", "How long after its last request a push protects what it relies on").default("1h"),
        Flag::string("gc-period", "How often garbage is collected; 0 for never").default("24h"),
        UNTAGGED_FLAG,
        Flag::string("htpasswd", "File of users and bcrypt hashes (htpasswd -B) whose passwords are asked for"),
        Flag::string("metrics", "Where to listen for Prometheus (/metrics)"),
        Flag::switch("no-access-log", "Do not log each request"),
        Flag::switch("no-delete", "Refuse to delete manifests, tags and blobs on request"),
        Flag::switch("plain-http", "Listen without TLS on an address that other machines reach"),
        Flag::string("proxy-password-file", "File whose first line is the password for --proxy-username"),
        Flag::string("proxy-remoteurl", "Be a cache of this registry: pull from it what is not here (https://...)"),
        Flag::string("proxy-ttl", "How long what came from there is kept after its last pull; 0 for ever")
            .default("168h"),
        Flag::string("proxy-username", "Who to be there; whoever may pull here gets what that user gets"),
        Flag::switch("read-only", "Refuse every change"),
        Flag::string("realm", "What is shown to users who are asked for a password").default("Registry"),
        ROOT_FLAG,
        Flag::string(
            "storage",
            "Object store instead of the directory: s3://BUCKET/PREFIX, az://..., gs://...; for this registry alone",
        ),
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

/// Flags that are ours, not the registry's.
const OTHERS: [&str; 1] = ["no-access-log"];

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let config = config(matches, COMMAND.flags, &OTHERS)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn check(line: &str) -> std::result::Result<Config, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let matches = args::parse(&COMMAND, "registry serve", &words).map_err(|failure| failure.text())?;
        config(&matches, COMMAND.flags, &OTHERS).map_err(|failure| failure.text())
    }

    #[test]
    fn every_flag_is_an_option_of_the_registry() {
        for flag in COMMAND.flags.iter().filter(|flag| !OTHERS.contains(&flag.long)) {
            let line = format!("--{} x", flag.long);
            let line = if flag.kind == args::Kind::Switch { format!("--{}", flag.long) } else { line };
            let text = check(&line).err().unwrap_or_default();
            assert!(!text.contains("no option"), "{}: {text}", flag.long);
        }
    }

    #[test]
    fn flags_become_the_configuration() {
        let config = check("").unwrap();
        assert_eq!(config.address.to_string(), ADDRESS);
        let config = check("--no-access-log --no-delete --address :5000 --plain-http --gc-grace 5m").unwrap();
        assert_eq!(config.address.to_string(), "[::]:5000");
        assert!(!config.access.deletion);
        let config = check("--storage s3://b --storage-opt a=1 --storage-opt b=2").unwrap();
        assert_eq!(config.objects.unwrap().options.len(), 2);
        for bad in ["--address :5000", "--address x", "--proxy-ttl 1h", "extra"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
