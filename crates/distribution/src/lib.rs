//! The client side of the registry protocol: OCI distribution 1.1, and Docker's registry with its token servers.
//!
//! It resolves, fetches and pushes; it stores nothing and knows nothing of images beyond their documents. What it
//! hands out was verified against its digest, or is said not to be. It trusts no answer (threats.md, R9 and R12):
//! sizes, ranges, redirects and realms are checked, and credentials stay with the server they are for.

#![forbid(unsafe_code)]

mod answer;
mod auth;
mod challenge;
mod clients;
mod config;
mod credentials;
mod download;
mod endpoint;
pub mod limits;
mod links;
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

pub use config::{Config, HostRule, Mirror, Proxies};
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
use endpoint::Rules;
use origin::Origin;
use reqwest::StatusCode;
use retry::Pace;
use rorqual_error::{Error, Result};
use rorqual_types::{Digest, Reference};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
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
}

/// One repository of one registry, for one user. Clones are the same.
#[derive(Clone, Debug)]
pub struct Repository {
    reference: Reference,
    access: Access,
    /// At least one; the registry itself, or the last mirror, is the last.
    routes: Arc<[Route]>,
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
        let trust = Arc::new(Trust::new(config.certs_dirs, insecure));
        let clients = Clients::new(trust.clone(), config.proxies, config.user_agent)?;
        let (memory, plain) = (Memory::default(), Mutex::default());
        Ok(Self(Arc::new(Shared { rules, trust, clients, memory, plain, pace })))
    }

    /// The repository that a reference names. Speaks to nobody yet.
    pub fn repository(&self, reference: &Reference, credentials: Credentials, access: Access) -> Result<Repository> {
        let insecure = |origin: &Origin| self.0.trust.is_insecure(origin);
        let registry = Origin::of(&endpoint::registry_url(reference.domain())?)?;
        let actions = if access == Access::Push { "pull,push" } else { "pull" };
        let route = |endpoint: endpoint::Endpoint| {
            let scopes = Scopes::repository(&endpoint.name, actions);
            let own = (credentials.clone(), registry.clone());
            let authorizer = Authorizer::new(&self.0, own.0, own.1, scopes, Manners::Challenged);
            Route { shared: self.0.clone(), endpoint, authorizer: Arc::new(authorizer) }
        };
        let endpoints = self.0.rules.endpoints(reference, access, insecure)?;
        let routes: Arc<[Route]> = endpoints.into_iter().map(route).collect();
        if routes.is_empty() {
            return Err(Error::internal(format!("no server for {}", reference.familiar_name())));
        }
        Ok(Repository { reference: reference.clone(), access, routes })
    }
}

impl Shared {
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
        Walk { routes: &self.routes, at: 0 }
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
                let mirror = &self.route().endpoint.origin;
                tracing::debug!(%mirror, error = %failure.error, "a mirror failed; the next server is asked");
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
