//! One engine: its API, its processes, what it costs.

use anyhow::{Context as _, Result, bail, ensure};
use rorqual_testkit::{Answer, Api, Daemon, daemon, images, places};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::net::UnixStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// The image every benchmark runs: the built-in one.
pub(crate) const IMAGE: &str = "rorqual-bench:latest";

/// An engine under measurement.
pub(crate) struct Target {
    /// What it is called in the tables.
    pub(crate) label: String,
    /// Its `DOCKER_HOST`.
    pub(crate) host: String,
    control: Option<String>,
    ours: Option<Daemon>,
}

impl Target {
    /// Connects and loads the image.
    pub(crate) fn new(label: &str, host: &str, control: Option<String>, ours: Option<Daemon>) -> Result<Self> {
        let mut this = Self { label: label.to_owned(), host: host.to_owned(), control, ours };
        if let Some(control) = &this.control {
            Command::new("sh").args(["-c", &format!("{control} start")]).status().context("start the engine")?;
            this.await_ready(Instant::now())?;
        }
        let mut image = images::hello_of(&places::binary("rorqual-hello"));
        image.tags = vec![IMAGE.to_owned()];
        let answer =
            this.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(&image.docker_archive()))?;
        ensure!(answer.text().contains("Loaded"), "{label} does not load the image: {}", answer.text());
        this.clean()?;
        Ok(this)
    }

    /// A connection of one's own.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.host.clone())
    }

    /// The docker client against it, output discarded.
    pub(crate) fn docker(&self, words: &[&str]) -> Result<()> {
        let done = daemon::docker(&self.host, words);
        ensure!(done.code == 0, "docker {words:?}: {done}");
        Ok(())
    }

    /// Calls, and turns an error's answer into an error.
    pub(crate) fn call(api: &mut Api, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let answer = api.try_call(method, path, body).with_context(|| format!("{method} {path}"))?;
        ensure!(answer.status < 400, "{method} {path}: {} {}", answer.status, answer.text());
        Ok(answer)
    }

    /// Creates a container that runs these words of the image's program; gives its id.
    pub(crate) fn create(api: &mut Api, network: &str, words: &[&str]) -> Result<String> {
        let body = json!({"Image": IMAGE, "Cmd": words, "HostConfig": {"NetworkMode": network}, "Labels": {"bench": "1"}, "StopSignal": "KILL"});
        let answer = Self::call(api, "POST", "/containers/create", Some(&body))?;
        Ok(answer.json()["Id"].as_str().context("an id")?.to_owned())
    }

    /// Removes every container that a benchmark made.
    pub(crate) fn clean(&mut self) -> Result<()> {
        let filters = "%7B%22label%22%3A%5B%22bench%3D1%22%5D%7D";
        let list =
            Self::call(&mut self.api(), "GET", &format!("/containers/json?all=1&filters={filters}"), None)?.json();
        let ids: Vec<String> =
            list.as_array().into_iter().flatten().filter_map(|one| Some(one["Id"].as_str()?.to_owned())).collect();
        parallel(
            8,
            ids.len(),
            |api_of, index| {
                Self::call(api_of, "DELETE", &format!("/containers/{}?force=1&v=1", ids[index]), None).map(drop)
            },
            self,
        )?;
        Ok(())
    }

    /// What `/version` says.
    pub(crate) fn version(&self) -> Result<Value> {
        Ok(Self::call(&mut self.api(), "GET", "/version", None)?.json())
    }

    /// The process that listens on the socket.
    pub(crate) fn daemon(&self) -> Result<i32> {
        let path = self.host.strip_prefix("unix://").context("only an engine on a unix socket shows its process")?;
        let stream = UnixStream::connect(path)?;
        Ok(rustix::net::sockopt::socket_peercred(&stream)?.pid.as_raw_nonzero().get())
    }

    /// Every process on the engine's side: all in its mount namespace where it has one of its own, otherwise its
    /// descendants and what calls itself a shim or a monitor; without the containers' own processes.
    pub(crate) fn processes(&self) -> Result<BTreeSet<i32>> {
        let daemon = self.daemon()?;
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let own = namespace(daemon).filter(|name| Some(name) != fs::read_link("/proc/self/ns/mnt").ok().as_ref());
        let (mut parents, mut names) = (BTreeMap::new(), BTreeMap::new());
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
            names.insert(pid, stat[open + 1..close].to_owned());
            let parent = stat[close + 1..].split_whitespace().nth(1).and_then(|word| word.parse().ok());
            parents.insert(pid, parent.unwrap_or(0));
        }
        let mut found = BTreeSet::from([daemon]);
        for (&pid, name) in &names {
            let helper = matches!(name.as_str(), "sleep" | "sh" | "hello" | "rorqual-hello");
            let belongs = match &own {
                Some(own) => namespace(pid).as_ref() == Some(own),
                None => {
                    let mut at = pid;
                    while at > 1 && at != daemon {
                        at = parents.get(&at).copied().unwrap_or(0);
                    }
                    let apart = name.contains("shim") || name == "conmon";
                    (at == daemon || apart) && namespace(pid) == namespace(daemon)
                }
            };
            if belongs && !helper {
                found.insert(pid);
            }
        }
        Ok(found)
    }

    /// Kills time until the API answers; gives seconds from `begin` to the first ping and to the first list.
    pub(crate) fn await_ready(&self, begin: Instant) -> Result<(f64, f64)> {
        let mut ping = None;
        while begin.elapsed() < Duration::from_secs(120) {
            let mut api = self.api();
            if api.try_call("GET", "/_ping", None).is_ok_and(|answer| answer.status == 200) {
                let ping = *ping.get_or_insert_with(|| begin.elapsed().as_secs_f64());
                if api.try_call("GET", "/containers/json?all=1", None).is_ok_and(|answer| answer.status == 200) {
                    return Ok((ping, begin.elapsed().as_secs_f64()));
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        bail!("{} is not ready after two minutes", self.label)
    }

    /// Stops the engine and starts it again; gives the seconds until it answered. Containers live on where it can.
    pub(crate) fn restart(&mut self, keep_containers: bool) -> Result<(f64, f64)> {
        if let Some(daemon) = &mut self.ours {
            daemon.stop();
            let begin = daemon.spawn();
            return self.await_ready(begin);
        }
        let control = self.control.clone().with_context(|| format!("{} has no --ctl", self.label))?;
        let run = |verb: &str| -> Result<i32> {
            Ok(Command::new("sh").args(["-c", &format!("{control} {verb}")]).status()?.code().unwrap_or(1))
        };
        run("stop")?;
        let mut begin = Instant::now();
        if keep_containers {
            if run("start live-restore")? == 3 {
                begin = Instant::now();
                run("start")?;
            }
        } else {
            run("start")?;
        }
        self.await_ready(begin)
    }
}

/// Runs `work` for 0..`count` on `width` threads, each with a connection of its own; gives the seconds it took.
pub(crate) fn parallel(
    width: usize,
    count: usize,
    work: impl Fn(&mut Api, usize) -> Result<()> + Sync,
    target: &Target,
) -> Result<f64> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let begin = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..width)
            .map(|_| {
                scope.spawn(|| {
                    let mut api = target.api();
                    loop {
                        let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if index >= count {
                            return Ok(());
                        }
                        work(&mut api, index)?;
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no worker panics")).collect::<Result<Vec<()>>>()
    })?;
    Ok(begin.elapsed().as_secs_f64())
}
