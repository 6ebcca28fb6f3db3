//! Listens, and carries connections: limits, TLS, the wall between one request and all others, the access log.

use crate::{
    body::Body,
    call::{Call, Reply},
    config::{Config, Tls},
    control, dispatch,
    limits::{
        ACCEPT_PAUSE, DRAIN_DEADLINE, HANDSHAKE_DEADLINE, HANDSHAKES, HEAD_DEADLINE, HEADER_COUNT, HEADERS,
        UPLOAD_SCAN, URL,
    },
    peers::Peers,
    refusal::{Code, Refusal, shown},
    registry::Registry,
    route::Query,
    wire::{Moving, Outbox, Wire},
};
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rorqual_error::{Context, Error, Result};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{convert::Infallible, fmt, net::SocketAddr, sync::Arc, time::Instant};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// A registry that listens.
pub struct Server {
    registry: Arc<Registry>,
    listener: TcpListener,
    metrics: Option<TcpListener>,
    control: Option<UnixListener>,
    tls: Option<TlsAcceptor>,
    period: Option<std::time::Duration>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({:?})", self.listener)
    }
}

impl Server {
    /// Opens the store and begins to listen; [`Server::run`] answers.
    pub async fn bind(config: &Config) -> Result<Self> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let shared = config.clone();
        let opened = tokio::task::spawn_blocking(move || Registry::open(&shared));
        let registry = opened.await.context("open the registry")??;
        // What a node has is collected by itself.
        let control = if config.node.is_none() { Some(control::listen(config)?) } else { None };
        let listener = listen(config.address).await?;
        let metrics = match config.metrics {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        registry.drop_idle_uploads().await?;
        Ok(Self { registry, listener, metrics, control, tls, period: config.collect.period })
    }

    /// Where clients connect.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("ask for the address")
    }

    /// Where metrics are, where they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// What is served.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Serves until `stop`; then requests under way have a while to end.
    pub async fn run(self, stop: CancellationToken) {
        let (registry, tasks) = (self.registry.clone(), TaskTracker::new());
        if let Some(control) = self.control {
            tasks.spawn(control::serve(control, self.registry.clone(), stop.clone()));
        }
        tasks.spawn(drop_idle_uploads(self.registry.clone(), stop.clone()));
        if let Some(period) = self.period {
            tasks.spawn(collect_now_and_then(self.registry.clone(), period, stop.clone()));
        }
        if let Some(metrics) = self.metrics {
            tasks.spawn(serve_metrics(metrics, self.registry.clone(), stop.clone()));
        }
        let front = Front {
            registry: self.registry,
            tls: self.tls,
            tasks: tasks.clone(),
            stop,
            peers: Peers::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        };
        front.accept_all(&self.listener).await;
        tasks.close();
        if tokio::time::timeout(DRAIN_DEADLINE, tasks.wait()).await.is_err() {
            tracing::warn!("requests were still under way at the end");
        }
        if let Some(upstream) = &registry.upstream {
            upstream.flights.end().await;
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor> {
    let pair = || format!("load certificate {} and key {}", tls.certificate.display(), tls.key.display());
    let pem = |error: rustls::pki_types::pem::Error| Error::invalid(format!("{error:?}"));
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&tls.certificate).and_then(Iterator::collect).map_err(pem).with_context(pair)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(pem).with_context(pair)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().with_context(pair)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).with_context(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn drop_idle_uploads(registry: Arc<Registry>, stop: CancellationToken) {
    let mut scan = tokio::time::interval(UPLOAD_SCAN);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = scan.tick() => {}
        }
        match registry.drop_idle_uploads().await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "idle uploads dropped"),
            Err(error) => tracing::warn!(%error, "idle uploads could not be dropped; the next scan tries again"),
        }
    }
}

async fn collect_now_and_then(registry: Arc<Registry>, period: std::time::Duration, stop: CancellationToken) {
    let mut scan = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = scan.tick() => {}
        }
        match registry.collect().await {
            Ok(collected) => tracing::info!(?collected, "garbage collected"),
            Err(error) => tracing::warn!(%error, "garbage collection failed; the next one tries again"),
        }
    }
}

/// Accepts.
struct Front {
    registry: Arc<Registry>,
    tls: Option<TlsAcceptor>,
    tasks: TaskTracker,
    stop: CancellationToken,
    peers: Peers,
    handshakes: Arc<Semaphore>,
}

impl Front {
    async fn accept_all(&self, listener: &TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.take(stream, address),
                Err(error) => {
                    // One connection that ended early is nothing; no descriptors or memory heals with time.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, address: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let Some(admitted) = self.peers.admit(address.ip()) else {
            self.registry.metrics.turned_away();
            if self.tls.is_none() {
                self.tasks.spawn(turn_away(stream));
            }
            return;
        };
        self.registry.metrics.connected();
        let connection = Connection { registry: self.registry.clone(), client: address, outbox: None };
        let stop = self.stop.clone();
        let Some(tls) = self.tls.clone() else {
            let outbox = Outbox::default();
            let connection = Connection { outbox: Some(outbox.clone()), ..connection };
            self.tasks.spawn(async move {
                let _admitted = admitted;
                connection.serve(Wire::new(stream, outbox), stop).await;
            });
            return;
        };
        let Ok(slot) = self.handshakes.clone().try_acquire_owned() else {
            self.registry.metrics.turned_away();
            return;
        };
        self.tasks.spawn(async move {
            let _admitted = admitted;
            let accepted = tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await;
            drop(slot);
            match accepted {
                Ok(Ok(stream)) => connection.serve(stream, stop).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
            }
        });
    }
}

/// Tells a connection beyond the limit why it is closed.
async fn turn_away(mut stream: TcpStream) {
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"too many connections","detail":null}]}"#;
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = tokio::time::timeout(HANDSHAKE_DEADLINE, stream.write_all(format!("{head}{body}").as_bytes())).await;
}

/// One connection.
#[derive(Clone, Debug)]
struct Connection {
    registry: Arc<Registry>,
    client: SocketAddr,
    outbox: Option<Outbox>,
}

impl Connection {
    async fn serve<S>(self, stream: S, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let connection = self.clone();
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_headers(HEADER_COUNT)
            .max_header_size(HEADERS)
            .serve_connection(TokioIo::new(Moving::new(stream)), service);
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

    /// Answers one request. What changes something goes on to its end even if the client leaves; a panic is that
    /// request's failure and nobody else's.
    async fn answer(self, request: Request<Incoming>) -> Reply {
        let began = Instant::now();
        let line = Line {
            method: request.method().clone(),
            path: shown(request.uri().path()),
            client: self.client,
            user: String::new(),
        };
        let metrics = self.registry.clone();
        let (user, mut reply) = tokio::spawn(self.handled(request)).await.unwrap_or_else(|error| {
            tracing::error!(%error, method = %line.method, path = line.path, "a handler failed");
            let text = "the request failed in a way it should not";
            (String::new(), Refusal::new(Code::Unknown, text).reply())
        });
        let line = Line { user, ..line };
        reply.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        let status = reply.status();
        reply.map(|body| {
            body.on_end(move |sent| {
                let took = began.elapsed();
                metrics.metrics.answered(&line.method, status, sent, took);
                line.log(status, sent, took);
            })
        })
    }

    async fn handled(self, request: Request<Incoming>) -> (String, Reply) {
        let length = request.uri().path_and_query().map_or(0, |all| all.as_str().len());
        if length > URL {
            let refusal = Refusal::new(Code::NameInvalid, format!("the URL is longer than {URL} bytes"));
            return (String::new(), refusal.status(StatusCode::URI_TOO_LONG).reply());
        }
        let (parts, body) = request.into_parts();
        let identity = match self.registry.access.identify(&parts.headers).await {
            Ok(identity) => identity,
            Err(refusal) => return (String::new(), refuse(refusal)),
        };
        let user = identity.name().to_owned();
        let query = Query::of(&parts.uri);
        let Self { registry, outbox, .. } = self;
        let call = Call { registry, method: parts.method, headers: parts.headers, query, body, identity, outbox };
        let reply = dispatch::answer(call, parts.uri.path()).await.unwrap_or_else(refuse);
        (user, reply)
    }
}

/// A refusal as an answer; what went wrong inside is said in the log.
fn refuse(refusal: Refusal) -> Reply {
    if let Some(error) = refusal.cause() {
        tracing::error!(%error, "request failed");
    }
    refusal.reply()
}

/// A line of the access log.
struct Line {
    method: Method,
    path: String,
    client: SocketAddr,
    user: String,
}

impl Line {
    fn log(&self, status: StatusCode, sent: u64, took: std::time::Duration) {
        tracing::info!(
            target: "access",
            method = %self.method,
            path = self.path,
            status = status.as_u16(),
            bytes = sent,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            client = %self.client,
            user = self.user,
            "request"
        );
    }
}

/// Serves `/metrics`, to a connection at a time.
async fn serve_metrics(listener: TcpListener, registry: Arc<Registry>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let shared = registry.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut reply = Reply::new(Body::full(shared.metrics.page(&shared)));
            if request.uri().path() != "/metrics" {
                reply = crate::call::empty(StatusCode::NOT_FOUND);
            }
            async move { Ok::<_, Infallible>(reply) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE_DEADLINE)
            .keep_alive(false)
            .serve_connection(TokioIo::new(Moving::new(stream)), service);
        let _ = connection.await;
    }
}
