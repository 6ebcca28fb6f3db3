//! A server on loopback that does what a test tells it: HTTP/1.1 by hand, so that it can lie and break off anywhere.

use bytes::Bytes;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) method: String,
    /// Path and query.
    pub(super) path: String,
    headers: HashMap<String, String>,
    /// What was read of the body.
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `GET /v2/`.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The first byte that a `Range` asks for.
    pub(super) fn range_start(&self) -> Option<usize> {
        self.header("range").strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Bytes of the body after which the connection ends.
    cut: Option<usize>,
    /// Bytes of the body after which nothing more comes.
    hang: Option<usize>,
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(super) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub(super) fn hang_after(mut self, bytes: usize) -> Self {
        self.hang = Some(bytes);
        self
    }

    /// The error document of the protocol.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::new(status).body(format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
    }

    fn head(&self, method: &str) -> String {
        let mut head = format!("HTTP/1.1 {} X\r\n", self.status);
        let named = |name: &str| self.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        if !named("content-length") && !named("transfer-encoding") && self.status != 204 && method != "HEAD" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

type Answer = dyn Fn(&Seen) -> Reply + Send + Sync;
/// How much of a request's body is read before the connection is dropped.
type Appetite = dyn Fn(&Seen) -> Option<usize> + Send + Sync;

/// A running server; it ends with the test.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// A server that speaks plain HTTP.
    pub(super) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(answer), Arc::new(|_| None)).await
    }

    /// One that drops some uploads half read.
    pub(super) async fn with_appetite(
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        appetite: impl Fn(&Seen) -> Option<usize> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(None, Arc::new(answer), Arc::new(appetite)).await
    }

    /// One that speaks TLS.
    pub(super) async fn with_tls(tls: TlsAcceptor, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(Some(tls), Arc::new(answer), Arc::new(|_| None)).await
    }

    async fn serve(tls: Option<TlsAcceptor>, answer: Arc<Answer>, appetite: Arc<Appetite>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, answer, appetite, log) = (tls.clone(), answer.clone(), appetite.clone(), log.clone());
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, &*answer, &*appetite, &log).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => talk(stream, &*answer, &*appetite, &log).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// How many requests began like this.
    pub(super) fn count(&self, prefix: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(prefix)).count()
    }
}

/// Serves one connection; ends with `None` where it breaks.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &Answer,
    appetite: &Appetite,
    log: &Mutex<Vec<Seen>>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if buffer.first() == Some(&0x16) {
                // A TLS handshake at a plain server: what Go's servers answer.
                stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request\n").await.ok()?;
                return None;
            }
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let mut request = parse(std::str::from_utf8(&buffer[..end]).ok()?)?;
        buffer.drain(..end);
        let length: usize = request.header("content-length").parse().unwrap_or(0);
        let wanted = appetite(&request).unwrap_or(length).min(length);
        while buffer.len() < wanted && stream.read_buf(&mut buffer).await.ok()? != 0 {}
        let taken = wanted.min(buffer.len());
        request.body = Bytes::from(buffer.drain(..taken).collect::<Vec<u8>>());
        log.lock().unwrap().push(request.clone());
        let reply = answer(&request);
        if taken < length {
            return None;
        }
        stream.write_all(reply.head(&request.method).as_bytes()).await.ok()?;
        if request.method != "HEAD" {
            let stop = reply.cut.or(reply.hang).unwrap_or(reply.body.len()).min(reply.body.len());
            stream.write_all(&reply.body[..stop]).await.ok()?;
            stream.flush().await.ok()?;
            if reply.hang.is_some() {
                std::future::pending::<()>().await;
            }
            if reply.cut.is_some() {
                return None;
            }
        }
        stream.flush().await.ok()?;
    }
}

fn parse(head: &str) -> Option<Seen> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Some(Seen { method, path, headers: lines.filter_map(header).collect(), body: Bytes::new() })
}

/// An HTTP proxy that takes every `CONNECT` to one server. Returns its address and what it was asked for.
pub(super) async fn proxy_to(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let log = log.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.ok()?);
                }
                log.lock().unwrap().push(String::from_utf8_lossy(&head).lines().next()?.to_owned());
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                let mut server = TcpStream::connect(target).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    (address, asked)
}
