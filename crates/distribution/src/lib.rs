//! The client side of the registry protocol: OCI distribution 1.1, and Docker's registry with its token servers.
//!
//! It resolves, fetches and pushes; it stores nothing and knows nothing of images beyond their documents. What it
//! hands out was verified against its digest, or is said not to be. It trusts no answer (threats.md, R9 and R12):
//! sizes, ranges, redirects and realms are checked, and credentials stay with the server they are for.

#![forbid(unsafe_code)]

mod answer;
mod auth;
pub mod challenge;
mod clients;
mod config;
mod credentials;
mod download;
mod endpoint;
pub mod limits;
pub mod links;
mod lists;
mod login;
mod manifest;
mod network;
mod origin;
mod retry;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod upload;

pub use config::{Config, HostRule, Mirror, Peer, Proxies};
pub use credentials::Credentials;
pub use download::Download;
pub use endpoint::Access;
pub use login::{Login, SearchResult};
pub use manifest::Manifest;
pub use upload::{Chunks, Manner, Progress, Source, bytes_chunks, file_chunks};

use answer::Failure;
use auth::{Authorizer, Manners, Memory, Scopes};
use aws_lc_rs::digest::{Context as Hasher, SHA256};
use clients::Clients;
use config::Insecure;
use endpoint::{Endpoint, Role, Rules};
use origin::Origin;
use reqwest::{StatusCode, Url};
use retry::Pace;
use rorqual_error::{Context as _, Error, Result};
use rorqual_types::{Digest, Reference};
use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::Read as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tls::Trust;
use transport::Route;

/// All registries, as the operator configured them. Clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Registries(Arc<Shared>);

/// What all clones and repositories share.
#[derive(Debug)]
pub(crate) struct Shared {
    rules: Rules,
    trust: Arc<Trust>,
    clients: Clients,
    memory: Memory,
    /// Of insecure registries that have answered: whether they speak plain HTTP.
    plain: Mutex<HashMap<Origin, bool>>,
    pace: Pace,
    peers: Vec<(Url, Credentials)>,
    /// Other nodes that failed, and until when they are left alone.
    away: Mutex<HashMap<Origin, Instant>>,
}

/// One repository of one registry, for one user. Clones are the same.
#[derive(Clone, Debug)]
pub struct Repository {
    reference: Reference,
    access: Access,
    /// Other nodes, then at least one: mirrors, and the registry itself, or the last mirror, as the last.
    routes: Arc<[Route]>,
    /// How many of them are other nodes.
    peers: usize,
}

/// What names a manifest within a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagOrDigest {
    /// A tag, by [`TagOrDigest::tag`] or from a [`Reference`].
    Tag(Tag),
    /// A digest.
    Digest(Digest),
}

/// A tag that follows the grammar of tags, and so stays in its place in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl TagOrDigest {
    /// A checked tag.
    pub fn tag(text: &str) -> Result<Self> {
        // The grammar of tags is that of references.
        "registry.invalid/x".parse::<Reference>()?.with_tag(text)?;
        Ok(Self::Tag(Tag(text.to_owned())))
    }

    fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) => Some(digest),
            Self::Tag(_) => None,
        }
    }
}

impl From<&Reference> for TagOrDigest {
    /// The digest, or else the tag, or else `latest`.
    fn from(reference: &Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(*digest),
            (None, tag) => Self::Tag(Tag(tag.unwrap_or("latest").to_owned())),
        }
    }
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(Tag(tag)) => f.write_str(tag),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

impl Registries {
    /// Checks the configuration; speaks to nobody.
    ///
    /// # Errors
    /// `InvalidArgument` names the setting that is wrong.
    pub fn new(config: Config) -> Result<Self> {
        Self::with_pace(config, Pace::default())
    }

    fn with_pace(config: Config, pace: Pace) -> Result<Self> {
        let rules = Rules::new(&config)?;
        let insecure = Insecure::parse(&config.insecure_registries)?;
        let peers = peers(&config.peers, &insecure)?;
        let trust = Arc::new(Trust::new(config.certs_dirs, insecure));
        let clients = Clients::new(trust.clone(), config.proxies, config.user_agent)?;
        let (memory, plain) = (Memory::default(), Mutex::default());
        let away = Mutex::default();
        Ok(Self(Arc::new(Shared { rules, trust, clients, memory, plain, pace, peers, away })))
    }

    /// The repository that a reference names. Speaks to nobody yet.
    pub fn repository(&self, reference: &Reference, credentials: Credentials, access: Access) -> Result<Repository> {
        let insecure = |origin: &Origin| self.0.trust.is_insecure(origin);
        let registry = Origin::of(&endpoint::registry_url(reference.domain())?)?;
        let actions = if access == Access::Push { "pull,push" } else { "pull" };
        let route = |endpoint: Endpoint, credentials: &Credentials, of: &Origin| {
            let scopes = Scopes::repository(&endpoint.name, actions);
            let authorizer = Authorizer::new(&self.0, credentials.clone(), of.clone(), scopes, Manners::Challenged);
            Route { shared: self.0.clone(), endpoint, authorizer: Arc::new(authorizer) }
        };
        let endpoints = self.0.rules.endpoints(reference, access, insecure)?;
        if endpoints.is_empty() {
            return Err(Error::internal(format!("no server for {}", reference.familiar_name())));
        }
        let mut routes = Vec::new();
        for (url, credentials) in self.0.peers.iter().filter(|_| access == Access::Pull) {
            let path = reference.name().split_once('/').map_or(reference.name(), |(_, path)| path);
            let endpoint = endpoint::endpoint(url.clone(), path.to_owned(), Role::Peer, &insecure)?;
            let origin = endpoint.origin.clone();
            routes.push(route(endpoint, credentials, &origin));
        }
        let peers = routes.len();
        routes.extend(endpoints.into_iter().map(|endpoint| route(endpoint, &credentials, &registry)));
        Ok(Repository { reference: reference.clone(), access, routes: routes.into(), peers })
    }
}

/// The nodes of a configuration, checked.
fn peers(list: &[Peer], insecure: &Insecure) -> Result<Vec<(Url, Credentials)>> {
    if list.len() > limits::PEERS_MAX {
        return Err(Error::invalid(format!("more than {} nodes are listed for blobs", limits::PEERS_MAX)));
    }
    let checked = |peer: &Peer| {
        let url = config::mirror_url(&peer.url).with_context(|| "a node listed for blobs".to_owned())?;
        let origin = Origin::of(&url)?;
        if !origin.is_https() && !insecure.covers(origin.host(), origin.port()) {
            return Err(Error::invalid(format!(
                "node {origin}: its password would be sent in plain text: use https, or list the host in \
                 insecure-registries"
            )));
        }
        if peer.username.is_empty() {
            return Err(Error::invalid(format!("node {origin}: a user name is needed")));
        }
        Ok((url, Credentials::password(&peer.username, password(&peer.password_file)?)))
    };
    list.iter().map(checked).collect()
}

fn password(file: &Path) -> Result<String> {
    let named = || format!("read the password in {}", file.display());
    let mut text = String::new();
    let opened = File::open(file).with_context(named)?;
    opened.take(limits::PASSWORD_FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(named)?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() || text.len() as u64 > limits::PASSWORD_FILE_BYTES_MAX || password.contains('\n') {
        return Err(Error::invalid(format!("{} must hold one line, the password", file.display())));
    }
    Ok(password.to_owned())
}

impl Shared {
    /// Whether a node failed lately.
    fn is_away(&self, peer: &Origin) -> bool {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.get(peer).is_some_and(|until| *until > Instant::now())
    }

    fn leave_alone(&self, peer: &Origin) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.insert(peer.clone(), Instant::now() + limits::PEER_PAUSE);
    }

    fn speaks_plain(&self, origin: &Origin) -> Option<bool> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner).get(origin).copied()
    }

    fn settle(&self, origin: &Origin, plain: bool) {
        let mut map = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= limits::HOSTS_MAX {
            map.clear();
        }
        map.insert(origin.clone(), plain);
    }
}

impl Repository {
    /// The reference it was opened with.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The registry itself; of a repository that mirrors alone have, the last of them.
    fn registry(&self) -> &Route {
        &self.routes[self.routes.len() - 1]
    }

    /// A walk along the servers, from the first mirror to the registry.
    fn walk(&self) -> Walk<'_> {
        Walk { routes: &self.routes, at: self.peers }
    }

    /// The walk to what a tag or a digest names: what it is under a digest, any node may say.
    fn walk_to(&self, target: &TagOrDigest) -> Walk<'_> {
        let at = if target.digest().is_some() { 0 } else { self.peers };
        Walk { routes: &self.routes, at }
    }

    /// The failure in the words that docker's clients know.
    fn explain(&self, failure: Failure) -> Error {
        let status = failure.status.unwrap_or_default();
        let denied =
            matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && failure.code != "TOOMANYREQUESTS";
        let unknown = status == StatusCode::NOT_FOUND && failure.code == "NAME_UNKNOWN";
        if self.access == Access::Pull && (denied || unknown) {
            let name = self.reference.familiar_name();
            return Error::not_found(format!(
                "pull access denied for {name}, repository does not exist or may require 'docker login': {}",
                failure.error
            ));
        }
        failure.error
    }

    fn explain_blob(&self, digest: &Digest, failure: Failure) -> Error {
        if failure.has_status(StatusCode::NOT_FOUND) && failure.code != "NAME_UNKNOWN" {
            return Error::not_found(format!("blob {digest} of {}: {}", self.reference.familiar_name(), failure.error));
        }
        self.explain(failure)
    }
}

/// One server is asked after the other until one has it; the last one's word is the one that counts.
struct Walk<'a> {
    routes: &'a [Route],
    at: usize,
}

impl<'a> Walk<'a> {
    /// Whom to ask now.
    fn route(&self) -> &'a Route {
        &self.routes[self.at]
    }

    /// The answer where it is the last word; otherwise the next server is to be asked.
    fn last_word<T>(&mut self, answer: Result<T, Failure>) -> Option<Result<T, Failure>> {
        match answer {
            Err(failure) if self.at + 1 < self.routes.len() => {
                let server = &self.route().endpoint.origin;
                tracing::debug!(%server, error = %failure.error, "a server failed; the next one is asked");
                self.at += 1;
                None
            }
            answer => Some(answer),
        }
    }
}

/// The SHA-256 digest of `bytes`.
fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(&SHA256);
    hasher.update(bytes);
    finish(hasher)
}

fn finish(hasher: Hasher) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(hasher.finish().as_ref());
    Digest::from_bytes(out)
}
