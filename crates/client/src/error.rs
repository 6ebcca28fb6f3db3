//! Why a call did not give its answer.

use std::io;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's text is not an address we can call.
    #[error("{0}")]
    Host(String),
    /// TLS files are missing or malformed.
    #[error("{0}")]
    Tls(String),
    /// Nothing answers at the address.
    #[error("cannot connect to {host}")]
    Connect {
        /// The address as the user wrote it.
        host: String,
        /// What the connection failed with.
        source: io::Error,
    },
    /// The daemon answered with an error.
    #[error("{message}")]
    Daemon {
        /// The HTTP status.
        status: u16,
        /// The daemon's text.
        message: String,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("error during connect: {0}")]
    Transport(String),
    /// The answer was not what the API promises.
    #[error("unexpected answer from the daemon: {0}")]
    Answer(String),
    /// Reading what was to be sent, or writing what came, failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The HTTP status, where the daemon answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Daemon { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        Self::Transport(text)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Answer(error.to_string())
    }
}
