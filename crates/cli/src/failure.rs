//! Why a command failed, what is printed for it, and the exit status it means.

use crate::{PROGRAM, args::Command, args::usage_line};
use rorqual_client::Error as ClientError;

/// A failed command.
#[derive(Debug)]
pub enum Failure {
    /// A flag that is unknown or whose value is malformed: status 125, with the usage.
    Flag {
        /// What is wrong.
        message: String,
        /// Whose flag it is.
        command: &'static Command,
        /// The name it was called by.
        called: String,
    },
    /// The wrong number of arguments: status 1, with the usage.
    Count {
        /// What is wrong, after the command's name.
        message: String,
        /// The command.
        command: &'static Command,
        /// The name it was called by.
        called: String,
    },
    /// A message and a status.
    Message {
        /// The whole text; nothing is printed where it is empty.
        text: String,
        /// The exit status.
        status: u8,
    },
    /// The failure of `run` itself, before the program: the hint to its help, status 125 unless the program could not
    /// be started.
    Run {
        /// The text after our name.
        text: String,
        /// The exit status.
        status: u8,
        /// The name it was called by.
        called: String,
    },
    /// The daemon, or the way to it.
    Client(ClientError),
}

/// The result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A message with status 1.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), status: 1 }
    }

    /// A message with another status.
    pub fn status(status: u8, text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), status }
    }

    /// Nothing to print, only a status: everything has been said.
    pub fn silent(status: u8) -> Self {
        Self::Message { text: String::new(), status }
    }

    /// What went wrong, without usage or hints.
    pub fn text(&self) -> String {
        match self {
            Self::Flag { message, .. } | Self::Count { message, .. } => message.clone(),
            Self::Message { text, .. } | Self::Run { text, .. } => text.clone(),
            Self::Client(error) => client_text(error),
        }
    }

    /// All that is printed to standard error.
    pub fn shown(&self) -> String {
        match self {
            Self::Flag { message, command, called } => {
                let usage = usage_line(command, called);
                format!("{message}\n\n{usage}\n\nRun '{PROGRAM} {called} --help' for more information")
            }
            Self::Count { message, command, called } => {
                let usage = usage_line(command, called);
                let see = if message.contains("at least") && !message.contains("at most") { "See" } else { "Run" };
                format!(
                    "{PROGRAM}: '{PROGRAM} {called}' {message}\n\n{usage}\n\n{see} '{PROGRAM} {called} --help' for more information"
                )
            }
            Self::Run { text, called, .. } if text.is_empty() => {
                format!("\nRun '{PROGRAM} {called} --help' for more information")
            }
            Self::Run { text, called, .. } => {
                format!("{PROGRAM}: {text}\n\nRun '{PROGRAM} {called} --help' for more information")
            }
            _ => self.text(),
        }
    }

    /// The exit status.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Flag { .. } => 125,
            Self::Count { .. } => 1,
            Self::Message { status, .. } | Self::Run { status, .. } => *status,
            Self::Client(_) => 1,
        }
    }

    /// The daemon's status, where it answered.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            Self::Client(error) => error.status(),
            _ => None,
        }
    }
}

fn client_text(error: &ClientError) -> String {
    match error {
        ClientError::Daemon { message, .. } => format!("Error response from daemon: {message}"),
        ClientError::Connect { host, source } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            format!("permission denied while trying to connect to the Docker daemon socket at {host}: {source}")
        }
        // Scripts look for this sentence.
        ClientError::Connect { host, .. } => {
            format!("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")
        }
        other => other.to_string(),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::message(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::message(text)
    }
}

/// Several failures of one command: each on its line, status 1.
pub fn all(failures: Vec<Failure>) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = failures.iter().map(Failure::text).collect();
    Err(Failure::message(texts.join("\n")))
}
