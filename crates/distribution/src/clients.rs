//! HTTP clients, one per origin: each host has its own certificates, and keeps its own connections.

use crate::{
    config::Proxies,
    limits,
    origin::{Origin, is_link},
    tls::Trust,
};
use reqwest::{
    Client, NoProxy, Proxy,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use rorqual_error::{Context, Error, Result};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Who has sent us to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sender {
    /// The user, by name or by configuration.
    User,
    /// A registry, by a redirect, a location or a realm: no link-local address is connected to.
    Registry,
}

/// The clients that were needed so far.
pub(crate) struct Clients {
    trust: Arc<Trust>,
    proxies: Proxies,
    user_agent: String,
    made: Mutex<HashMap<(Origin, Sender), Client>>,
}

impl Clients {
    pub(crate) fn new(trust: Arc<Trust>, proxies: Proxies, user_agent: String) -> Result<Self> {
        let clients = Self { trust, proxies, user_agent, made: Mutex::default() };
        clients.proxies()?;
        Ok(clients)
    }

    /// The client for `origin`; cheap after the first time.
    pub(crate) async fn get(&self, origin: &Origin, sender: Sender) -> Result<Client> {
        let key = (origin.clone(), sender);
        if let Some(client) = self.made().get(&key) {
            return Ok(client.clone());
        }
        let (trust, for_origin) = (self.trust.clone(), origin.clone());
        let tls = tokio::task::spawn_blocking(move || trust.config(&for_origin)).await.context("set up TLS")??;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            // Also where another crate of the program turns these on: bytes are verified as they are stored.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .no_proxy()
            .user_agent(&self.user_agent)
            .connect_timeout(limits::CONNECT_DEADLINE)
            .pool_idle_timeout(limits::IDLE_DEADLINE)
            .pool_max_idle_per_host(limits::IDLE_CONNECTIONS_MAX)
            .http2_initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
            .tcp_nodelay(true);
        if sender == Sender::Registry {
            builder = builder.dns_resolver(NotLinkLocal);
        }
        if !is_loopback(origin) {
            for proxy in self.proxies()? {
                builder = builder.proxy(proxy);
            }
        }
        let client = builder.build().context("set up an HTTP client")?;
        let mut made = self.made();
        if made.len() >= limits::HOSTS_MAX {
            // Hosts that are still used come back at once; forgetting all is simpler than ranking them.
            made.clear();
        }
        Ok(made.entry(key).or_insert(client).clone())
    }

    fn made(&self) -> std::sync::MutexGuard<'_, HashMap<(Origin, Sender), Client>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proxies(&self) -> Result<Vec<Proxy>> {
        let direct = NoProxy::from_string(&self.proxies.no_proxy);
        let mut made = Vec::new();
        for (url, https) in [(&self.proxies.http_proxy, false), (&self.proxies.https_proxy, true)] {
            if url.is_empty() {
                continue;
            }
            let proxy = if https { Proxy::https(url) } else { Proxy::http(url) };
            // The address may hold a password: it is not shown.
            let proxy = proxy.map_err(|_| Error::invalid("invalid proxy: not a valid URI"))?;
            made.push(proxy.no_proxy(direct.clone()));
        }
        Ok(made)
    }
}

fn is_loopback(origin: &Origin) -> bool {
    origin.host() == "localhost" || crate::config::literal(origin.host()).is_some_and(|address| address.is_loopback())
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

/// The system's resolver without link-local answers: a name in a redirect may point at a cloud's metadata service.
struct NotLinkLocal;

impl Resolve for NotLinkLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| !is_link(address.ip())).collect();
            if allowed.is_empty() {
                return Err(
                    format!("{} has link-local addresses only: refused", crate::answer::clip(name.as_str())).into()
                );
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
