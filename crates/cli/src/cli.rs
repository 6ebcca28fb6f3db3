//! What every command works with: the configuration, the chosen daemon, the standard streams.

use crate::{
    args::Matches,
    config::Config,
    context::endpoint,
    failure::{Failure, Result},
    opts::filter::Filters,
    value::Value,
};
use rorqual_client::Client;
use std::{
    io::{IsTerminal, Write},
    os::fd::AsFd,
    path::PathBuf,
};

/// One invocation.
#[derive(Debug)]
pub struct Cli {
    /// The flags before the command.
    pub globals: Matches,
    /// `config.json`.
    pub config: Config,
    client: Option<Client>,
}

impl Cli {
    /// Reads the configuration; no daemon is called.
    pub fn new(globals: Matches) -> Self {
        let directory = config_directory(&globals);
        let config = match Config::load(&directory) {
            Ok(config) => config,
            Err(why) => {
                eprintln!("WARNING: Error loading config file: {why}");
                Config::empty(&directory)
            }
        };
        Self { globals, config, client: None }
    }

    /// The daemon that flags, environment and contexts name.
    pub fn client(&mut self) -> Result<Client> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = endpoint::resolve(self)?.client(self)?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// Prints to standard output; a reader that has gone is not an error worth a word.
    pub fn print(&self, text: impl AsRef<str>) -> Result<()> {
        print(text.as_ref())
    }

    /// Prints a line to standard output.
    pub fn line(&self, text: impl AsRef<str>) -> Result<()> {
        print(&format!("{}\n", text.as_ref()))
    }

    /// Asks a question on standard output and takes `y` for yes.
    pub async fn confirm(&self, question: &str) -> Result<bool> {
        self.print(format!("{question} [y/N] "))?;
        Ok(matches!(read_line().await?.trim(), "y" | "Y"))
    }

    /// The format of a list: the flag, else what `config.json` says, where the user did not ask for ids only.
    pub fn list_format(&self, matches: &Matches, name: &str) -> String {
        match matches.last("format") {
            Some(format) if !format.is_empty() => format.to_owned(),
            _ if matches.on("quiet") => String::new(),
            _ => self.config.text(name).to_owned(),
        }
    }

    /// The filters of a prune: the flag's, and those that `config.json` always adds.
    pub fn prune_filters(&self, matches: &Matches) -> Filters {
        let mut filters = Filters::parse(matches.list("filter"));
        for text in self.config.get("pruneFilters").map_or(&[][..], Value::items) {
            let Some((name, value)) = text.as_str().and_then(|text| text.split_once('=')) else { continue };
            // What the user says of the same label goes first.
            let opposite = if name == "label" { "label!" } else { "label" };
            if !filters.has(opposite, value) {
                filters.add(name, value);
            }
        }
        filters
    }

    /// The detach keys: the flag, else `config.json`, else docker's `ctrl-p,ctrl-q`.
    pub fn detach_keys(&self, flag: &str) -> String {
        if flag.is_empty() { self.config.text("detachKeys").to_owned() } else { flag.to_owned() }
    }
}

fn config_directory(globals: &Matches) -> PathBuf {
    if let Some(directory) = globals.last("config") {
        return directory.into();
    }
    match std::env::var_os("DOCKER_CONFIG") {
        Some(directory) if !directory.is_empty() => directory.into(),
        _ => home().join(".docker"),
    }
}

/// The user's home directory.
pub fn home() -> PathBuf {
    std::env::home_dir().unwrap_or_else(|| "/".into())
}

/// Writes to standard output at once.
pub fn print(text: &str) -> Result<()> {
    write_all(text.as_bytes())
}

/// Writes bytes to standard output at once; ends the program quietly where nobody reads any more.
pub fn write_all(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::silent(1)),
        other => Ok(other?),
    }
}

/// One line of standard input; an interrupt still ends us while we wait for it.
pub async fn read_line() -> Result<String> {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    let line = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::from)??;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Standard input as a file that can be sent.
pub fn stdin_file() -> Result<tokio::fs::File> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    Ok(tokio::fs::File::from_std(std::fs::File::from(stdin)))
}

/// Whether standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
