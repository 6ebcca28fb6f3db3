//! Registries in a daemon's network namespace: Debian's `docker-registry`, which nobody here wrote, and our own; a
//! proxy in front of one that breaks connections off; and a stand-in for Docker Hub's index.

use crate::{command, netns::Netns, places};
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

const CUTTING_PROXY: &str = include_str!("../scripts/cutting_proxy.py");
const HUB_INDEX: &str = include_str!("../scripts/hub_index.py");

/// A program of the fixture in the daemon's network namespace; it ends with this.
#[derive(Debug)]
struct Server(Child);

impl Server {
    fn start(netns: &Netns, port: u16, program: &str, arguments: &[String]) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", netns.name)).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self(command.spawn().unwrap_or_else(|error| panic!("start {program}: {error}")));
        command::wait_for("the server to listen", || {
            (netns.inside(&format!("ss -Htln sport = :{port} | grep -q .")).code == 0).then_some(())
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Whose registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Debian's `docker-registry`.
    Debian,
    /// `rorqual registry serve`.
    Ours,
}

/// A registry on `localhost:PORT`, as the daemon sees it.
#[derive(Debug)]
pub struct Registry {
    /// Where it listens.
    pub port: u16,
    _server: Server,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// One that lets everybody in.
    pub fn start(maker: Maker, netns: &Netns, port: u16) -> Self {
        Self::start_with(maker, netns, port, None)
    }

    /// One that lets in the user `me` with the password `secret`, and nobody else.
    pub fn start_with_password(maker: Maker, netns: &Netns, port: u16) -> Self {
        Self::start_for(maker, netns, port, "me")
    }

    /// One that lets in `user` with the password `secret`, and nobody else.
    pub fn start_for(maker: Maker, netns: &Netns, port: u16, user: &str) -> Self {
        Self::start_with(maker, netns, port, Some(command::run("htpasswd", ["-nbB", user, "secret"]).ok()))
    }

    /// One of ours that is a cache of the registry at `upstream`.
    pub fn cache(netns: &Netns, port: u16, upstream: &str) -> Self {
        Self::ours(netns, port, directory(), ["--proxy-remoteurl".to_owned(), upstream.to_owned()])
    }

    fn start_with(maker: Maker, netns: &Netns, port: u16, users: Option<String>) -> Self {
        let dir = directory();
        match (maker, users) {
            (Maker::Debian, users) => Self::debian(netns, port, users, dir),
            (Maker::Ours, None) => Self::ours(netns, port, dir, []),
            (Maker::Ours, Some(users)) => {
                let file = dir.path().join("users");
                fs::write(&file, users.trim()).expect("write the users");
                Self::ours(netns, port, dir, ["--htpasswd".to_owned(), file.display().to_string()])
            }
        }
    }

    fn ours<const N: usize>(netns: &Netns, port: u16, dir: tempfile::TempDir, more: [String; N]) -> Self {
        let mut arguments = vec!["registry".to_owned(), "serve".to_owned(), "--root".to_owned()];
        arguments.push(dir.path().join("data").display().to_string());
        arguments.extend(["--address".to_owned(), format!("127.0.0.1:{port}")]);
        arguments.extend(more);
        let program = places::binary("rorqual").display().to_string();
        let server = Server::start(netns, port, &program, &arguments);
        Self { port, _server: server, _dir: dir }
    }

    fn debian(netns: &Netns, port: u16, users: Option<String>, dir: tempfile::TempDir) -> Self {
        let (data, path) = (dir.path().join("data"), dir.path().join("config.yml"));
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
            data.display()
        );
        if let Some(users) = users {
            let file = dir.path().join("users");
            fs::write(&file, users.trim()).expect("write the users");
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display());
        }
        fs::write(&path, config).expect("write the configuration");
        let server = Server::start(netns, port, "docker-registry", &["serve".to_owned(), path.display().to_string()]);
        Self { port, _server: server, _dir: dir }
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rq-registry-").tempdir().expect("a directory")
}

/// A stand-in for Docker Hub's index, behind a proxy on loopback. It knows `hello-world`, `busybox` and `alpine`.
#[derive(Debug)]
pub struct HubIndex {
    _server: Server,
    _dir: tempfile::TempDir,
}

impl HubIndex {
    /// What a daemon is told, so that it finds the index.
    pub fn arguments(port: u16) -> Vec<String> {
        ["--insecure-registry=index.docker.io".to_owned(), format!("--http-proxy=http://127.0.0.1:{port}")].to_vec()
    }

    /// One whose proxy listens on `port`.
    pub fn start(netns: &Netns, port: u16) -> Self {
        let dir = tempfile::Builder::new().prefix("rq-hub-").tempdir().expect("a directory");
        let script = dir.path().join("index.py");
        fs::write(&script, HUB_INDEX).expect("write the index");
        let server = Server::start(netns, port, "python3", &[script.display().to_string(), port.to_string()]);
        Self { _server: server, _dir: dir }
    }
}

/// A proxy that breaks off each connection after so many bytes from the server.
#[derive(Debug)]
pub struct CuttingProxy {
    _server: Server,
    state: PathBuf,
    _dir: tempfile::TempDir,
}

impl CuttingProxy {
    /// One on `port`, in front of `target`.
    pub fn start(netns: &Netns, port: u16, target: u16, cut_bytes: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("rq-proxy-").tempdir().expect("a directory");
        let (script, state) = (dir.path().join("proxy.py"), dir.path().join("state"));
        fs::write(&script, CUTTING_PROXY).expect("write the proxy");
        let words = [script.display().to_string(), port.to_string(), target.to_string(), cut_bytes.to_string()];
        let arguments: Vec<String> = words.into_iter().chain([state.display().to_string()]).collect();
        let server = Server::start(netns, port, "python3", &arguments);
        Self { _server: server, state, _dir: dir }
    }

    /// Bytes passed on to clients so far, and connections cut.
    pub fn passed(&self) -> (u64, u64) {
        let text = fs::read_to_string(&self.state).expect("read the proxy's state");
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        (numbers.next().expect("bytes"), numbers.next().expect("cuts"))
    }
}
