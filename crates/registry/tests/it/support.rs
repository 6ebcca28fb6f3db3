//! A registry on a port of its own, and a client that sends exactly what a test says.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use rorqual_registry::{Config, Server};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A running registry; its data goes with it.
pub struct Running {
    pub address: SocketAddr,
    pub metrics: Option<SocketAddr>,
    pub config: Config,
    pub directory: Option<TempDir>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The code of the error it is.
    pub fn code(&self) -> String {
        let code = self.json()["errors"][0]["code"].as_str().map(str::to_owned);
        code.unwrap_or_else(|| panic!("no error: {self:?}"))
    }

    /// Fails unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Fails unless it is this error.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        self
    }
}

pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    rorqual_content::digest(bytes.as_ref()).to_string()
}

pub async fn start() -> Running {
    start_with(|_| {}).await
}

pub async fn start_with(change: impl FnOnce(&mut Config)) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::new(directory.path(), "127.0.0.1:0".parse().unwrap());
    config.collect.period = None;
    change(&mut config);
    let mut running = serve(config).await;
    running.directory = Some(directory);
    running
}

pub async fn serve(config: Config) -> Running {
    let server = Server::bind(&config).await.unwrap();
    let (address, metrics) = (server.address().unwrap(), server.metrics_address());
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.run(stop.clone()));
    Running { address, metrics, config, directory: None, stop, task }
}

impl Running {
    pub async fn stop(self) -> (Config, Option<TempDir>) {
        self.stop.cancel();
        self.task.await.unwrap();
        (self.config, self.directory)
    }

    /// Sends one request; `headers` are lines `Name: value`.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        send(self.address, method, path, headers, body.into()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn head(&self, path: &str) -> Answer {
        self.send("HEAD", path, &[], "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// Begins an upload and returns where it goes on.
    pub async fn begin(&self, name: &str) -> String {
        self.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "")
            .await
            .expect(202)
            .header("location")
            .to_owned()
    }

    /// Pushes a blob as docker does, and returns its digest.
    pub async fn push_blob(&self, name: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let location = self.begin(name).await;
        let digest = sha256(&bytes);
        self.send("PATCH", &location, &[], bytes).await.expect(202);
        self.send("PUT", &format!("{location}?digest={digest}"), &[], "").await.expect(201);
        digest
    }

    /// Pushes a manifest under `reference`, and returns its digest.
    pub async fn push_manifest(&self, name: &str, reference: &str, media_type: &str, document: &Value) -> String {
        let bytes = document.to_string();
        let digest = sha256(&bytes);
        let reference = if reference == "@" { &digest } else { reference };
        let path = format!("/v2/{name}/manifests/{reference}");
        self.send("PUT", &path, &[("Content-Type", media_type)], bytes).await.expect(201);
        digest
    }

    /// Pushes an image of one layer, `text`, under `reference`; returns its digest.
    pub async fn push_image(&self, name: &str, reference: &str, text: &str) -> String {
        let document = self.image(name, text).await;
        self.push_manifest(name, reference, OCI, &document).await
    }

    /// Pushes the blobs of an image; returns its manifest.
    pub async fn image(&self, name: &str, text: &str) -> Value {
        let config = json!({"os": "linux", "architecture": "amd64", "author": text}).to_string();
        let config_digest = self.push_blob(name, config.clone()).await;
        let layer_digest = self.push_blob(name, format!("layer of {text}")).await;
        json!({
            "schemaVersion": 2,
            "mediaType": OCI,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": LAYER, "digest": layer_digest, "size": format!("layer of {text}").len()}],
        })
    }
}

pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
    let mut connection = connect(address).await;
    let mut request = Request::builder().method(method).uri(path).header("Host", "registry");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), async {
        let response = connection.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    });
    answer.await.expect("an answer within 30 s")
}

async fn connect(address: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// The statuses that say no.
pub fn is_refusal(status: u16) -> bool {
    StatusCode::from_u16(status).unwrap().is_client_error()
}

impl Running {
    /// Has garbage collected, as `rorqual registry gc` does.
    pub async fn registry_collects(&self) -> rorqual_registry::Collected {
        rorqual_registry::collect(&self.config).await.unwrap()
    }
}
