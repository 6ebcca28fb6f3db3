//! The two threads of the background: one removes what released endpoints leave, one watches the firewall.

use crate::{
    Endpoint, bridge, foreign, limits,
    networks::{Shared, lock},
    sysctl,
};
use rorqual_error::{Context, Result};
use rorqual_netlink::{Protocol, Socket, conntrack, link, socket};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::{
    collections::VecDeque,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

/// The multicast group of changed rule sets, `NFNLGRP_NFTABLES`, as a bit.
const NFTABLES_GROUP: u32 = 1 << (7 - 1);

/// Removes links of released endpoints, and tracked flows that a change of rules made wrong.
#[derive(Debug)]
pub(crate) struct Reaper {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Job {
    /// Remove what is left of it, once there has been time for it to go by itself.
    Bury(Endpoint),
    /// Its UDP ports are open: flows to them that lead elsewhere must end.
    Redirect(Endpoint),
}

impl Reaper {
    pub(crate) fn start() -> Result<Self> {
        let (jobs, queue) = channel();
        let mut route = Socket::open(Protocol::Route).context("open a route netlink socket")?;
        let mut netfilter = Socket::open(Protocol::Netfilter).context("open a netfilter netlink socket")?;
        let work = move || reap_all(&queue, &mut route, &mut netfilter);
        let thread = thread::Builder::new().name("net-reaper".into()).spawn(work).context("start a thread")?;
        Ok(Self { jobs, thread })
    }

    /// Takes over what is left of `endpoint`.
    pub(crate) fn bury(&self, endpoint: Endpoint) {
        // The thread ends after its sender only.
        let _ = self.jobs.send(Job::Bury(endpoint));
    }

    /// Ends flows to the UDP ports of `endpoint` that do not lead there.
    pub(crate) fn redirect(&self, endpoint: Endpoint) {
        let _ = self.jobs.send(Job::Redirect(endpoint));
    }

    /// Waits until all is done.
    pub(crate) fn stop(self) {
        drop(self.jobs);
        let _ = self.thread.join();
    }
}

fn reap_all(queue: &Receiver<Job>, route: &mut Socket, netfilter: &mut Socket) {
    let mut dead: VecDeque<(Instant, Endpoint)> = VecDeque::new();
    loop {
        let next = match dead.front() {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some((due, _)) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok(Job::Bury(endpoint)) => dead.push_back((Instant::now() + limits::LINGER, endpoint)),
            Ok(Job::Redirect(endpoint)) => {
                report(redirect(netfilter, &endpoint), "old UDP flows may miss a published port");
            }
            Err(end) => {
                // A stop does not wait for the rest of the time.
                let ended = end == RecvTimeoutError::Disconnected;
                let now = Instant::now();
                let count = dead.iter().take_while(|(due, _)| ended || *due <= now).count();
                let batch: Vec<Endpoint> = dead.drain(..count).map(|(_, endpoint)| endpoint).collect();
                report(bury(route, netfilter, &batch), "links of stopped containers stay until the next start");
                if ended {
                    return;
                }
            }
        }
    }
}

fn report(outcome: socket::Result<()>, consequence: &str) {
    if let Err(error) = outcome {
        tracing::warn!(%error, consequence, "cleaning up behind the network failed");
    }
}

/// Removes links whose namespace lives on, and flows to what was published.
fn bury(route: &mut Socket, netfilter: &mut Socket, dead: &[Endpoint]) -> socket::Result<()> {
    let mut links = Vec::new();
    for endpoint in dead {
        // The name is of this endpoint alone, for ever.
        links.extend(link::by_name(route, &endpoint.host_link)?.map(|link| link.index));
    }
    bridge::delete_links(route, &links)?;
    // Only UDP needs it: an end of a TCP connection that is gone is noticed, and addresses are not given again soon.
    let publishers: Vec<&Endpoint> = dead.iter().filter(|endpoint| endpoint.has_udp_ports()).collect();
    if publishers.is_empty() || !sysctl::tracks_connections() {
        return Ok(());
    }
    let stale = |flow: &conntrack::Connection| {
        is_udp(flow) && publishers.iter().any(|endpoint| endpoint.has_ip(flow.reply.source))
    };
    conntrack::forget(netfilter, stale).map(drop)
}

/// Ends UDP flows to a published host port that do not lead to this endpoint.
fn redirect(netfilter: &mut Socket, endpoint: &Endpoint) -> socket::Result<()> {
    if !sysctl::tracks_connections() {
        return Ok(());
    }
    let stale = |flow: &conntrack::Connection| {
        let published = endpoint.ports.iter().any(|port| {
            port.protocol.number() == flow.original.protocol
                && port.host_port == flow.original.destination_port
                && (port.host_ip.is_unspecified() || port.host_ip == flow.original.destination)
        });
        is_udp(flow) && published && !endpoint.has_ip(flow.reply.source)
    };
    conntrack::forget(netfilter, stale).map(drop)
}

fn is_udp(flow: &conntrack::Connection) -> bool {
    flow.original.protocol == crate::Protocol::Udp.number()
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
    let settle = Timespec { tv_sec: 0, tv_nsec: limits::SETTLE_MS * 1_000_000 };
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
