//! Where clients connect: unix sockets, tcp, and sockets that systemd hands over.

use crate::{config::Settings, identity, tls};
use anyhow::{Context, Result, anyhow, bail};
use rorqual_api::{Api, Peer, Peers, Unread, limits, refuse, serve};
use rustix::{
    fs::{AtFlags, Mode, chmodat, chownat},
    process::Gid,
};
use std::{
    env, fmt, fs,
    io::ErrorKind,
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// TLS handshakes under way at once.
const HANDSHAKES: usize = 1024;
/// How long a TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait after an accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A path.
    Unix(PathBuf),
    /// A host and a port; zero stands for the default port until it is known whether there is TLS.
    Tcp(String, u16),
    /// Sockets of systemd: all, or one by number or name.
    Fd(String),
}

impl Address {
    /// Reads what `-H` takes; the error is in dockerd's words.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix("/var/run/docker.sock".into())),
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => bail!("invalid bind address ({text}): the path must be absolute"),
            "fd" => Ok(Self::Fd(rest.to_owned())),
            "tcp" => {
                let rest = rest.trim_end_matches('/');
                let (host, port) = match rest.rsplit_once(':') {
                    Some((host, port)) if !port.contains(']') => (host, port),
                    _ => (rest, ""),
                };
                let port = match port {
                    "" => 0,
                    port => port.parse().map_err(|_| anyhow!("invalid bind address ({text}): invalid port {port}"))?,
                };
                let host = host.trim_start_matches('[').trim_end_matches(']');
                if host.contains(['/', '?', '@']) {
                    bail!("invalid bind address ({text}): should not contain a path or user");
                }
                Ok(Self::Tcp(if host.is_empty() { "localhost" } else { host }.to_owned(), port))
            }
            other => bail!("invalid bind address ({text}): unsupported proto '{other}'"),
        }
    }

    /// With this port where none was given.
    #[must_use]
    pub fn or_port(self, port: u16) -> Self {
        match self {
            Self::Tcp(host, 0) => Self::Tcp(host, port),
            other => other,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp://{host}:{port}"),
            Self::Fd(name) => write!(f, "fd://{name}"),
        }
    }
}

/// One open socket.
#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, Arc<Handshakes>),
}

struct Handshakes {
    acceptor: TlsAcceptor,
    slots: Arc<Semaphore>,
}

impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshakes")
    }
}

/// All open sockets. Dropping them removes the unix sockets' files.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<Listener>,
    files: Vec<PathBuf>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for path in &self.files {
            let _ = fs::remove_file(path);
        }
    }
}

impl Listeners {
    /// Opens every socket of `settings`. Must be called before other threads create files: it sets the umask.
    pub async fn open(settings: &Settings) -> Result<Self> {
        let mut all = Self { listeners: Vec::new(), files: Vec::new() };
        let handshakes = match &settings.tls {
            Some(tls) => {
                let acceptor = TlsAcceptor::from(Arc::new(tls::server(tls).context("invalid TLS configuration")?));
                Some(Arc::new(Handshakes { acceptor, slots: Arc::new(Semaphore::new(HANDSHAKES)) }))
            }
            None => None,
        };
        let mut inherited = inherited(settings)?;
        for host in &settings.hosts {
            match host {
                Address::Unix(path) => {
                    let listener = unix(path)?;
                    all.files.push(path.clone());
                    hand_over(path, settings)?;
                    all.listeners.push(Listener::Unix(listener));
                }
                Address::Tcp(name, port) => {
                    for listener in tcp(name, *port, settings).await.with_context(|| format!("listen on {host}"))? {
                        all.listeners.push(secured(listener, handshakes.as_ref()));
                    }
                }
                Address::Fd(name) => {
                    for fd in chosen(&mut inherited, name)? {
                        all.listeners.push(adopted(fd, handshakes.as_ref(), settings)?);
                    }
                }
            }
        }
        Ok(all)
    }

    /// Serves every connection until `stop`; each is a task of `tasks`.
    pub fn serve(&mut self, api: &Arc<Api>, tasks: &TaskTracker, stop: &CancellationToken) {
        let peers = Peers::default();
        for listener in self.listeners.drain(..) {
            let server = Server { api: api.clone(), tasks: tasks.clone(), stop: stop.clone(), peers: peers.clone() };
            tasks.spawn(server.accept_all(listener));
        }
    }
}

fn secured(listener: TcpListener, handshakes: Option<&Arc<Handshakes>>) -> Listener {
    match handshakes {
        Some(handshakes) => Listener::Tls(listener, handshakes.clone()),
        None => Listener::Tcp(listener),
    }
}

/// Opens a unix socket that nobody may connect to yet; a file left by a dead daemon is removed.
fn unix(path: &Path) -> Result<UnixListener> {
    clear(path)?;
    let umask = rustix::process::umask(Mode::from_raw_mode(0o777));
    let bound = UnixListener::bind(path).with_context(|| format!("listen on unix://{}", path.display()));
    rustix::process::umask(umask);
    bound
}

/// Gives a unix socket to its group: mode 0660.
fn hand_over(path: &Path, settings: &Settings) -> Result<()> {
    let (group, asked) = (&settings.group.0, settings.group.1);
    let owner = match identity::group(group) {
        Ok(Some(number)) => Some(Gid::from_raw(number)),
        Ok(None) | Err(_) if !asked => {
            tracing::warn!(path = %path.display(), group, "group not found; the socket belongs to root alone");
            None
        }
        Ok(None) => bail!("group {group} not found"),
        Err(error) => return Err(error).context("look up the group of the socket"),
    };
    let here = rustix::fs::CWD;
    chownat(here, path, None, owner, AtFlags::SYMLINK_NOFOLLOW).context("set the group of the socket")?;
    chmodat(here, path, Mode::from_raw_mode(0o660), AtFlags::empty()).context("set the mode of the socket")
}

/// Removes a socket nobody listens on.
fn clear(path: &Path) -> Result<()> {
    let shown = path.display();
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look at {shown}")),
    };
    if !kind.is_socket() {
        bail!("{shown} exists and is not a socket; remove it or listen elsewhere with --host");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => bail!(
            "another daemon is listening on {shown}; stop it (`systemctl stop docker.socket docker`) or listen elsewhere \
             with --host unix:///path"
        ),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("remove the stale socket {shown}"))
        }
        Err(error) => Err(error).with_context(|| format!("find out whether a daemon listens on {shown}")),
    }
}

/// Opens tcp sockets on every address of a name.
async fn tcp(name: &str, port: u16, settings: &Settings) -> Result<Vec<TcpListener>> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name, port)).await?.collect();
    let mut listeners = Vec::new();
    let mut last = None;
    for address in addresses {
        check_secure(address, settings)?;
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // `localhost` may name an address this machine does not have.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match last {
        Some(error) if listeners.is_empty() => Err(error.into()),
        _ => Ok(listeners),
    }
}

/// Refuses tcp without TLS where others reach it, unless it was asked for twice.
fn check_secure(address: SocketAddr, settings: &Settings) -> Result<()> {
    let local = address.ip().is_loopback();
    if settings.tls.is_some() || local {
        return Ok(());
    }
    if settings.insecure_tcp {
        tracing::warn!(%address, "API without TLS: whoever reaches this port is root on this host");
        return Ok(());
    }
    bail!(
        "binding to {address} without TLS gives root on this host to whoever reaches it: use --tlsverify with --tlscacert, \
         --tlscert and --tlskey; to do it all the same, set both --tls=false and --allow-insecure-tcp"
    )
}

/// The sockets of systemd, with their names, where any host asks for them.
fn inherited(settings: &Settings) -> Result<Vec<(String, OwnedFd)>> {
    if !settings.hosts.iter().any(|host| matches!(host, Address::Fd(_))) {
        return Ok(Vec::new());
    }
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        bail!("no sockets found via socket activation: make sure the service was started by systemd");
    }
    let count = number("LISTEN_FDS").unwrap_or_default();
    let fds = rorqual_linux::inherit::sockets(count).context("take the sockets of systemd")?;
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    Ok(fds.into_iter().map(|fd| (names.next().unwrap_or_default(), fd)).collect())
}

/// The sockets that `fd://name` means: all for `fd://` and `fd://*`.
fn chosen(inherited: &mut Vec<(String, OwnedFd)>, name: &str) -> Result<Vec<OwnedFd>> {
    let fds: Vec<OwnedFd> = if matches!(name, "" | "*") {
        inherited.drain(..).map(|(_, fd)| fd).collect()
    } else {
        let place = match name.parse::<usize>() {
            Ok(number) => number.checked_sub(3).filter(|index| *index < inherited.len()),
            Err(_) => inherited.iter().position(|(known, _)| known == name),
        };
        place.map(|index| inherited.remove(index).1).into_iter().collect()
    };
    if fds.is_empty() {
        bail!("no sockets found via socket activation for fd://{name}");
    }
    Ok(fds)
}

/// A listener on a socket of systemd.
fn adopted(fd: OwnedFd, handshakes: Option<&Arc<Handshakes>>, settings: &Settings) -> Result<Listener> {
    let family = rustix::net::sockopt::socket_domain(&fd).context("a descriptor of systemd is no socket")?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    if family == rustix::net::AddressFamily::UNIX {
        let listener = std::os::unix::net::UnixListener::from(fd);
        return Ok(Listener::Unix(UnixListener::from_std(listener)?));
    }
    let listener = TcpListener::from_std(std::net::TcpListener::from(fd))?;
    check_secure(listener.local_addr()?, settings)?;
    Ok(secured(listener, handshakes))
}

/// Accepts on one socket.
struct Server {
    api: Arc<Api>,
    tasks: TaskTracker,
    stop: CancellationToken,
    peers: Peers,
}

impl Server {
    async fn accept_all(self, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = self.accept(&listener) => accepted,
            };
            if let Err(error) = accepted {
                // One connection that ended early is nothing; no descriptors or memory heals with time.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    async fn accept(&self, listener: &Listener) -> std::io::Result<()> {
        match listener {
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                self.unix(stream);
            }
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                self.tcp(stream, address, None);
            }
            Listener::Tls(listener, handshakes) => {
                let (stream, address) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                self.tcp(stream, address, Some(handshakes.clone()));
            }
        }
        Ok(())
    }

    fn unix(&self, stream: UnixStream) {
        let credentials = stream.peer_cred().ok();
        let pid = credentials.and_then(|peer| peer.pid()).unwrap_or_default();
        let uid = credentials.map_or(u32::MAX, |peer| peer.uid());
        let Some(admitted) = self.peers.admit(Peer::Process { pid, uid }) else {
            self.tasks.spawn(refuse(stream));
            return;
        };
        let (api, stop) = (self.api.clone(), self.stop.clone());
        // Without a descriptor of its own the question is not asked.
        let socket = stream.as_fd().try_clone_to_owned().ok();
        let unread =
            socket.map(|socket| Unread::new(move || rorqual_linux::socket::unread(socket.as_fd()).unwrap_or_default()));
        self.tasks.spawn(async move {
            let _admitted = admitted;
            serve(api, stream, unread, stop).await;
        });
    }

    fn tcp(&self, stream: TcpStream, address: SocketAddr, handshakes: Option<Arc<Handshakes>>) {
        let Some(admitted) = self.peers.admit(Peer::Address(address.ip())) else {
            tracing::debug!(%address, limit = limits::CONNECTIONS_PER_PEER, "too many connections");
            self.tasks.spawn(refuse(stream));
            return;
        };
        let (api, stop) = (self.api.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let _admitted = admitted;
            let Some(handshakes) = handshakes else { return serve(api, stream, None, stop).await };
            let Ok(_slot) = handshakes.slots.try_acquire() else { return };
            let accepted = tokio::time::timeout(HANDSHAKE_DEADLINE, handshakes.acceptor.accept(stream)).await;
            drop(_slot);
            match accepted {
                Ok(Ok(stream)) => serve(api, stream, None, stop).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_dockerd_reads_them() {
        for (text, wanted) in [
            ("unix://", "unix:///var/run/docker.sock"),
            ("unix:///a/b", "unix:///a/b"),
            ("tcp://127.0.0.1:80", "tcp://127.0.0.1:80"),
            ("tcp://", "tcp://localhost:2375"),
            ("tcp://:5", "tcp://localhost:5"),
            ("tcp://[::1]:5/", "tcp://[::1]:5"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("0.0.0.0:2375", "tcp://0.0.0.0:2375"),
            ("fd://", "fd://"),
            ("fd://name", "fd://name"),
        ] {
            assert_eq!(Address::parse(text).unwrap().or_port(2375).to_string(), wanted, "{text}");
        }
        for bad in ["foo://x", "unix://relative", "tcp://a:b", "tcp://a:99999", "tcp://u@h:1"] {
            let error = Address::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid bind address ({bad})")), "{error}");
        }
    }

    #[test]
    fn a_stale_socket_is_cleared_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        clear(&path).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(clear(&path).unwrap_err().to_string().starts_with("another daemon is listening on"));
        drop(listener);
        clear(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(clear(&path).unwrap_err().to_string().contains("is not a socket"));
    }
}
