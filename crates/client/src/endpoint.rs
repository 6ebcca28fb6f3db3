//! Where a daemon listens, and how to reach it.

use crate::{Error, Result, limits};
use std::{fmt, io, path::PathBuf, pin::Pin, str::FromStr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// A daemon's address: `unix:///run/docker.sock`, `tcp://host:2375`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address: the host without brackets, the port where one was written, the path before every route.
    Tcp {
        /// Name or address.
        host: String,
        /// The port; 2375, or 2376 with TLS, where none was written.
        port: Option<u16>,
        /// A path that comes before every route, without a final slash.
        prefix: String,
        /// Whether the address itself asks for TLS (`https://`).
        tls: bool,
    },
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            // A bare address is TCP, as docker's clients read it.
            return Self::tcp(text, false, text);
        };
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix("/var/run/docker.sock".into())),
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" | "http" => Self::tcp(rest, false, text),
            "https" => Self::tcp(rest, true, text),
            "ssh" => Err(Error::Host(format!("{text}: connections over ssh are not supported yet"))),
            _ => Err(Error::Host(format!("unable to parse docker host `{text}`"))),
        }
    }
}

impl Host {
    fn tcp(rest: &str, tls: bool, whole: &str) -> Result<Self> {
        let invalid = || Error::Host(format!("unable to parse docker host `{whole}`"));
        let (address, prefix) = match rest.find('/') {
            Some(at) => (&rest[..at], rest[at..].trim_end_matches('/')),
            None => (rest, ""),
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or_else(invalid)?;
                (host, after.strip_prefix(':'))
            }
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let port = port.filter(|p| !p.is_empty()).map(|p| p.parse::<u16>().map_err(|_| invalid())).transpose()?;
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Ok(Self::Tcp { host: host.to_owned(), port, prefix: prefix.to_owned(), tls })
    }

    /// What goes before every route.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::Unix(_) => "",
            Self::Tcp { prefix, .. } => prefix,
        }
    }

    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        match self {
            // A name that no host has: servers on a Unix socket must not care.
            Self::Unix(_) => "api.moby.localhost".to_owned(),
            Self::Tcp { host, port, .. } => match (host.contains(':'), port) {
                (true, Some(port)) => format!("[{host}]:{port}"),
                (true, None) => format!("[{host}]"),
                (false, Some(port)) => format!("{host}:{port}"),
                (false, None) => host.clone(),
            },
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { prefix, .. } => write!(f, "tcp://{}{prefix}", self.authority()),
        }
    }
}

/// A connection of any kind.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// An address with what is needed to open connections to it.
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("host", &self.host).field("tls", &self.tls.is_some()).finish()
    }
}

impl Endpoint {
    pub(crate) async fn connect(&self) -> Result<Pin<Box<dyn Connection>>> {
        let failed = |source| Error::Connect { host: self.host.to_string(), source };
        match &self.host {
            Host::Unix(path) => Ok(Box::pin(UnixStream::connect(path).await.map_err(failed)?)),
            Host::Tcp { host, port, .. } => {
                let port = port.unwrap_or(if self.tls.is_some() { 2376 } else { 2375 });
                let limit = Duration::from_secs(limits::CONNECT_SECONDS);
                let stream = timeout(limit, TcpStream::connect((host.as_str(), port)))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    .map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                let Some(config) = &self.tls else {
                    return Ok(Box::pin(stream));
                };
                let name = rustls::pki_types::ServerName::try_from(host.clone())
                    .map_err(|error| Error::Tls(error.to_string()))?;
                let stream = TlsConnector::from(config.clone()).connect(name, stream).await.map_err(failed)?;
                Ok(Box::pin(stream))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let tcp =
            |host: &str, port, prefix: &str, tls| Host::Tcp { host: host.into(), port, prefix: prefix.into(), tls };
        for (text, host) in [
            ("unix:///run/x.sock", Host::Unix("/run/x.sock".into())),
            ("unix://", Host::Unix("/var/run/docker.sock".into())),
            ("tcp://a:2375", tcp("a", Some(2375), "", false)),
            ("tcp://:7000", tcp("127.0.0.1", Some(7000), "", false)),
            ("tcp://[::1]:7000/p/", tcp("::1", Some(7000), "/p", false)),
            ("https://a", tcp("a", None, "", true)),
            ("a:1", tcp("a", Some(1), "", false)),
        ] {
            assert_eq!(text.parse::<Host>().unwrap(), host, "{text}");
        }
        for bad in ["ftp://a", "tcp://a:99999", "ssh://a", "tcp://[::1"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
