//! Who we are to a registry: Basic, and Bearer with Docker's token servers; tokens are kept until they end.

use crate::{
    Shared,
    answer::{self, Failure},
    challenge::Challenge,
    clients::Sender,
    credentials::Credentials,
    limits, network,
    origin::{Origin, check_realm},
    retry::Backoff,
    transport::read,
};
use reqwest::{
    Method, Request, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use rorqual_error::{Error, Kind, Result};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// How a registry wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Basic,
    Bearer { realm: Url, service: String },
}

/// What tokens are kept under.
#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    registry: Origin,
    realm: String,
    service: String,
    scope: String,
    user: [u8; 32],
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    ends: Instant,
}

/// What all repositories know together: challenges and tokens.
#[derive(Default)]
pub(crate) struct Memory {
    known: Mutex<HashMap<Origin, Known>>,
    tokens: Mutex<HashMap<TokenKey, Token>>,
}

impl Memory {
    fn known(&self) -> MutexGuard<'_, HashMap<Origin, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<TokenKey, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, origin: &Origin, known: Known) {
        let mut map = self.known();
        if map.len() >= limits::HOSTS_MAX {
            map.clear();
        }
        map.insert(origin.clone(), known);
    }

    fn keep(&self, key: TokenKey, token: Token) {
        let mut tokens = self.tokens();
        if tokens.len() >= limits::TOKENS_MAX {
            let now = Instant::now();
            tokens.retain(|_, token| token.ends > now);
        }
        if tokens.len() >= limits::TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(key, token);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} tokens)", self.tokens().len())
    }
}

/// The actions wanted on each resource: `repository:a/b` → `pull`, `push`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

/// Resources of one scope, and actions of one resource: more than any registry asks for.
const SCOPES_MAX: usize = 16;

impl Scopes {
    pub(crate) fn repository(name: &str, actions: &str) -> Self {
        let mut scopes = Self::default();
        scopes.add(&format!("repository:{name}:{actions}"));
        scopes
    }

    /// Adds scopes as the protocol writes them, separated by blanks.
    pub(crate) fn add(&mut self, text: &str) {
        for scope in text.split_ascii_whitespace() {
            let Some((resource, actions)) = scope.rsplit_once(':') else { continue };
            if self.0.len() >= SCOPES_MAX && !self.0.contains_key(resource) {
                return;
            }
            let wanted = self.0.entry(resource.to_owned()).or_default();
            let room = SCOPES_MAX.saturating_sub(wanted.len());
            wanted.extend(actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).take(room));
        }
    }

    fn list(&self) -> Vec<String> {
        let one = |(resource, actions): (&String, &BTreeSet<String>)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        };
        self.0.iter().map(one).collect()
    }
}

/// One user's way into one repository.
pub(crate) struct Authorizer {
    shared: Arc<Shared>,
    credentials: Credentials,
    /// The registry of the reference; a mirror is another place, and gets no credentials of it.
    registry: Origin,
    scopes: Mutex<Scopes>,
    /// Held while a token is fetched: the others that need it wait for it instead of fetching their own.
    fetching: tokio::sync::Mutex<()>,
    manners: Manners,
    /// The identity token that a login got.
    identity: Mutex<String>,
}

/// How an [`Authorizer`] goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Nothing is sent before the registry asks for it.
    Challenged,
    /// The same, and an identity token is asked for.
    Login,
    /// User and password go with the first request, as the index of Docker Hub expects.
    Eager,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorizer({:?} for {})", self.credentials, self.registry)
    }
}

impl Authorizer {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        credentials: Credentials,
        registry: Origin,
        scopes: Scopes,
        manners: Manners,
    ) -> Self {
        Self {
            shared: shared.clone(),
            credentials,
            registry,
            scopes: Mutex::new(scopes),
            fetching: tokio::sync::Mutex::default(),
            manners,
            identity: Mutex::default(),
        }
    }

    /// The identity token that the token server gave at login; empty where it gave none.
    pub(crate) fn identity(&self) -> String {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same user with more rights asked for.
    pub(crate) fn with_scope(&self, scope: &str) -> Self {
        let mut scopes = self.scopes().clone();
        scopes.add(scope);
        Self::new(&self.shared, self.credentials.clone(), self.registry.clone(), scopes, self.manners)
    }

    fn scopes(&self) -> MutexGuard<'_, Scopes> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `Authorization` for a request to `origin`, from what is known so far.
    pub(crate) async fn header(&self, origin: &Origin) -> Result<Option<HeaderValue>, Failure> {
        let credentials = self.credentials.only_for(origin, &self.registry);
        if !credentials.registrytoken.is_empty() {
            return bearer(&credentials.registrytoken).map(Some).map_err(Failure::from);
        }
        let shared = &self.shared;
        let known = shared.memory.known().get(origin).cloned();
        match known {
            None if self.manners == Manners::Eager => Ok(credentials.basic().map(|text| secret(&text)).transpose()?),
            None => Ok(None),
            Some(Known::Basic) => Ok(credentials.basic().map(|text| secret(&text)).transpose()?),
            Some(Known::Bearer { realm, service }) => {
                let token = self.token(origin, &realm, &service, &credentials).await;
                if token.is_err() {
                    // The registry may have moved its token server: it is asked for its challenge again.
                    shared.memory.known().remove(origin);
                }
                token.map(Some)
            }
        }
    }

    /// Takes note of a challenge that answered a request with `failed`. Says whether another attempt makes sense.
    pub(crate) fn challenged(
        &self,
        origin: &Origin,
        challenges: &[Challenge],
        failed: Option<&HeaderValue>,
    ) -> Result<bool, Failure> {
        let shared = &self.shared;
        let credentials = self.credentials.only_for(origin, &self.registry);
        if !credentials.registrytoken.is_empty() {
            return Ok(false);
        }
        let bearers = challenges.iter().filter(|challenge| challenge.scheme == "bearer");
        for challenge in bearers {
            let Some(realm) = challenge.get("realm") else { continue };
            let realm: Url =
                realm.parse().map_err(|_| Error::invalid(format!("{origin} names a token server that is no URL")))?;
            check_realm(origin, &realm)?;
            self.scopes().add(challenge.get("scope").unwrap_or_default());
            if let Some(failed) = failed {
                shared.memory.tokens().retain(|_, token| token.header != failed);
            }
            let service = challenge.get("service").unwrap_or_default().to_owned();
            shared.memory.learn(origin, Known::Bearer { realm, service });
            return Ok(true);
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            if !credentials.has_password() {
                return Err(Error::new(Kind::Unauthorized, "no basic auth credentials").into());
            }
            shared.memory.learn(origin, Known::Basic);
            // A password that was refused is refused again.
            return Ok(failed.is_none_or(|failed| !failed.as_bytes().starts_with(b"Basic ")));
        }
        Ok(false)
    }

    /// The token for our scopes, from the memory or from the token server.
    async fn token(
        &self,
        registry: &Origin,
        realm: &Url,
        service: &str,
        credentials: &Credentials,
    ) -> Result<HeaderValue, Failure> {
        let shared = &self.shared;
        let scopes = self.scopes().list();
        let key = TokenKey {
            registry: registry.clone(),
            realm: realm.to_string(),
            service: service.to_owned(),
            scope: scopes.join(" "),
            user: credentials.fingerprint(),
        };
        let fresh = || {
            let tokens = shared.memory.tokens();
            let token = tokens.get(&key)?;
            (token.ends > Instant::now() + shared.pace.token_margin).then(|| token.header.clone())
        };
        if let Some(header) = fresh() {
            return Ok(header);
        }
        let _turn = self.fetching.lock().await;
        if let Some(header) = fresh() {
            return Ok(header);
        }
        // What fails here says nothing about the way to the registry.
        let asked =
            Asked { registry, realm, service, scopes: &scopes, credentials, offline: self.manners == Manners::Login };
        let got = fetch(shared, &asked).await.map_err(|failure| Failure {
            unreached: false,
            // Credentials that the token server refuses are wrong: no matter of this repository.
            status: failure.status.filter(|_| credentials.is_anonymous()),
            ..failure
        })?;
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = got.refresh_token.unwrap_or_default();
        let text = [got.token, got.access_token].into_iter().flatten().find(|text| !text.is_empty());
        let text = text.ok_or_else(|| {
            Error::new(Kind::Unauthorized, "authorization server did not include a token in the response")
        })?;
        let header = bearer(&text)?;
        let seconds = got.expires_in.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        let seconds = seconds.unwrap_or(limits::TOKEN_SECONDS_DEFAULT).min(limits::TOKEN_SECONDS_MAX);
        // Counted from now: the server's clock need not be ours.
        let ends = Instant::now() + Duration::from_secs(seconds);
        shared.memory.keep(key, Token { header: header.clone(), ends });
        Ok(header)
    }
}

/// What a token server is asked.
struct Asked<'a> {
    registry: &'a Origin,
    realm: &'a Url,
    service: &'a str,
    scopes: &'a [String],
    credentials: &'a Credentials,
    offline: bool,
}

impl Asked<'_> {
    fn request(&self) -> Result<Request> {
        let mut url = self.realm.clone();
        if !self.credentials.identitytoken.is_empty() {
            let mut form = Url::parse("form://x").map_err(|_| Error::internal("make a form"))?;
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("service", self.service)
                .append_pair("client_id", "docker")
                .append_pair("scope", &self.scopes.join(" "))
                .append_pair("refresh_token", &self.credentials.identitytoken);
            let mut request = Request::new(Method::POST, url);
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(CONTENT_TYPE, kind);
            *request.body_mut() = Some(form.query().unwrap_or_default().to_owned().into());
            return Ok(request);
        }
        {
            let mut query = url.query_pairs_mut();
            if !self.service.is_empty() {
                query.append_pair("service", self.service);
            }
            for scope in self.scopes {
                query.append_pair("scope", scope);
            }
            if self.credentials.has_password() {
                query.append_pair("account", &self.credentials.username);
            }
            if self.offline {
                query.append_pair("offline_token", "true").append_pair("client_id", "docker");
            }
        }
        let mut request = Request::new(Method::GET, url);
        if let Some(basic) = self.credentials.basic() {
            request.headers_mut().insert(AUTHORIZATION, secret(&basic)?);
        }
        Ok(request)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Got {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<i64>,
}

/// Asks the token server, again where that may help. It may not redirect.
async fn fetch(shared: &Arc<Shared>, asked: &Asked<'_>) -> Result<Got, Failure> {
    let origin = check_realm(asked.registry, asked.realm)?;
    let sender = if origin == *asked.registry { Sender::User } else { Sender::Registry };
    let client = shared.clients.get(&origin, sender).await?;
    let mut backoff = Backoff::new(&shared.pace, limits::ATTEMPTS_MAX);
    loop {
        let failure = match ask(shared, &client, asked).await {
            Ok(got) => return Ok(got),
            Err(failure) => failure,
        };
        let wait = if failure.transient { backoff.next(failure.after) } else { None };
        let Some(wait) = wait else { return Err(failure) };
        tokio::time::sleep(wait).await;
    }
}

async fn ask(shared: &Arc<Shared>, client: &reqwest::Client, asked: &Asked<'_>) -> Result<Got, Failure> {
    let request = asked.request()?;
    let (method, url) = (request.method().clone(), request.url().clone());
    let response = match timeout(shared.pace.answer, client.execute(request)).await {
        Ok(answer) => answer.map_err(|error| network::unanswered(&method, &url, error))?,
        Err(_) => return Err(network::late(&method, &url)),
    };
    if response.status().is_redirection() {
        return Err(Error::forbidden(format!("the token server of {} redirects: refused", asked.registry)).into());
    }
    if !response.status().is_success() {
        return Err(answer::failure(&method, &url, response).await);
    }
    let bytes = read(response, limits::TOKEN_BYTES_MAX).await?;
    serde_json::from_slice(&bytes)
        // The document holds tokens: nothing of it is shown.
        .map_err(|_| Error::invalid(format!("the token server of {} gave no token document", asked.registry)).into())
}

fn bearer(token: &str) -> Result<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| Error::invalid("credentials with characters that HTTP does not allow"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_merged_and_bounded() {
        let mut scopes = Scopes::repository("a/b", "pull");
        scopes.add("repository:a/b:push,pull repository:c:pull nonsense");
        assert_eq!(scopes.list(), ["repository:a/b:pull,push", "repository:c:pull"]);
        for number in 0..100 {
            scopes.add(&format!("repository:x{number}:pull"));
        }
        assert_eq!(scopes.list().len(), SCOPES_MAX);
    }
}
