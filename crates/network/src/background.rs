//! The two threads of the background: one removes what released endpoints leave, one watches the firewall.

use crate::{
    Endpoint, foreign,
    networks::{Shared, lock},
};
use rorqual_error::{Context, Result};
use rorqual_netlink::{Protocol, Socket, conntrack, link, socket};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::{
    net::IpAddr,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long released endpoints gather. The kernel removes a link by itself with the namespace of its other end, in
/// batches and off everybody's path (5 to 140 ms); what is there after this has a namespace that lives on.
const GATHER: Duration = Duration::from_millis(300);
/// How long changes of rule sets gather before ours is compared: others reload theirs in many transactions.
const SETTLE_MS: i64 = 100;
/// The multicast group of changed rule sets, `NFNLGRP_NFTABLES`, as a bit.
const NFTABLES_GROUP: u32 = 1 << (7 - 1);

/// Removes links and tracked connections of released endpoints.
#[derive(Debug)]
pub(crate) struct Reaper {
    dead: Sender<Endpoint>,
    thread: JoinHandle<()>,
}

impl Reaper {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self> {
        let (dead, queue) = channel();
        let work = move || reap_all(&shared, &queue);
        let thread = thread::Builder::new().name("net-reaper".into()).spawn(work).context("start a thread")?;
        Ok(Self { dead, thread })
    }

    /// Takes over what is left of `endpoint`.
    pub(crate) fn bury(&self, endpoint: Endpoint) {
        // The thread ends after its sender only.
        let _ = self.dead.send(endpoint);
    }

    /// Waits until all is removed.
    pub(crate) fn stop(self) {
        drop(self.dead);
        let _ = self.thread.join();
    }
}

fn reap_all(shared: &Shared, queue: &Receiver<Endpoint>) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        let ended = loop {
            // A stop does not wait for the rest of the time.
            match queue.recv_timeout(GATHER) {
                Ok(next) => batch.push(next),
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => break true,
            }
            if batch.len() >= 256 {
                break false;
            }
        };
        if let Err(error) = reap(shared, &batch) {
            tracing::warn!(%error, "links of stopped containers stay until the next start");
        }
        if ended {
            return;
        }
    }
}

fn reap(shared: &Shared, batch: &[Endpoint]) -> socket::Result<()> {
    {
        let state = lock(&shared.state);
        let mut route = lock(&shared.route);
        for endpoint in batch.iter().filter(|endpoint| !state.has_link(&endpoint.host_link)) {
            if let Some(link) = link::by_name(&mut route, &endpoint.host_link)? {
                match route.request(link::delete(link.index)) {
                    Err(failure) if failure.errno != Errno::NODEV => return Err(failure),
                    _ => {}
                }
            }
        }
    }
    let gone: Vec<IpAddr> = {
        let state = lock(&shared.state);
        let v4 = batch.iter().filter_map(|endpoint| endpoint.ipv4).map(|net| IpAddr::V4(net.addr()));
        let v6 = batch.iter().filter_map(|endpoint| endpoint.ipv6).map(|net| IpAddr::V6(net.addr()));
        v4.chain(v6).filter(|ip| !state.has(*ip)).collect()
    };
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let stale = |c: &conntrack::Connection| gone.contains(&c.original.source) || gone.contains(&c.reply.source);
    conntrack::forget(&mut socket, stale).map(drop)
}

/// Watches for changes of rule sets by others, and puts ours right.
#[derive(Debug)]
pub(crate) struct Monitor {
    stop: UnixStream,
    thread: JoinHandle<()>,
}

impl Monitor {
    pub(crate) fn start(shared: Arc<Shared>, enabled: bool) -> Result<Self> {
        let (stop, stopped) = UnixStream::pair().context("make a socket pair")?;
        let mut events = Socket::open_group(Protocol::Netfilter, NFTABLES_GROUP).context("watch the firewall")?;
        let work = move || {
            if enabled && let Err(error) = watch(&shared, &mut events, &stopped) {
                tracing::error!(%error, "the firewall is no longer watched");
            }
        };
        let thread = thread::Builder::new().name("net-monitor".into()).spawn(work).context("start a thread")?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// Until `stopped` hangs up.
fn watch(shared: &Shared, events: &mut Socket, stopped: &UnixStream) -> socket::Result<()> {
    let settle = Timespec { tv_sec: 0, tv_nsec: SETTLE_MS * 1_000_000 };
    // What changed before we watched.
    let mut changed = true;
    loop {
        let timeout = changed.then_some(&settle);
        let mut fds = [PollFd::new(&*events, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        let ready = match poll(&mut fds, timeout) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if !fds[1].revents().is_empty() {
            return Ok(());
        }
        if ready > 0 {
            changed |= events.changed_by_another()?;
        } else if changed {
            changed = false;
            if let Err(error) = repair(shared) {
                tracing::warn!(%error, "the firewall could not be put right; the next change tries again");
            }
        }
    }
}

fn repair(shared: &Shared) -> socket::Result<()> {
    let mut firewall = lock(&shared.firewall);
    if !firewall.is_whole()? {
        tracing::warn!("another program changed our firewall table; it is made again");
        firewall.render()?;
    }
    if foreign::ensure(&mut firewall.socket, &shared.bridge)? {
        tracing::info!(bridge = %shared.bridge, "adapted to the host's FORWARD policy");
    }
    Ok(())
}
