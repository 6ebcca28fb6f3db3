//! Namespaces, containers, and small servers and clients in them.

#![allow(deprecated, reason = "rustix's unshare is safe for a network namespace: it shares no memory")]

use rorqual_metadata::Store;
use rorqual_netlink::{Protocol as Netlink, Socket};
use rorqual_network::{Config, Endpoint, EndpointRequest, Networks, PortRequest};
use rorqual_types::ContainerId;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare};
use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a packet that should not arrive is waited for.
pub const SILENCE: Duration = Duration::from_millis(400);
/// How long one that should arrive may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace.
pub struct Namespace(pub File);

impl Namespace {
    pub fn new() -> Self {
        let make = || {
            unshare(UnshareFlags::NEWNET).expect("these tests need root");
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let namespace = Self(thread::spawn(make).join().unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` on a thread in this namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let enter = || {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            };
            scope.spawn(enter).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a program here; its standard output.
    pub fn output(&self, program: &str, arguments: &str) -> String {
        let output = self.run(|| Command::new(program).args(arguments.split_whitespace()).output().unwrap());
        assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn ip(&self, arguments: &str) -> String {
        self.output("ip", arguments)
    }

    /// Serves `text` and the client's address on a TCP port, for ever.
    pub fn serve_tcp(&self, address: &str, text: &'static str) {
        let listener = self.run(|| TcpListener::bind(address).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let from = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
                let _ = stream.write_all(format!("{text} {from}").as_bytes());
            }
        });
    }

    /// Answers datagrams with `text` and the sender's address, for ever.
    pub fn serve_udp(&self, address: &str, text: &'static str) {
        let socket = self.run(|| UdpSocket::bind(address).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(format!("{text} {}", from.ip()).as_bytes(), from);
            }
        });
    }

    /// What a TCP server says, or what went wrong.
    pub fn get(&self, address: &str) -> Result<String, std::io::ErrorKind> {
        self.get_within(address, PATIENCE)
    }

    pub fn get_within(&self, address: &str, time: Duration) -> Result<String, std::io::ErrorKind> {
        let address: SocketAddr = address.parse().unwrap();
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&address, time).map_err(|e| e.kind())?;
            stream.set_read_timeout(Some(time)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|e| e.kind())?;
            Ok(text)
        })
    }

    /// What a UDP server answers. The first datagrams may be lost to address resolution.
    pub fn ask(&self, address: &str, time: Duration) -> Result<String, std::io::ErrorKind> {
        self.run(|| {
            let socket = UdpSocket::bind(if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
            ask_from(&socket, address, time)
        })
    }
}

/// What a UDP server answers to this socket.
pub fn ask_from(socket: &UdpSocket, address: &str, time: Duration) -> Result<String, std::io::ErrorKind> {
    socket.set_read_timeout(Some(time.min(Duration::from_millis(200)))).unwrap();
    let end = Instant::now() + time;
    let mut buffer = [0; 64];
    loop {
        socket.send_to(b"?", address).map_err(|e| e.kind())?;
        match socket.recv(&mut buffer) {
            Ok(length) => return Ok(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(error) if Instant::now() >= end => return Err(error.kind()),
            Err(_) => {}
        }
    }
}

/// A machine and its neighbour: 198.51.100.1 and .2, 2001:db8::1 and ::2. The neighbour routes back to nothing of ours.
pub struct Machine {
    pub host: Namespace,
    pub outside: Namespace,
    store: Store,
    _directory: tempfile::TempDir,
}

/// A container: its namespace and endpoint.
pub struct Container {
    pub namespace: Namespace,
    pub endpoint: Endpoint,
}

static NEXT_ID: AtomicU8 = AtomicU8::new(1);

impl Machine {
    pub fn new() -> Self {
        let (host, outside) = (Namespace::new(), Namespace::new());
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&outside.0);
        host.ip(&format!("link add ext0 type veth peer name eth0 netns /proc/{}/fd/{descriptor}", std::process::id()));
        for (namespace, link, host_part) in [(&host, "ext0", 1), (&outside, "eth0", 2)] {
            namespace.ip(&format!("addr add 198.51.100.{host_part}/24 dev {link}"));
            namespace.ip(&format!("addr add 2001:db8::{host_part}/64 dev {link} nodad"));
            namespace.ip(&format!("link set {link} up"));
        }
        host.ip("addr add 192.0.2.1/32 dev lo");
        host.ip("route add default via 198.51.100.2");
        host.ip("-6 route add default via 2001:db8::2");
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        Self { host, outside, store, _directory: directory }
    }

    pub fn open(&self, config: Config) -> Networks {
        self.host.run(|| Networks::open(config, &self.store)).unwrap()
    }

    /// The networks of another daemon on this machine, with a store of its own.
    pub fn open_other(&self, config: Config) -> (Networks, tempfile::TempDir) {
        self.try_open_other(config).unwrap()
    }

    pub fn try_open_other(&self, config: Config) -> rorqual_error::Result<(Networks, tempfile::TempDir)> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        Ok((self.host.run(|| Networks::open(config, &store))?, directory))
    }

    /// Starts a container with these published ports: `(key, host address, host port)`.
    pub fn start(&self, networks: &Networks, ports: &[(&str, &str, &str)]) -> Container {
        let endpoint = self.lease(networks, ports).unwrap();
        let namespace = Namespace::new();
        let messages = self.host.run(|| networks.connect(&endpoint, namespace.0.as_fd())).unwrap();
        namespace.run(|| {
            let mut socket = Socket::open(Netlink::Route).unwrap();
            messages.iter().for_each(|message| socket.raw(message).unwrap());
        });
        self.host.run(|| networks.publish(&endpoint)).unwrap();
        Container { namespace, endpoint }
    }

    pub fn lease(&self, networks: &Networks, ports: &[(&str, &str, &str)]) -> rorqual_error::Result<Endpoint> {
        let ports = ports.iter().map(|(key, ip, port)| PortRequest::from_binding(key, ip, port).unwrap()).collect();
        let container = ContainerId::from_random([NEXT_ID.fetch_add(1, Ordering::Relaxed); 32]);
        self.host.run(|| networks.lease(&EndpointRequest { container, name: "web".into(), mac: None, ports }))
    }

    pub fn release(&self, networks: &Networks, container: &Container) {
        self.host.run(|| networks.release(&container.endpoint.container));
    }

    pub fn shutdown(&self, networks: &Networks) {
        self.host.run(|| networks.shutdown());
    }

    /// Links and rules of ours that are still there.
    pub fn residue(&self) -> String {
        let links = self.host.ip("-o link");
        let ours =
            links.lines().filter(|line| line.contains("veth0") || line.contains("rorqual") || line.contains(": veth"));
        let mut text: String = ours.filter(|line| !line.contains("ext0")).collect::<Vec<_>>().join("\n");
        let rules = self.host.output("nft", "list ruleset");
        text.extend(rules.lines().filter(|line| line.contains("rorqual")));
        text
    }
}

/// Waits until `done`, for what happens in the background.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
