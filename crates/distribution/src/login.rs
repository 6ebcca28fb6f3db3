//! `docker login`, and the search of an index.

use crate::{
    Registries,
    answer::clip,
    auth::{Authorizer, Manners, Scopes},
    credentials::{Credentials, HUB_INDEX},
    endpoint::{Endpoint, Role, registry_url},
    limits,
    origin::Origin,
    transport::{Call, Route},
};
use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};
use rorqual_error::{Error, Result};
use serde::Deserialize;
use std::sync::Arc;

/// What `POST /auth` answers.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// `Login Succeeded`.
    pub status: String,
    /// A token to keep instead of the password; empty where the registry gives none.
    pub identity_token: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("status", &self.status).finish_non_exhaustive()
    }
}

/// One repository that a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    /// Stars.
    pub star_count: i64,
    /// Whether it is one of the index's own.
    pub is_official: bool,
    /// Its name.
    pub name: String,
    /// What it says of itself.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
}

fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Results {
    results: Option<Vec<SearchResult>>,
}

impl Registries {
    /// Checks credentials with the server that they name; Docker Hub where they name none.
    ///
    /// # Errors
    /// `Unauthorized` where the registry refuses them.
    pub async fn login(&self, credentials: &Credentials) -> Result<Login> {
        let domain = server_domain(&credentials.serveraddress);
        let route = self.whole_registry(&domain, credentials, Manners::Login)?;
        let call = Call::path(Method::GET, String::new());
        let answer = route.send(&call).await;
        answer.map_err(|failure| {
            let kind = failure.error.kind();
            Error::new(kind, format!("Get \"{}/v2/\": {}", route.origin(), failure.error))
        })?;
        Ok(Login { status: "Login Succeeded".into(), identity_token: route.authorizer.identity() })
    }

    /// Whether a registry answers, with these credentials where it asks for some.
    pub async fn ping(&self, domain: &str, credentials: &Credentials) -> Result<()> {
        let route = self.whole_registry(domain, credentials, Manners::Challenged)?;
        Ok(route.send(&Call::path(Method::GET, String::new())).await.map(|_| ())?)
    }

    /// Searches the index that `term` names (`localhost:5000/x`), Docker Hub's otherwise.
    ///
    /// # Errors
    /// `InvalidArgument` for a limit outside of 1 to 100 (0 means 25); `NotFound` where the server has no index.
    pub async fn search(&self, term: &str, limit: usize, credentials: &Credentials) -> Result<Vec<SearchResult>> {
        let limit = match limit {
            0 => 25,
            1..=100 => limit,
            other => return Err(Error::invalid(format!("limit {other} is outside the range of [1, 100]"))),
        };
        if term.contains("://") {
            let term = clip(term);
            return Err(Error::invalid(format!(
                "invalid repository name: repository name ({term}) should not have a scheme"
            )));
        }
        let (domain, term) = match term.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => ("docker.io", term),
        };
        let (domain, term) = match domain {
            "docker.io" | HUB_INDEX => (HUB_INDEX, term.strip_prefix("library/").unwrap_or(term)),
            other => (other, term),
        };
        let route = self.whole_registry(domain, credentials, Manners::Eager)?;
        let mut query = Url::parse("query://x").map_err(|_| Error::internal("make a query"))?;
        query.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        // The index is beside /v2/.
        let path = format!("../v1/search?{}", query.query().unwrap_or_default());
        let mut call = Call::path(Method::GET, path);
        call.headers.insert(HeaderName::from_static("x-docker-token"), HeaderValue::from_static("true"));
        let (bytes, _) = route.document(&call, limits::LIST_BYTES_MAX).await?;
        let results: Results =
            serde_json::from_slice(&bytes).map_err(|_| Error::invalid("search results that are none"))?;
        Ok(results.results.unwrap_or_default().into_iter().take(limit).collect())
    }

    /// The way to a registry as a whole, without a repository.
    fn whole_registry(&self, domain: &str, credentials: &Credentials, manners: Manners) -> Result<Route> {
        let base = registry_url(domain)?;
        let origin = Origin::of(&base)?;
        let may_be_plain = self.0.trust.is_insecure(&origin);
        let endpoint =
            Endpoint { base, origin: origin.clone(), name: String::new(), may_be_plain, role: Role::Registry };
        let authorizer = Authorizer::new(&self.0, credentials.clone(), origin, Scopes::default(), manners);
        Ok(Route { shared: self.0.clone(), endpoint, authorizer: Arc::new(authorizer) })
    }
}

/// The registry that a server's address means: `https://index.docker.io/v1/` is `docker.io`.
fn server_domain(address: &str) -> String {
    let address = address.trim();
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "" | HUB_INDEX | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_under_its_old_names() {
        for (address, domain) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://reg.corp/v2/", "reg.corp"),
        ] {
            assert_eq!(server_domain(address), domain);
        }
    }
}
