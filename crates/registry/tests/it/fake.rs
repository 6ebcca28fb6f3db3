//! An upstream registry that answers exactly what a test says, notes what it is asked, and can hold an answer half way.

use bytes::Bytes;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A running upstream; it is away once this is dropped.
pub struct Fake {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    pages: Mutex<HashMap<String, Page>>,
    requests: Mutex<Vec<Asked>>,
    /// `Authorization` that is wanted, and the challenge that asks for it.
    password: Mutex<Option<(String, String)>>,
    open: watch::Sender<bool>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `METHOD path`.
    pub line: String,
    pub head: String,
}

#[derive(Clone, Debug)]
struct Page {
    headers: String,
    body: Bytes,
    /// Bytes that are sent before the gate is opened.
    before_the_gate: usize,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            pages: Mutex::default(),
            requests: Mutex::default(),
            password: Mutex::default(),
            open: watch::channel(true).0,
        });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut connections = tokio::task::JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.spawn(answer(stream, shared.clone()));
                }
            }
        });
        Self { address, shared, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers `path` with `body`; `headers` are whole lines.
    pub fn page(&self, path: &str, headers: &str, body: impl Into<Bytes>) {
        let body = body.into();
        let page = Page { headers: headers.to_owned(), before_the_gate: body.len(), body };
        self.shared.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// Answers with `bytes` as what `name` has under `digest`, of which so many come while the gate is closed.
    pub fn held_blob(&self, name: &str, digest: &str, bytes: impl Into<Bytes>, before_the_gate: usize) {
        let page = Page { headers: String::new(), body: bytes.into(), before_the_gate };
        self.shared.pages.lock().unwrap().insert(format!("/v2/{name}/blobs/{digest}"), page);
    }

    /// Has a manifest, under its digest and `tag`.
    pub fn manifest(&self, name: &str, tag: &str, media_type: &str, text: &str) -> String {
        let digest = crate::support::sha256(text);
        let headers = format!("Content-Type: {media_type}\r\nDocker-Content-Digest: {digest}\r\n");
        for reference in [tag, digest.as_str()] {
            self.page(&format!("/v2/{name}/manifests/{reference}"), &headers, text.to_owned());
        }
        digest
    }

    /// Lets in who sends this `Authorization`, and challenges all others.
    pub fn wants(&self, authorization: &str, challenge: &str) {
        *self.shared.password.lock().unwrap() = Some((authorization.to_owned(), challenge.to_owned()));
    }

    pub fn close_gate(&self) {
        self.shared.open.send_replace(false);
    }

    pub fn open_gate(&self) {
        self.shared.open.send_replace(true);
    }

    /// Everything that was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }

    /// The same as lines.
    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap().split('?').next().unwrap().to_owned());
    shared.requests.lock().unwrap().push(Asked { line: format!("{method} {path}"), head: head.clone() });
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let password = shared.password.lock().unwrap().clone();
    if let Some((_, challenge)) = password.filter(|(wanted, _)| header("authorization").as_ref() != Some(wanted)) {
        return send(&mut stream, "401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), 0).await;
    }
    let page = shared.pages.lock().unwrap().get(&path).cloned();
    let Some(Page { headers, body, before_the_gate }) = page else {
        return send(&mut stream, "404 Not Found", "", 0).await;
    };
    let from = header("range").and_then(|range| range.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
    let (status, range) = match from {
        Some(from) => {
            ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len()))
        }
        None => ("200 OK", String::new()),
    };
    let from: usize = from.unwrap_or(0);
    send(&mut stream, status, &format!("{headers}{range}"), body.len() - from).await;
    if method == "HEAD" {
        return;
    }
    let gate = before_the_gate.clamp(from, body.len());
    let _ = stream.write_all(&body[from..gate]).await;
    let _ = stream.flush().await;
    if gate < body.len() {
        let _ = shared.open.subscribe().wait_for(|open| *open).await;
        let _ = stream.write_all(&body[gate..]).await;
    }
    let _ = stream.shutdown().await;
}

async fn send(stream: &mut TcpStream, status: &str, headers: &str, length: usize) {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
}
