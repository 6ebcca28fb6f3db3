//! What a registry is told when it starts.

use crate::limits::{LEASE, PROXY_TTL};
use rorqual_content::Content;
use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// Everything a registry can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where metrics can be read (`/metrics`); nowhere unless given.
    pub metrics: Option<SocketAddr>,
    /// The directory of the control socket, and of the store where no other is given.
    pub root: PathBuf,
    /// An object store that has everything instead of `root`.
    pub objects: Option<ObjectsConfig>,
    /// The content of a running engine, which is served by digest instead of a store's: one node's to others. It takes no
    /// pushes, and needs no `root`.
    pub node: Option<Arc<Content>>,
    /// The upstream that images come from, where this registry is a cache of another. It takes no pushes then.
    pub proxy: Option<ProxyConfig>,
    /// Certificate chain and key, PEM; without them clients connect in plain text.
    pub tls: Option<Tls>,
    /// Who may do what.
    pub access: AccessConfig,
    /// What is removed by itself.
    pub collect: CollectConfig,
}

/// An object store. One registry at a time may use what the URL names.
#[derive(Clone)]
pub struct ObjectsConfig {
    /// `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `gs://BUCKET/PREFIX`. Credentials come from the variables that the
    /// stores' own tools read (`AWS_ACCESS_KEY_ID`, ...).
    pub url: String,
    /// Further settings, by the names of those variables: `aws_endpoint`, `aws_region`, `aws_allow_http`.
    pub options: Vec<(String, String)>,
}

impl fmt::Debug for ObjectsConfig {
    /// Options may hold a secret key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.options.iter().map(|(key, _)| key).collect();
        f.debug_struct("ObjectsConfig").field("url", &self.url).field("options", &keys).finish()
    }
}

/// An upstream registry, in the words of Docker's registry (`proxy`). Whoever may pull here gets what upstream gives to
/// these credentials.
#[derive(Clone)]
pub struct ProxyConfig {
    /// `https://registry-1.docker.io`, with a path where upstream's `/v2/` is below one. `http://` says that it is spoken
    /// to without TLS.
    pub remote_url: String,
    /// Who we are there; nobody unless given.
    pub username: String,
    /// The password of that user.
    pub password: String,
    /// How long a manifest is kept after it was last asked for; for ever unless given.
    pub ttl: Option<Duration>,
    /// How registries are reached: certificates, HTTP proxies, insecure ones. Its mirrors and its other nodes do not count.
    pub client: rorqual_distribution::Config,
}

impl ProxyConfig {
    /// Upstream as anybody.
    pub fn new(remote_url: impl Into<String>) -> Self {
        Self {
            remote_url: remote_url.into(),
            username: String::new(),
            password: String::new(),
            ttl: Some(PROXY_TTL),
            client: rorqual_distribution::Config::default(),
        }
    }
}

impl fmt::Debug for ProxyConfig {
    /// Neither user nor password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyConfig").field("remote_url", &self.remote_url).field("ttl", &self.ttl).finish()
    }
}

/// Files of a certificate chain and its key, PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The chain, own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub struct AccessConfig {
    /// How clients say who they are.
    pub authentication: Authentication,
    /// Whether anybody may pull, where clients must say who they are for the rest.
    pub anonymous_pull: bool,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Whether clients may delete manifests, tags and blobs.
    pub deletion: bool,
}

/// How clients say who they are.
#[derive(Clone, Debug, Default)]
pub enum Authentication {
    /// They need not, and everybody may everything.
    #[default]
    None,
    /// By a name and a password of a file.
    Htpasswd {
        /// Lines `name:bcrypt-hash`.
        path: PathBuf,
        /// What clients show when they ask for the password.
        realm: String,
    },
    /// By a token of an issuer.
    Token(TokenConfig),
}

/// The issuer of tokens.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// Where clients get tokens.
    pub realm: String,
    /// This registry as the issuer knows it: the tokens' `aud`.
    pub service: String,
    /// The tokens' `iss`.
    pub issuer: String,
    /// The issuer's public keys: a JWK set, or PEM.
    pub keys: PathBuf,
}

/// What is removed by itself.
#[derive(Clone, Debug)]
pub struct CollectConfig {
    /// How often garbage is collected; never unless given.
    pub period: Option<Duration>,
    /// Whether manifests without a tag are kept; referrers of what is kept always are.
    pub keep_untagged: bool,
    /// How long after its last request a push protects what it looked at or uploaded.
    pub grace: Duration,
    /// How long after the start everything is protected: pushes of the time before may still go on. As long as `grace`,
    /// unless there can be none.
    pub grace_at_start: Duration,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self { period: Some(Duration::from_secs(24 * 3600)), keep_untagged: true, grace: LEASE, grace_at_start: LEASE }
    }
}

impl Config {
    /// A registry in `root`, at `address`, open to all who reach it.
    pub fn new(root: impl Into<PathBuf>, address: SocketAddr) -> Self {
        Self {
            address,
            metrics: None,
            root: root.into(),
            objects: None,
            node: None,
            proxy: None,
            tls: None,
            access: AccessConfig { deletion: true, ..AccessConfig::default() },
            collect: CollectConfig::default(),
        }
    }
}
