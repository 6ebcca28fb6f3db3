//! One request to one registry: its redirects, its authentication, its attempts.

use crate::{
    Shared,
    answer::{Failure, failure},
    auth::Authorizer,
    challenge::challenges,
    clients::Sender,
    endpoint::{Endpoint, Role},
    limits, network,
    origin::{Origin, check_redirect, join, shown},
    retry::Backoff,
};
use reqwest::{
    Body, Method, Request, Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION},
};
use rorqual_error::{Error, Result};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Below `/v2/` of the registry.
    Path(String),
    /// Where the registry said, checked by [`check_redirect`].
    Url(Url),
}

/// The body of a request, so that it can be made again.
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// Made anew for each attempt; `sent` counts what was taken from it.
    Stream {
        make: &'a (dyn Fn() -> Body + Send + Sync),
        length: u64,
        sent: Arc<AtomicU64>,
    },
}

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    /// Whether what happens if it is made twice is as good as if it is made once.
    pub(crate) repeatable: bool,
}

impl Call<'_> {
    pub(crate) fn new(method: Method, target: Target) -> Self {
        let repeatable = method == Method::GET || method == Method::HEAD;
        Self { method, target, headers: HeaderMap::new(), payload: Payload::None, repeatable }
    }

    pub(crate) fn path(method: Method, path: String) -> Self {
        Self::new(method, Target::Path(path))
    }

    fn request(&self, url: &Url, authorization: Option<&HeaderValue>) -> Request {
        let mut request = Request::new(self.method.clone(), url.clone());
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        // What is verified is the bytes as they are stored, so nothing may encode them on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        match &self.payload {
            Payload::None if self.method == Method::GET || self.method == Method::HEAD => {}
            Payload::None => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
            Payload::Bytes(bytes) => *request.body_mut() = Some(Body::from(bytes.to_vec())),
            Payload::Stream { make, length, sent } => {
                sent.store(0, Ordering::Relaxed);
                headers.insert(CONTENT_LENGTH, HeaderValue::from(*length));
                *request.body_mut() = Some(make());
            }
        }
        request
    }
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
}

impl Answer {
    pub(crate) fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// `Location`, resolved and checked against the rules for redirects.
    pub(crate) fn location(&self, registry: &Origin) -> Result<Option<Url>> {
        let Some(location) = self.header(LOCATION) else { return Ok(None) };
        let to = join(&self.url, location)?;
        check_redirect(&Origin::of(&self.url)?, &Origin::of(&to)?, registry)?;
        Ok(Some(to))
    }
}

/// Reads a body of at most `max` bytes.
pub(crate) async fn read(mut response: Response, max: u64) -> Result<Vec<u8>, Failure> {
    let url = response.url().clone();
    let whole = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| network::broken(&url, &error))? {
            if (bytes.len() + chunk.len()) as u64 > max {
                return Err(Error::invalid(format!("the answer of {} is larger than {max} bytes", shown(&url))).into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    timeout(limits::DOCUMENT_DEADLINE, whole).await.unwrap_or_else(|_| Err(network::late(&Method::GET, &url)))
}

/// The way to one server for one repository and one user.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Endpoint,
    pub(crate) authorizer: Arc<Authorizer>,
}

impl Route {
    /// The repository's name at this server.
    pub(crate) fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// How often a request is tried here.
    pub(crate) fn attempts_max(&self) -> u32 {
        // Another server is asked when a mirror does not answer: it is not waited for.
        if self.endpoint.role == Role::Registry { limits::ATTEMPTS_MAX } else { 1 }
    }

    /// The origin of the registry, by the scheme that it was found to speak.
    pub(crate) fn origin(&self) -> Origin {
        self.current().origin
    }

    /// Makes a request; every status but a success is a failure.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        if self.endpoint.role == Role::Peer {
            return self.ask_peer(call).await;
        }
        let mut backoff = Backoff::new(&self.shared.pace, if call.repeatable { self.attempts_max() } else { 1 });
        loop {
            let failure = match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !failure.transient {
                return Err(failure);
            }
            let Some(wait) = backoff.next(failure.after) else { return Err(failure) };
            tracing::debug!(error = %failure.error, ?wait, "a request to a registry failed; it is made again");
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt at another node; one that has something else to say than that it has nothing is then left alone for
    /// a while, so that a node that is away does not cost each blob of an image its deadline.
    async fn ask_peer(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let peer = &self.endpoint.origin;
        if self.shared.is_away(peer) {
            return Err(Failure::last(Error::unavailable(format!("node {peer} failed lately"))));
        }
        let answer = timeout(limits::PEER_DEADLINE, self.attempt(call)).await;
        let answer = answer.unwrap_or_else(|_| Err(network::late(&call.method, &self.endpoint.base)));
        if let Err(failure) = &answer
            && failure.status != Some(StatusCode::NOT_FOUND)
        {
            tracing::warn!(%peer, error = %failure.error, "another node that is listed for blobs cannot be used");
            self.shared.leave_alone(peer);
        }
        answer
    }

    /// As [`Route::send`], with the whole body read; a body that breaks off is another reason to try again.
    pub(crate) async fn document(&self, call: &Call<'_>, max: u64) -> Result<(Vec<u8>, Answered), Failure> {
        let mut backoff = Backoff::new(&self.shared.pace, self.attempts_max());
        loop {
            let answer = self.send(call).await?;
            let answered = Answered { headers: answer.response.headers().clone(), url: answer.url };
            match read(answer.response, max).await {
                Ok(bytes) => return Ok((bytes, answered)),
                Err(failure) if failure.transient => match backoff.next(None) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(failure),
                },
                Err(failure) => return Err(failure),
            }
        }
    }

    fn current(&self) -> Endpoint {
        match self.endpoint.may_be_plain && self.shared.speaks_plain(&self.endpoint.origin) == Some(true) {
            true => self.endpoint.plain().unwrap_or_else(|_| self.endpoint.clone()),
            false => self.endpoint.clone(),
        }
    }

    /// One attempt: by HTTPS, and by HTTP only where the operator allows it and HTTPS does not connect.
    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let endpoint = self.current();
        let settled = !self.endpoint.may_be_plain || self.shared.speaks_plain(&self.endpoint.origin).is_some();
        let first = self.authorized(call, &endpoint).await;
        if settled {
            return first;
        }
        let (result, plain) = match first {
            Err(failure) if failure.unreached => {
                let plain = self.endpoint.plain()?;
                tracing::debug!(registry = %plain.origin, error = %failure.error, "insecure registry: trying plain HTTP");
                (self.authorized(call, &plain).await, true)
            }
            other => (other, false),
        };
        if result.as_ref().err().is_none_or(|failure| !failure.unreached) {
            self.shared.settle(&self.endpoint.origin, plain);
        }
        result
    }

    /// One attempt with what is known of the registry's authentication, and one more after a new challenge.
    async fn authorized(&self, call: &Call<'_>, endpoint: &Endpoint) -> Result<Answer, Failure> {
        let url = match &call.target {
            Target::Path(path) => endpoint.url(path)?,
            Target::Url(url) => url.clone(),
        };
        let mut challenged = false;
        loop {
            let authorization = match Origin::of(&url)? == endpoint.origin {
                true => self.authorizer.header(&endpoint.origin).await?,
                false => None,
            };
            let (response, hop) = self.follow(call, &url, &endpoint.origin, authorization.as_ref()).await?;
            if response.status().is_success() {
                return Ok(Answer { response, url: hop });
            }
            let unauthorized = response.status() == StatusCode::UNAUTHORIZED && Origin::of(&hop)? == endpoint.origin;
            if unauthorized && !challenged {
                challenged = true;
                let asked = challenges(response.headers())?;
                if self.authorizer.challenged(&endpoint.origin, &asked, authorization.as_ref())? {
                    continue;
                }
            }
            return Err(failure(&call.method, &hop, response).await);
        }
    }

    /// Follows redirects; credentials stay with the origin they are for, and do not come back after leaving it.
    async fn follow(
        &self,
        call: &Call<'_>,
        url: &Url,
        registry: &Origin,
        mut authorization: Option<&HeaderValue>,
    ) -> Result<(Response, Url), Failure> {
        let mut url = url.clone();
        for hop in 0..=limits::REDIRECTS_MAX {
            let origin = Origin::of(&url)?;
            let at_home = origin == *registry;
            if !at_home {
                authorization = None;
            }
            let sender = if at_home { Sender::User } else { Sender::Registry };
            let client = self.shared.clients.get(&origin, sender).await?;
            let answer = self.exchange(&client, call, &url, authorization).await;
            let response =
                answer.map_err(|failure| Failure { unreached: failure.unreached && hop == 0 && at_home, ..failure })?;
            let keeps_method = matches!(response.status().as_u16(), 307 | 308);
            let redirects = keeps_method
                || (matches!(response.status().as_u16(), 301..=303)
                    && (call.method == Method::GET || call.method == Method::HEAD));
            if !redirects {
                return Ok((response, url));
            }
            let answer = Answer { response, url };
            let Some(to) = answer.location(registry)? else { return Ok((answer.response, answer.url)) };
            url = to;
        }
        let message = format!("{registry} redirects more than {} times: refused", limits::REDIRECTS_MAX);
        Err(Error::forbidden(message).into())
    }

    /// One request, one answer's head.
    async fn exchange(
        &self,
        client: &reqwest::Client,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let answer = client.execute(call.request(url, authorization));
        tokio::pin!(answer);
        let mut seen = 0;
        loop {
            match timeout(self.deadline(&call.payload, seen), &mut answer).await {
                Ok(answer) => return answer.map_err(|error| network::unanswered(&call.method, url, error)),
                Err(_) => match &call.payload {
                    // Bytes still flow: that is no silence.
                    Payload::Stream { sent, .. } if sent.load(Ordering::Relaxed) > seen => {
                        seen = sent.load(Ordering::Relaxed);
                    }
                    _ => return Err(network::late(&call.method, url)),
                },
            }
        }
    }

    fn deadline(&self, payload: &Payload<'_>, seen: u64) -> Duration {
        match payload {
            Payload::Stream { length, .. } if seen >= *length => self.shared.pace.commit,
            Payload::Stream { .. } => self.shared.pace.stall,
            _ => self.shared.pace.answer,
        }
    }
}

/// The head of an answer whose body was read.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) headers: HeaderMap,
    pub(crate) url: Url,
}

impl Answered {
    pub(crate) fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
