//! The daemon's life: roots, sockets, the engine, signals, reload, and the way out.

use crate::{
    config::{self, Merged, Settings, arguments::Flags},
    listen::Listeners,
    log::{self, Level},
    notify,
    single::{self, DataLock, PidFile},
};
use anyhow::{Context, Result, bail};
use rorqual_api::{About, Api};
use rorqual_engine::{Engine, Reloadable};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::level_filters::LevelFilter;

/// The commit this program was built from, where the build knew it.
pub const COMMIT: Option<&str> = option_env!("RORQUAL_COMMIT");
/// When it was built, where the build knew it.
const BUILT: Option<&str> = option_env!("RORQUAL_BUILT");

/// Threads that carry requests: they wait for the engine and for clients, and compute little.
const WORKERS: usize = 2;
/// Threads for work that blocks: archives, the store, the kernel. They end when idle.
const BLOCKING_THREADS: usize = 64;
/// How long an idle thread for blocking work stays.
const BLOCKING_IDLE: Duration = Duration::from_secs(2);
/// Heaps of the allocator; each keeps free memory of its own.
const HEAPS: i32 = 2;
/// How long requests under way may take once the daemon stops; streams that never end are cut.
const GRACE: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to stop.
pub fn daemon(flags: &Flags, merged: &Merged, settings: Settings) -> Result<()> {
    let level = log::start(settings.level, settings.json_log);
    if !rustix::process::geteuid().is_root() {
        bail!("rorquald needs to be started with root privileges");
    }
    for (option, why) in merged.without_effect() {
        tracing::info!(option, why, "option has no effect here");
    }
    rorqual_linux::memory::limit_heaps(HEAPS);
    raise_descriptors();
    // Files of ours are nobody else's unless a mode says so.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    single::root(&settings.engine.data_root)?;
    single::root(&settings.engine.exec_root)?;
    let _lock = DataLock::take(&settings.engine.data_root)?;
    let _pid = PidFile::create(&settings.pidfile).context("failed to start daemon")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_IDLE)
        .thread_name("rorquald")
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let ended = runtime.block_on(live(flags, settings, &level));
    // Blocking work that hangs must not keep a stopped daemon.
    runtime.shutdown_timeout(GRACE);
    ended
}

/// As many descriptors as the kernel grants: every attached client takes a few.
fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit { current: now.maximum, maximum: now.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}

async fn live(flags: &Flags, settings: Settings, level: &Level) -> Result<()> {
    let mut signals = Signals::catch()?;
    let mut listeners = Listeners::open(&settings).await.context("failed to load listeners")?;
    let engine = Engine::open(settings.engine.clone()).await.context("failed to start daemon")?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let registry = match &settings.registry {
        Some(config) => Some(serve_registry(config, &tasks, &stop).await.context("failed to start the registry")?),
        None => None,
    };
    if let Some(config) = &settings.blob_server {
        let config = rorqual_registry::Config { node: Some(engine.content()), ..config.clone() };
        let server = rorqual_registry::Server::bind(&config).await.context("failed to serve blobs")?;
        tracing::info!(address = %server.address()?, tls = config.tls.is_some(), "blobs are served to other nodes");
        tasks.spawn(server.run(stop.clone()));
    }
    let api = Arc::new(Api::new(engine.clone(), About { registry, ..about(&settings) }));
    listeners.serve(&api, &tasks, &stop);
    rorqual_linux::memory::trim_heap();
    for host in &settings.hosts {
        tracing::info!(%host, "API listen");
    }
    notify::tell(notify::READY);
    loop {
        match signals.next().await {
            Event::Reload => reload(flags, &api, level),
            Event::Stop(name) => {
                tracing::info!(signal = name, "stopping; containers live on");
                break;
            }
        }
    }
    notify::tell(notify::STOPPING);
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::debug!(connections = tasks.len(), "streams still open are cut");
    }
    engine.close().await;
    Ok(())
}

/// Serves a registry until `stop`; returns where.
async fn serve_registry(
    config: &rorqual_registry::Config,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<SocketAddr> {
    let server = rorqual_registry::Server::bind(config).await?;
    let address = server.address()?;
    tracing::info!(%address, tls = config.tls.is_some(), root = %config.root.display(), "registry listens");
    tasks.spawn(server.run(stop.clone()));
    Ok(address)
}

enum Event {
    Reload,
    Stop(&'static str),
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    users: [Signal; 2],
}

impl Signals {
    fn catch() -> Result<Self> {
        let on = |kind| signal(kind).context("handle signals");
        Ok(Self {
            hangup: on(SignalKind::hangup())?,
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            quit: on(SignalKind::quit())?,
            users: [on(SignalKind::user_defined1())?, on(SignalKind::user_defined2())?],
        })
    }

    async fn next(&mut self) -> Event {
        let [first, second] = &mut self.users;
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return Event::Stop("SIGTERM"),
                _ = self.interrupt.recv() => return Event::Stop("SIGINT"),
                _ = self.quit.recv() => return Event::Stop("SIGQUIT"),
                _ = self.hangup.recv() => return Event::Reload,
                // dockerd dumps its stacks on these; without a handler they would end us.
                _ = first.recv() => tracing::info!("SIGUSR1 has no effect here"),
                _ = second.recv() => tracing::info!("SIGUSR2 has no effect here"),
            }
        }
    }
}

/// What the daemon says of itself.
fn about(settings: &Settings) -> About {
    About {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: COMMIT.unwrap_or_default().into(),
        compiler: concat!("rust", env!("CARGO_PKG_RUST_VERSION")).into(),
        built: BUILT.unwrap_or_default().into(),
        experimental: settings.experimental,
        registries: settings.registries.clone(),
        proxies: settings.proxies.clone(),
        registry: None,
    }
}

/// Reads the file again and takes over what can change while the daemon runs; a wrong file changes nothing.
fn reload(flags: &Flags, api: &Api, level: &Level) {
    notify::reloading();
    match config::load(flags).and_then(|merged| Settings::new(&merged)).and_then(|settings| take_over(&settings, api)) {
        Ok(new) => {
            level.set(new);
            tracing::info!("configuration reloaded");
        }
        Err(error) => tracing::error!(error = format!("{error:#}"), "reload refused; nothing was changed"),
    }
    notify::tell(notify::READY);
}

/// Gives the new level of the log.
fn take_over(settings: &Settings, api: &Api) -> Result<LevelFilter> {
    api.engine.system.reload(Reloadable {
        debug: Some(settings.engine.debug),
        labels: Some(settings.engine.labels.clone()),
        runtimes: Some(settings.engine.runtimes.clone()),
        default_runtime: Some(settings.engine.default_runtime.clone()),
        registries: Some(settings.engine.registries.clone()),
        pull_policy: Some(settings.engine.pull_policy.clone()),
        budget: Some(settings.engine.budget.clone()),
        attributes: attributes(settings),
    })?;
    let before = api.about();
    api.set_about(About { experimental: before.experimental, registry: before.registry, ..about(settings) });
    Ok(settings.level)
}

/// What the `daemon reload` event says, as dockerd's does.
fn attributes(settings: &Settings) -> BTreeMap<String, String> {
    let list = |items: &[String]| serde_json::to_string(items).unwrap_or_default();
    let runtimes = settings.engine.runtimes.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
    [
        ("debug", settings.engine.debug.to_string()),
        ("default-ipc-mode", settings.engine.default_ipc_mode.clone()),
        ("default-runtime", settings.engine.default_runtime.clone()),
        ("default-shm-size", settings.engine.default_shm_size.to_string()),
        ("insecure-registries", list(&settings.registries.insecure_registry_cidrs)),
        ("labels", list(&settings.engine.labels)),
        ("live-restore", "true".to_owned()),
        ("name", rustix::system::uname().nodename().to_string_lossy().into_owned()),
        ("registry-mirrors", list(settings.registries.mirrors.as_deref().unwrap_or_default())),
        ("runtimes", runtimes),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
