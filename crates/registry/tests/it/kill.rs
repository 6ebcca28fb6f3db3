//! `kill -9` at every named step of a push, a removal and a collection, and in the middle of a chunk: what was
//! acknowledged is there, an upload goes on, nothing half done is given, and what is left over is collected.

use crate::support::{OCI, Running, serve, sha256};
use bytes::Bytes;
use rorqual_registry::Config;
use rorqual_testkit::command::wait_for;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// The steps; every `failpoint!` of this crate is one of them.
const POINTS: [&str; 11] = [
    "registry.upload-begun",
    "registry.upload-settled",
    "registry.blob-whole",
    "registry.blob-published",
    "registry.blob-recorded",
    "registry.blob-mounted",
    "registry.manifest-kept",
    "registry.manifest-recorded",
    "registry.manifest-deleted",
    "registry.links-collected",
    "registry.blob-collected",
];
const ROOT: &str = "REGISTRY_VICTIM";

fn config(root: &Path) -> Config {
    let mut config = Config::new(root, "127.0.0.1:0".parse().unwrap());
    config.collect.period = None;
    (config.collect.grace, config.collect.grace_at_start) = (Duration::ZERO, Duration::ZERO);
    config
}

/// Not a test by itself: the registry that the others run and kill.
#[tokio::test]
async fn victim() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    let running = serve(config(&root)).await;
    fs::write(root.join("address.new"), running.address.to_string()).unwrap();
    fs::rename(root.join("address.new"), root.join("address")).unwrap();
    std::future::pending::<()>().await;
}

/// A registry in a process of its own.
struct Victim {
    child: Child,
    address: SocketAddr,
}

impl Victim {
    fn start(root: &Path, points: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kill::victim", "--nocapture"]).env(ROOT, root);
        command.env(rorqual_metadata::failpoint::VARIABLE, points).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let address =
            wait_for("the registry to listen", || fs::read_to_string(root.join("address")).ok()?.parse().ok());
        Self { child, address }
    }

    /// Sends a request; `None` where the registry died over it.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Option<Told> {
        let answer = crate::support::try_send(self.address, method, path, headers, body.into()).await?;
        assert!(answer.status < 400, "{method} {path}: {answer:?}");
        Some(Told(answer.header("location").to_owned()))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where an answer says to go on.
struct Told(String);

/// What was acknowledged.
#[derive(Debug, Default)]
struct Ledger {
    /// Manifests by repository and tag.
    tags: BTreeSet<(&'static str, &'static str, String)>,
    /// An upload under way: its repository, where it is, its bytes, how many of them were acknowledged.
    upload: Option<(&'static str, String, Bytes, usize)>,
}

/// Long enough that a range tells how much of it has come.
const SETTINGS: &str = r#"{"os":"linux","architecture":"amd64"}"#;

fn layer(text: &str) -> Bytes {
    text.repeat(200_000).into()
}

fn manifest(text: &str) -> String {
    let blob = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": sha256(bytes), "size": bytes.len()});
    let layers = [blob("application/vnd.oci.image.layer.v1.tar", &layer(text))];
    let config = blob("application/vnd.oci.image.config.v1+json", SETTINGS.as_bytes());
    json!({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers}).to_string()
}

/// Pushes a blob in two chunks and a `PUT`.
async fn push(victim: &Victim, ledger: &mut Ledger, name: &'static str, bytes: Bytes) -> Option<()> {
    let mut location = victim.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "").await?.0;
    let middle = bytes.len() / 2;
    for (chunk, after) in [(bytes.slice(..middle), middle), (bytes.slice(middle..), bytes.len())] {
        let told = ledger.upload.take().map_or(0, |(.., told)| told);
        ledger.upload = Some((name, location.clone(), bytes.clone(), told));
        location = victim.send("PATCH", &location, &[], chunk).await?.0;
        ledger.upload = Some((name, location.clone(), bytes.clone(), after));
    }
    // Whether a `PUT` that is not answered was carried out nobody knows.
    let digest = sha256(&bytes);
    let put = victim.send("PUT", &format!("{location}?digest={digest}"), &[], "").await;
    ledger.upload = None;
    put.map(drop)
}

async fn push_image(victim: &Victim, ledger: &mut Ledger, name: &'static str, tag: &'static str) -> Option<()> {
    push(victim, ledger, name, SETTINGS.into()).await?;
    push(victim, ledger, name, layer(tag)).await?;
    let text = manifest(tag);
    let digest = sha256(&text);
    victim.send("PUT", &format!("/v2/{name}/manifests/{tag}"), &[("Content-Type", OCI)], text).await?;
    ledger.tags.insert((name, tag, digest));
    Some(())
}

/// A push, a push that mounts, a push that is removed, a collection. `None` as soon as the registry is dead.
async fn script(victim: &Victim, ledger: &mut Ledger, config: &Config) -> Option<()> {
    push_image(victim, ledger, "a", "one").await?;
    for blob in [sha256(SETTINGS), sha256(layer("one"))] {
        victim.send("POST", &format!("/v2/b/c/blobs/uploads/?mount={blob}&from=a"), &[], "").await?;
    }
    let text = manifest("one");
    let digest = sha256(&text);
    victim.send("PUT", "/v2/b/c/manifests/one", &[("Content-Type", OCI)], text).await?;
    ledger.tags.insert(("b/c", "one", digest));
    push_image(victim, ledger, "a", "two").await?;
    let digest = sha256(manifest("two"));
    ledger.tags.retain(|(_, _, other)| *other != digest);
    victim.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "").await?;
    rorqual_registry::collect(config).await.ok().map(drop)
}

/// Everything that the registry names is there whole.
async fn whole(registry: &Running) -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    let catalog = registry.get("/v2/_catalog").await.expect(200).json();
    for name in strings(&catalog["repositories"]) {
        let tags = registry.get(&format!("/v2/{name}/tags/list")).await.expect(200).json();
        for tag in strings(&tags["tags"]) {
            let manifest = registry.get(&format!("/v2/{name}/manifests/{tag}")).await.expect(200);
            there.insert(sha256(&manifest.body));
            let document = manifest.json();
            let layers = document["layers"].as_array().unwrap().iter();
            for blob in layers.chain([&document["config"]]) {
                let digest = blob["digest"].as_str().unwrap();
                let answer = registry.get(&format!("/v2/{name}/blobs/{digest}")).await.expect(200);
                assert_eq!(sha256(&answer.body), digest);
                there.insert(digest.to_owned());
            }
        }
    }
    there
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// What a registry that took over from a dead one must hold to.
async fn check(root: &Path, ledger: Ledger, point: &str) {
    let registry = serve(config(root)).await;
    for (name, tag, digest) in &ledger.tags {
        let manifest = registry.get(&format!("/v2/{name}/manifests/{tag}")).await;
        assert_eq!((manifest.status, sha256(&manifest.body)), (200, digest.clone()), "{point}: {name}:{tag}");
    }
    whole(&registry).await;
    if let Some((name, location, bytes, told)) = ledger.upload {
        let status = registry.get(&location).await.expect(204);
        let range = status.header("range").strip_prefix("0-").unwrap().parse::<usize>().unwrap();
        // `0-0` says nothing or one byte: an upload of nothing takes byte 0 next.
        let from = if range == 0 { 0 } else { range + 1 };
        assert!(from >= told && from <= bytes.len(), "{point}: {from} bytes of {} after {told}", bytes.len());
        let digest = sha256(&bytes);
        let path = format!("{location}?digest={digest}");
        registry.send("PUT", &path, &[], bytes.slice(from..)).await.expect(201);
        assert!(registry.get(&format!("/v2/{name}/blobs/{digest}")).await.expect(200).body == bytes, "{point}");
    }
    // What tags lead to stays, and all else goes.
    registry.registry_collects().await;
    let needed = whole(&registry).await;
    let needed: BTreeSet<String> = needed.iter().map(|digest| digest.replace("sha256:", "")).collect();
    assert_eq!(names(&root.join("content/blobs/sha256")), needed, "{point}");
    // The registry works on.
    let digest = registry.push_image("z", "t", point).await;
    registry.get(&format!("/v2/z/manifests/{digest}")).await.expect(200);
    registry.stop().await;
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn killed_at_every_step() {
    for point in POINTS {
        // The first, and a later passage: other blobs, another repository.
        for passage in [1, 2, 3] {
            let root = tempfile::tempdir().unwrap();
            let mut victim = Victim::start(root.path(), &format!("{point}=kill@{passage}"));
            let mut ledger = Ledger::default();
            let ended = script(&victim, &mut ledger, &config(root.path())).await;
            if ended.is_some() {
                assert!(passage > 1, "nothing comes by {point}");
                continue;
            }
            assert_eq!(victim.child.wait().unwrap().signal(), Some(9), "{point}");
            check(root.path(), ledger, &format!("{point}@{passage}")).await;
        }
    }
}

#[tokio::test]
async fn killed_in_the_middle_of_a_chunk() {
    let root = tempfile::tempdir().unwrap();
    let mut victim = Victim::start(root.path(), "");
    let bytes: Bytes = (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let location = victim.send("POST", "/v2/a/blobs/uploads/", &[], "").await.unwrap().0;
    let mut stream = TcpStream::connect(victim.address).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", bytes.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&bytes[..6_000_000]).await.unwrap();
    let partial = root.path().join("content/partial");
    wait_for("bytes on the disk", || {
        let file = fs::read_dir(&partial).ok()?.next()?.ok()?;
        (file.metadata().ok()?.len() >= 4 << 20).then_some(())
    });
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
    let ledger = Ledger { upload: Some(("a", location, bytes, 4 << 20)), ..Ledger::default() };
    check(root.path(), ledger, "in a chunk").await;
}

#[test]
fn every_step_is_known() {
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = BTreeSet::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let names = text.split("failpoint!(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
            found.extend(names);
        }
    }
    assert_eq!(found, POINTS.map(str::to_owned).into());
}
