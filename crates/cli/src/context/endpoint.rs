//! Which daemon: `--host`, `--context`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context, the usual socket.

use super::store::{DEFAULT, Store};
use crate::{
    cli::Cli,
    failure::{Failure, Result},
};
use rorqual_client::{Client, Host, TlsFiles};
use std::path::PathBuf;

/// The socket of a daemon that nothing else names.
pub const SOCKET: &str = "unix:///var/run/docker.sock";

/// A daemon, before it is called.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The context it comes from; `default` where it comes from none.
    pub context: String,
    host: String,
    tls: Option<TlsFiles>,
}

/// The text of an environment variable; none where it is empty.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// The name of the context in use.
pub fn current(cli: &Cli) -> String {
    if let Some(name) = cli.globals.last("context").filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    if cli.globals.given("host") || env("DOCKER_HOST").is_some() {
        return DEFAULT.to_owned();
    }
    if let Some(name) = env("DOCKER_CONTEXT") {
        return name;
    }
    match cli.config.text("currentContext") {
        "" => DEFAULT.to_owned(),
        name => name.to_owned(),
    }
}

/// Chooses the daemon; reads a stored context, calls nothing.
pub fn resolve(cli: &Cli) -> Result<Endpoint> {
    let hosts = cli.globals.list("host");
    if hosts.len() > 1 {
        return Err(Failure::message("Failed to initialize: unable to resolve docker endpoint: Specify only one -H"));
    }
    if !hosts.is_empty() && cli.globals.given("context") {
        return Err(Failure::message("conflicting options: cannot specify both --host and --context"));
    }
    let context = current(cli);
    if context == DEFAULT {
        return Ok(Endpoint { context, host: default_host(cli), tls: flags_tls(cli) });
    }
    let store = Store::of(cli.config.directory());
    let found = store.get(&context).map_err(|failure| {
        Failure::message(format!("Failed to initialize: unable to resolve docker endpoint: {}", failure.text()))
    })?;
    let directory = store.tls_directory(&context).join("docker");
    let file = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
    let files =
        TlsFiles { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem"), skip_verify: found.skip_verify };
    let tls = (files.ca.is_some() || files.cert.is_some() || files.skip_verify).then_some(files);
    Ok(Endpoint { context, host: found.host, tls })
}

/// The address of the context `default`.
pub fn default_host(cli: &Cli) -> String {
    let flag = cli.globals.last("host").filter(|host| !host.is_empty()).map(str::to_owned);
    flag.or_else(|| env("DOCKER_HOST")).unwrap_or_else(|| SOCKET.to_owned())
}

/// TLS as `--tls`, `--tlsverify`, `DOCKER_TLS`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` ask for it.
pub fn flags_tls(cli: &Cli) -> Option<TlsFiles> {
    let verify = cli.globals.switch("tlsverify").unwrap_or_else(|| env("DOCKER_TLS_VERIFY").is_some());
    let named = ["tlscacert", "tlscert", "tlskey"].iter().any(|flag| cli.globals.given(flag));
    let tls = cli.globals.switch("tls").unwrap_or_else(|| env("DOCKER_TLS").is_some());
    if !verify && !tls && !named {
        return None;
    }
    let directory = match env("DOCKER_CERT_PATH") {
        Some(directory) => PathBuf::from(directory),
        None => cli.config.directory().to_owned(),
    };
    let file = |flag: &str, name: &str| match cli.globals.last(flag) {
        Some(path) => Some(PathBuf::from(path.trim_matches('"'))).filter(|path| !path.as_os_str().is_empty()),
        None => Some(directory.join(name)).filter(|path| path.exists()),
    };
    Some(TlsFiles {
        ca: file("tlscacert", "ca.pem"),
        cert: file("tlscert", "cert.pem"),
        key: file("tlskey", "key.pem"),
        skip_verify: !verify,
    })
}

impl Endpoint {
    /// The client; connects to nothing yet.
    pub fn client(self, cli: &Cli) -> Result<Client> {
        let host: Host = self.host.parse()?;
        let mut builder =
            Client::builder(host).user_agent(concat!("Rorqual-Client/", env!("CARGO_PKG_VERSION"), " (linux)"));
        if let Some(files) = self.tls {
            builder = builder.tls(files);
        }
        if let Some(version) = env("DOCKER_API_VERSION") {
            builder = builder.version(version);
        }
        for (name, value) in cli.config.get("HttpHeaders").map_or(&[][..], |headers| headers.entries()) {
            builder = builder.header(name, value.as_str().unwrap_or_default());
        }
        Ok(builder.build()?)
    }
}
