//! An API on an engine of its own in a temporary directory, spoken to in plain HTTP over memory.

use rorqual_api::{About, Api, serve};
use rorqual_engine::{Engine, EngineConfig};
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;

/// An API and the directory it lives in.
pub struct Lab {
    pub api: Arc<Api>,
    _root: TempDir,
}

/// An answer, its body without chunk marks.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        line.unwrap_or_default()
    }
}

impl Lab {
    /// Opens an engine without networks of its own.
    pub async fn open() -> Self {
        let root = tempfile::tempdir().unwrap();
        let shim = root.path().join("shim");
        std::fs::write(&shim, "#!/bin/false\n").unwrap();
        let at = |name: &str| -> PathBuf { root.path().join(name) };
        let mut config = EngineConfig::new(at("data"), at("exec"), shim);
        for directory in [&config.data_root, &config.exec_root] {
            std::fs::create_dir_all(directory).unwrap();
        }
        // An archived layer is mounted, and the mount would outlive the test.
        config.layers = rorqual_engine::LayerKind::Directory;
        config.network.bridge = "none".into();
        config.network.firewall = false;
        config.network.ip_forward = false;
        let engine = Engine::open(config).await.unwrap();
        let about = About { version: "0.1.0".into(), ..About::default() };
        Self { api: Arc::new(Api::new(engine, about)), _root: root }
    }

    /// A connection.
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(serve(self.api.clone(), theirs, None, CancellationToken::new()));
        ours
    }

    /// Sends a request's text as it is, and reads to the end of the connection.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        let mut connection = self.connect();
        // A refusal may close the connection before all was sent.
        let _ = connection.write_all(request).await;
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).await.unwrap();
        parse(&bytes)
    }

    /// Sends `METHOD path`, with a JSON body where there is one.
    pub async fn call(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let request = match body {
            Some(body) => {
                format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
            None => format!("{head}\r\n"),
        };
        self.raw(request.as_bytes()).await
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    Answer { status, head: head.to_owned(), body: if chunked { dechunked(body) } else { body.to_owned() } }
}

fn dechunked(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    body
}
