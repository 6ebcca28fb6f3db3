//! A registry on a port of its own, and a client that sends exactly what a test says.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rorqual_registry::{Config, Server};
use rorqual_testkit::command::wait_for;
use serde_json::{Value, json};
use std::{ffi::OsStr, net::SocketAddr, process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The environment variable with a registry that is tested instead of ours, as far as it can be.
pub const PROGRAM: &str = "RORQUAL_TEST_REGISTRY";
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

    /// Where to go on: `Location` without the scheme and the host that the request named.
    pub fn location(&self) -> String {
        let location = self.header("location");
        location.strip_prefix("http://registry").unwrap_or(location).to_owned()
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

/// The registry that is tested: ours, or the program that [`PROGRAM`] names.
pub async fn start() -> Running {
    match std::env::var_os(PROGRAM) {
        Some(program) => stranger(&program).await,
        None => start_with(|_| {}).await,
    }
}

/// Starts Docker's registry in a process of its own.
async fn stranger(program: &OsStr) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config::new(directory.path(), address);
    let (data, settings) = (directory.path().join("data"), directory.path().join("config.yml"));
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n",
        data.display()
    );
    std::fs::write(&settings, text).unwrap();
    let mut command = tokio::process::Command::new(program);
    command.arg("serve").arg(settings).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    wait_for("the registry to listen", || std::net::TcpStream::connect(address).ok());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        stopped.cancelled().await;
        child.kill().await.unwrap();
    });
    Running { address, metrics: None, config, directory: Some(directory), stop, task }
}

/// Where an upload that is at `location` ends.
pub fn closing(location: &str, digest: &str) -> String {
    let joint = if location.contains('?') { '&' } else { '?' };
    format!("{location}{joint}digest={digest}")
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
        self.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "").await.expect(202).location()
    }

    /// Pushes a blob as docker does, and returns its digest.
    pub async fn push_blob(&self, name: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let location = self.begin(name).await;
        let digest = sha256(&bytes);
        let location = self.send("PATCH", &location, &[], bytes).await.expect(202).location();
        self.send("PUT", &closing(&location, &digest), &[], "").await.expect(201);
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
    try_send(address, method, path, headers, body).await.expect("an answer")
}

/// `None` where the server is not there, or goes away.
pub async fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Option<Answer> {
    let mut connection = connect(address).await?;
    let mut request = Request::builder().method(method).uri(path).header("Host", "registry");
    // As clients do: Docker's registry gives a manifest of a type that is not named here as another, or not at all.
    if !headers.iter().any(|(name, _)| *name == "Accept") {
        request = request.header("Accept", [OCI, INDEX, DOCKER, DOCKER_LIST].join(", "));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), async {
        let response = connection.send_request(request).await.ok()?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    });
    answer.await.expect("an answer within 30 s")
}

/// Asks for `path`; the body is for the test to read.
pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let mut connection = connect(address).await.expect("a connection");
    let mut request = Request::builder().uri(path).header("Host", "registry");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    connection.send_request(request.body(Full::default()).unwrap()).await.unwrap()
}

async fn connect(address: SocketAddr) -> Option<http1::SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
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
