//! One connection: limits, routing, versions, and the wall between a request and the daemon.

use crate::{
    Api,
    body::Body,
    call::Call,
    limits::{CONNECTIONS_PER_PEER, HEADER_COUNT, HEADERS, SETTLE_DEADLINE, SETTLE_PAUSE, SHOWN, URL},
    query::{Query, unescape},
    reply::{self, Reply},
    routes,
    version::{ApiVersion, CURRENT},
    watched::{Phase, Watched},
};
use futures_util::FutureExt;
use hyper::{
    Request, StatusCode,
    body::Incoming,
    header::{HeaderName, HeaderValue, LOCATION, SERVER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rorqual_error::{Error, Result};
use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A process of this machine, on a unix socket.
    Process {
        /// Its id; zero where it is of another pid namespace.
        pid: i32,
        /// Its user.
        uid: u32,
    },
    /// An address, on tcp.
    Address(IpAddr),
}

/// How many connections each peer has.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<Mutex<HashMap<Peer, usize>>>);

/// One connection of a peer, counted until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    peers: Peers,
    peer: Peer,
}

impl Peers {
    /// Counts one more connection of `peer`; `None` where it has too many.
    pub fn admit(&self, peer: Peer) -> Option<Admitted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= CONNECTIONS_PER_PEER {
            return None;
        }
        *count += 1;
        Some(Admitted { peers: self.clone(), peer })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// Tells a connection beyond the limit why it is closed.
pub async fn refuse<S: AsyncWrite + Unpin>(mut connection: S) {
    let body = format!("{{\"message\":\"too many connections: at most {CONNECTIONS_PER_PEER} for one client\"}}\n");
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = connection.shutdown().await;
}

/// Asks how many bytes sent on a connection its peer has not read yet.
#[derive(Clone)]
pub struct Unread(Arc<dyn Fn() -> usize + Send + Sync>);

impl Unread {
    /// Asks `count`.
    pub fn new(count: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        Self(Arc::new(count))
    }

    /// Waits until the peer has read everything, but not for long.
    pub(crate) async fn settle(&self) {
        let give_up = tokio::time::Instant::now() + SETTLE_DEADLINE;
        while (self.0)() > 0 && tokio::time::Instant::now() < give_up {
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unread")
    }
}

/// Serves one connection to its end; `unread` where the kernel can tell. After `stop` the request under way is finished and no other is taken.
pub async fn serve<S>(api: Arc<Api>, connection: S, unread: Option<Unread>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = Phase::default();
    let io = TokioIo::new(Watched::new(connection, phase.clone()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (api, phase) = (api.clone(), phase.clone());
        if let Some(unread) = &unread {
            request.extensions_mut().insert(unread.clone());
        }
        async move {
            let busy = phase.begin();
            let mut reply = isolated(&api, request).await;
            dress(&api, &mut reply);
            if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
                busy.for_ever();
                return Ok::<_, Infallible>(reply);
            }
            Ok(reply.map(|body| body.finishing_also(busy)))
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(HEADER_COUNT)
        .max_header_size(HEADERS)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// Answers a request; a panic in its handler is that request's failure and nobody else's.
async fn isolated(api: &Arc<Api>, request: Request<Incoming>) -> Reply {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let reply = caught(answer(api.clone(), request)).await.unwrap_or_else(|| {
        tracing::error!(%method, path = shown(&path), "a handler panicked");
        reply::message(StatusCode::INTERNAL_SERVER_ERROR, "internal error: the request failed in a way it should not")
    });
    tracing::debug!(%method, path = shown(&path), status = reply.status().as_u16(), "request");
    reply
}

/// What `work` returns; `None` where it panics.
async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

async fn answer(api: Arc<Api>, request: Request<Incoming>) -> Reply {
    let uri = request.uri();
    let length = uri.path_and_query().map_or(0, |all| all.as_str().len());
    if length > URL {
        return reply::message(StatusCode::URI_TOO_LONG, &format!("URL too long: more than {URL} bytes"));
    }
    if uri.path().split('/').any(|part| part == "..") {
        return reply::page_not_found();
    }
    if let Some(better) = routes::cleaned(uri.path()) {
        return moved(&better, uri.query());
    }
    match routed(api, request).await {
        Ok(reply) => reply,
        Err(failure) => {
            if failure.kind() == rorqual_error::Kind::Internal {
                tracing::error!(error = %failure, "request failed");
            }
            reply::error(&failure)
        }
    }
}

async fn routed(api: Arc<Api>, request: Request<Incoming>) -> Result<Reply> {
    let path = unescape(request.uri().path(), false)?;
    let (version, bare) = routes::split_version(&path);
    let Some((route, name)) = routes::find(request.method(), bare) else { return Ok(reply::page_not_found()) };
    let version = match version.map(ApiVersion::negotiate).transpose() {
        Ok(version) => version.unwrap_or(CURRENT),
        Err(failure) if failure.message().contains("too old") => return Ok(reply::too_old(&failure)),
        Err(failure) => return Err(failure),
    };
    if version < route.since {
        return Err(Error::invalid(format!(
            "\"{} {}\" requires API version {}, but the Docker daemon API version is {version}",
            request.method(),
            shown(bare),
            route.since
        )));
    }
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    let name = name.to_owned();
    (route.handler)(Call { api, version, name, query, request }).await
}

/// The redirect to a path without empty or dotted parts.
fn moved(path: &str, query: Option<&str>) -> Reply {
    let mut reply = reply::empty(StatusCode::MOVED_PERMANENTLY);
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    match HeaderValue::try_from(target) {
        Ok(target) => {
            reply.headers_mut().insert(LOCATION, target);
            reply
        }
        Err(_) => reply::page_not_found(),
    }
}

/// Adds the headers every answer has.
fn dress(api: &Api, reply: &mut Reply) {
    let headers = reply.headers_mut();
    let about = api.about();
    let server = format!("Rorqual/{} (linux)", about.version);
    let experimental = if about.experimental { "true" } else { "false" };
    headers.insert(HeaderName::from_static("api-version"), HeaderValue::from_static("1.51"));
    headers.insert(HeaderName::from_static("docker-experimental"), HeaderValue::from_static(experimental));
    headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
    if let Ok(server) = HeaderValue::try_from(server) {
        headers.insert(SERVER, server);
    }
}

impl Body {
    /// Keeps `guard` beside one that is there already.
    fn finishing_also(self, guard: impl Send + 'static) -> Self {
        let (body, earlier) = self.without_guard();
        body.finishing((earlier, guard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_with_its_request() {
        assert_eq!(caught(async { 5 }).await, Some(5));
        let fails: Option<()> = caught(async { panic!("one request") }).await;
        assert!(fails.is_none());
    }

    #[test]
    fn a_peer_has_so_many_connections() {
        let peers = Peers::default();
        let peer = Peer::Process { pid: 1, uid: 0 };
        let mut held: Vec<_> = (0..CONNECTIONS_PER_PEER - 1).map(|_| peers.admit(peer).unwrap()).collect();
        held.push(peers.admit(peer).expect("the last one that may"));
        assert!(peers.admit(peer).is_none());
        assert!(peers.admit(Peer::Process { pid: 2, uid: 0 }).is_some());
        held.pop();
        assert!(peers.admit(peer).is_some());
        drop(held);
        assert!(peers.0.lock().unwrap().is_empty());
    }
}
