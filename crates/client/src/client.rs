//! The client: an endpoint, the API version in use, and idle connections.

use crate::{Error, Host, Request, Response, Result, TlsFiles, body::Body, endpoint::Endpoint, limits};
use hyper::{Method, client::conn::http1, header::HeaderMap};
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

/// The newest API version this client speaks.
const VERSION_MAX: (u32, u32) = (1, 51);
/// The version of a daemon that names none.
const VERSION_OLD: (u32, u32) = (1, 24);

/// How a [`Client`] is made.
#[derive(Clone, Debug)]
pub struct Builder {
    host: Host,
    tls: Option<TlsFiles>,
    version: Option<String>,
    headers: BTreeMap<String, String>,
    user_agent: String,
}

impl Builder {
    /// Uses TLS with these files; has no effect on a Unix socket.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Uses this API version and negotiates none.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sends this header with every request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Names the program that calls.
    #[must_use]
    pub fn user_agent(mut self, text: impl Into<String>) -> Self {
        self.user_agent = text.into();
        self
    }

    /// The client; reads the TLS files, connects to nothing yet.
    pub fn build(self) -> Result<Client> {
        let tls = match &self.host {
            Host::Unix(_) => None,
            Host::Tcp { tls, .. } => match (&self.tls, tls) {
                (Some(files), _) => Some(files.config()?),
                (None, true) => Some(TlsFiles::default().config()?),
                (None, false) => None,
            },
        };
        let version = OnceLock::new();
        if let Some(fixed) = self.version {
            let _ = version.set(fixed.trim_start_matches('v').to_owned());
        }
        Ok(Client {
            inner: Arc::new(Inner {
                endpoint: Endpoint { host: self.host, tls },
                version,
                headers: self.headers,
                user_agent: self.user_agent,
                idle: Mutex::new(Vec::new()),
                ping: OnceLock::new(),
            }),
        })
    }
}

/// A connection to one daemon; clones share it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    version: OnceLock<String>,
    headers: BTreeMap<String, String>,
    user_agent: String,
    idle: Mutex<Vec<http1::SendRequest<Body>>>,
    ping: OnceLock<Ping>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.inner.endpoint).field("version", &self.inner.version).finish()
    }
}

/// What `/_ping` says of a daemon.
#[derive(Clone, Debug, Default)]
pub struct Ping {
    /// Its newest API version; empty where it names none.
    pub api_version: String,
    /// The operating system containers run on.
    pub os_type: String,
    /// Whether experimental features are on.
    pub experimental: bool,
    /// Which builder it prefers.
    pub builder_version: String,
}

impl Client {
    /// A client of the daemon at `host`.
    pub fn builder(host: Host) -> Builder {
        Builder {
            host,
            tls: None,
            version: None,
            headers: BTreeMap::new(),
            user_agent: concat!("rorqual/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The daemon's address.
    pub fn host(&self) -> &Host {
        &self.inner.endpoint.host
    }

    /// The API version in use; the newest we speak before negotiation.
    pub fn version(&self) -> String {
        self.inner.version.get().cloned().unwrap_or_else(newest_version)
    }

    /// The newest API version this client speaks.
    pub fn newest_version() -> String {
        newest_version()
    }

    /// Whether the version in use is at least `major.minor`.
    pub fn speaks(&self, major: u32, minor: u32) -> bool {
        parse_version(&self.version()).is_none_or(|version| version >= (major, minor))
    }

    /// What the daemon said of itself when the version was agreed on.
    pub fn last_ping(&self) -> Option<&Ping> {
        self.inner.ping.get()
    }

    /// Agrees on an API version once; nothing happens when one was fixed.
    pub async fn negotiate(&self) -> Result<()> {
        if self.inner.version.get().is_some() {
            return Ok(());
        }
        let ping = self.ping().await?;
        let theirs = parse_version(&ping.api_version).unwrap_or(VERSION_OLD);
        let (major, minor) = theirs.min(VERSION_MAX);
        let _ = self.inner.version.set(format!("{major}.{minor}"));
        let _ = self.inner.ping.set(ping);
        Ok(())
    }

    /// Asks `/_ping`, by HEAD first and by GET of servers that refuse it.
    pub async fn ping(&self) -> Result<Ping> {
        let head = Request::unversioned(self, Method::HEAD, "/_ping").send_plain().await?;
        let ping = Ping::from_headers(head.headers());
        if head.status() == 200 || !ping.api_version.is_empty() {
            head.finish().await?;
            return Ok(ping);
        }
        let get = Request::unversioned(self, Method::GET, "/_ping").send_plain().await?.check().await?;
        let ping = Ping::from_headers(get.headers());
        get.finish().await?;
        Ok(ping)
    }

    /// A request to `path`, which begins with `/`; the version is put before it.
    pub fn request(&self, method: Method, path: impl AsRef<str>) -> Request {
        Request::versioned(self, method, path.as_ref())
    }

    /// `GET path`.
    pub fn get(&self, path: impl AsRef<str>) -> Request {
        self.request(Method::GET, path)
    }

    /// `POST path`.
    pub fn post(&self, path: impl AsRef<str>) -> Request {
        self.request(Method::POST, path)
    }

    /// `DELETE path`.
    pub fn delete(&self, path: impl AsRef<str>) -> Request {
        self.request(Method::DELETE, path)
    }

    pub(crate) fn extra_headers(&self) -> &BTreeMap<String, String> {
        &self.inner.headers
    }

    pub(crate) fn user_agent(&self) -> &str {
        &self.inner.user_agent
    }

    pub(crate) async fn dispatch(&self, request: hyper::Request<Body>) -> Result<Response> {
        let mut sender = match self.idle_connection() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request).await?;
        Ok(Response::new(response, self.clone(), sender))
    }

    /// Takes back a connection whose answer was read to its end.
    pub(crate) fn give_back(&self, sender: http1::SendRequest<Body>) {
        let mut idle = self.inner.idle.lock().expect("nothing panics while it holds this lock");
        if !sender.is_closed() && idle.len() < limits::IDLE_CONNECTIONS_MAX {
            idle.push(sender);
        }
    }

    fn idle_connection(&self) -> Option<http1::SendRequest<Body>> {
        let mut idle = self.inner.idle.lock().expect("nothing panics while it holds this lock");
        let at = idle.iter().position(http1::SendRequest::is_ready)?;
        Some(idle.swap_remove(at))
    }

    async fn connect(&self) -> Result<http1::SendRequest<Body>> {
        let stream = self.inner.endpoint.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself when the sender, the response and an upgraded stream are gone.
        tokio::spawn(connection.with_upgrades());
        sender.ready().await.map_err(Error::from)?;
        Ok(sender)
    }
}

impl Ping {
    fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        Self {
            api_version: text("api-version"),
            os_type: text("ostype"),
            experimental: text("docker-experimental") == "true",
            builder_version: text("builder-version"),
        }
    }
}

fn newest_version() -> String {
    format!("{}.{}", VERSION_MAX.0, VERSION_MAX.1)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
