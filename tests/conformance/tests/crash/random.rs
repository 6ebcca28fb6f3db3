//! Kills at random moments of create, start, exec, stop, remove and load.

use crate::{
    consecutive,
    ledger::{Kind, Ledger, Truth},
    small_image, start,
};
use rorqual_testkit::{Api, Daemon, Options};
use serde_json::json;
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Numbers that look random and can be had again.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // xorshift: small, and enough to scatter kills
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What a worker shares with the one who kills.
struct Shared {
    ledger: Ledger,
    stop: AtomicBool,
    /// Requests sent and not answered.
    in_flight: AtomicU32,
    next: AtomicU64,
    done: AtomicU64,
}

/// One request; the error is that the daemon died.
fn ask(shared: &Shared, api: &mut Api, method: &str, path: &str, body: Option<serde_json::Value>) -> io::Result<u16> {
    shared.in_flight.fetch_add(1, Ordering::SeqCst);
    let answer = api.try_call(method, path, body.as_ref());
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    shared.done.fetch_add(1, Ordering::Relaxed);
    answer.map(|answer| answer.status)
}

/// The life of one container, every answer written down.
fn one_container(shared: &Shared, api: &mut Api, name: &str, dice: &mut Dice) -> io::Result<()> {
    let ledger = &shared.ledger;
    let removes_itself = dice.roll(4) == 0;
    let network = if dice.roll(2) == 0 { "none" } else { "bridge" };
    ledger.set(Kind::Container, name, Truth::Unknown);
    let command = if removes_itself { json!(["sleep", "0.02"]) } else { json!(["sleep", "100"]) };
    let host = json!({"NetworkMode": network, "AutoRemove": removes_itself, "Binds": [format!("{name}-v:/v")]});
    let body = json!({"Image": "hello", "Cmd": command, "HostConfig": host, "StopSignal": "KILL"});
    ledger.set(Kind::Volume, &format!("{name}-v"), Truth::Unknown);
    let status = ask(shared, api, "POST", &format!("/containers/create?name={name}"), Some(body))?;
    assert_eq!(status, 201, "create of {name}");
    ledger.set(Kind::Container, name, if removes_itself { Truth::Unknown } else { Truth::Present });
    ledger.set(Kind::Volume, &format!("{name}-v"), Truth::Present);
    let status = ask(shared, api, "POST", &format!("/containers/{name}/start"), None)?;
    assert!(matches!(status, 204 | 304), "start of {name}: {status}");
    if removes_itself {
        return Ok(());
    }
    let exec = json!({"Cmd": ["/hello", "echo", "x"]});
    if let Ok(answer) = api.try_call("POST", &format!("/containers/{name}/exec"), Some(&exec)) {
        let id = answer.json()["Id"].as_str().unwrap_or_default().to_owned();
        ask(shared, api, "POST", &format!("/exec/{id}/start"), Some(json!({"Detach": true})))?;
    }
    if dice.roll(2) == 0 {
        ask(shared, api, "POST", &format!("/containers/{name}/stop?t=1"), None)?;
        ask(shared, api, "POST", &format!("/containers/{name}/start"), None)?;
    }
    if dice.roll(3) > 0 {
        ledger.set(Kind::Container, name, Truth::Unknown);
        let status = ask(shared, api, "DELETE", &format!("/containers/{name}?force=1"), None)?;
        assert_eq!(status, 204, "removal of {name}");
        ledger.set(Kind::Container, name, Truth::Absent);
        ledger.set(Kind::Volume, &format!("{name}-v"), Truth::Unknown);
        let status = ask(shared, api, "DELETE", &format!("/volumes/{name}-v"), None)?;
        assert_eq!(status, 204, "removal of the volume of {name}");
        ledger.set(Kind::Volume, &format!("{name}-v"), Truth::Absent);
    }
    Ok(())
}

/// The life of one image.
fn one_image(shared: &Shared, api: &mut Api, tag: &str, dice: &mut Dice) -> io::Result<()> {
    let ledger = &shared.ledger;
    ledger.set(Kind::Image, tag, Truth::Unknown);
    shared.in_flight.fetch_add(1, Ordering::SeqCst);
    let answer = api.send("POST", "/images/load?quiet=1", "application/x-tar", Some(&small_image(tag)));
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    if !answer?.text().contains("Loaded image") {
        return Ok(());
    }
    ledger.set(Kind::Image, tag, Truth::Present);
    if dice.roll(2) == 0 {
        ledger.set(Kind::Image, tag, Truth::Unknown);
        if ask(shared, api, "DELETE", &format!("/images/{tag}"), None)? == 200 {
            ledger.set(Kind::Image, tag, Truth::Absent);
        }
    }
    Ok(())
}

fn work(shared: &Shared, host: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut api = Api::new(host);
    api.timeout = Duration::from_secs(20);
    while !shared.stop.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let outcome = if dice.roll(5) == 0 {
            one_image(shared, &mut api, &format!("crash-{number}:latest"), &mut dice)
        } else {
            one_container(shared, &mut api, &format!("crash-{number}"), &mut dice)
        };
        if outcome.is_err() {
            return;
        }
    }
}

/// Containers that must not notice anything.
struct Witnesses {
    counters: Vec<(String, i64)>,
}

impl Witnesses {
    fn start(daemon: &Daemon) -> Self {
        let counters = ["none", "bridge", "host"].map(|network| {
            let name = format!("witness-{network}");
            daemon.docker(["run", "-d", "--network", network, "--name", &name, "hello", "count", "3"]).ok();
            let pid = daemon.api().get(&format!("/containers/{name}/json"))["State"]["Pid"].as_i64().expect("a pid");
            (name, pid)
        });
        let port =
            ["run", "-d", "--name", "witness-port", "-p", "8300:80", "hello", "http", "listen", "0.0.0.0:80", "served"];
        daemon.docker(port).ok();
        Self { counters: counters.into() }
    }

    /// Published ports work whether the daemon lives or not.
    fn served(daemon: &Daemon) {
        let netns = daemon.netns.as_ref().expect("a network");
        for (from, url) in [("outside", "http://198.51.100.1:8300/"), ("inside", "http://127.0.0.1:8300/")] {
            let line = format!("curl -s -m 3 --retry 2 --retry-connrefused {url}");
            let done = if from == "outside" { netns.outside(&line) } else { netns.inside(&line) };
            assert_eq!(done.stdout, "served /\n", "{from}: {done}");
        }
    }

    /// The same processes run.
    fn unharmed(&self, daemon: &Daemon) {
        for (name, pid) in &self.counters {
            let state = &daemon.api().get(&format!("/containers/{name}/json"))["State"];
            assert_eq!(
                (state["Running"].as_bool(), state["Pid"].as_i64()),
                (Some(true), Some(*pid)),
                "{name}: {state}"
            );
        }
    }

    /// No line is lost or doubled.
    fn check_logs(&self, daemon: &Daemon) {
        for (name, _) in &self.counters {
            daemon.docker(["stop", "-t", "0", name]).ok();
            let lines = consecutive(&daemon.docker(["logs", name]).ok());
            assert!(lines > 100, "{name} counted to {lines} only");
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_half_done_stays() {
    let kills: u64 = std::env::var("RORQUAL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let clock =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.subsec_nanos().into());
    let seed: u64 = std::env::var("RORQUAL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(clock);
    println!("RORQUAL_SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut daemon = start("kill", Options::default());
    let witnesses = Witnesses::start(&daemon);
    let shared = Shared {
        ledger: Ledger::default(),
        stop: AtomicBool::new(false),
        in_flight: AtomicU32::new(0),
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
    };
    let mut hit = 0;
    for kill in 0..kills {
        shared.stop.store(false, Ordering::Relaxed);
        let host = daemon.host();
        let seeds: Vec<u64> = (0..3).map(|_| dice.roll(u64::MAX)).collect();
        let delay = Duration::from_micros(dice.roll(120_000));
        let moment = dice.roll(3000);
        thread::scope(|scope| {
            for seed in seeds {
                let (shared, host) = (&shared, &host);
                scope.spawn(move || work(shared, host, seed));
            }
            thread::sleep(delay);
            // a few kills wherever they fall, most a moment after some request was sent
            let end = Instant::now() + Duration::from_secs(2);
            while kill % 4 != 0 && shared.in_flight.load(Ordering::SeqCst) == 0 && Instant::now() < end {
                std::hint::spin_loop();
            }
            thread::sleep(Duration::from_micros(moment));
            hit += u64::from(shared.in_flight.load(Ordering::SeqCst) > 0);
            daemon.kill();
            shared.stop.store(true, Ordering::Relaxed);
            Witnesses::served(&daemon);
        });
        daemon.boot();
        witnesses.unharmed(&daemon);
        Witnesses::served(&daemon);
        let left = daemon.leftovers();
        assert!(left.is_empty(), "after kill {kill} of {kills}, seed {seed}: {left:#?}");
        let wrong = shared.ledger.compare(&daemon);
        assert!(wrong.is_empty(), "after kill {kill} of {kills}, seed {seed}: {wrong:#?}");
    }
    println!(
        "{kills} kills, {hit} with a request in flight; {} requests, {} names",
        shared.done.load(Ordering::Relaxed),
        shared.ledger.len()
    );
    assert!(hit * 2 >= kills, "only {hit} of {kills} kills hit a request in flight");
    witnesses.check_logs(&daemon);
    daemon.finish();
}

/// What ends while the daemon is away is reported, with its code, when it is back.
#[test]
fn exits_that_nobody_saw_are_reported() {
    let mut daemon = start("away", Options::default());
    daemon.docker(["run", "-d", "--name", "aa", "hello", "trap", "--exit", "7"]).ok();
    // they end before, at and after the kill
    let short: Vec<String> = (0..10).map(|number| format!("bb{number}")).collect();
    for name in &short {
        daemon.docker(["run", "-d", "--name", name, "--rm", "busybox", "sh", "-c", "sleep 1; exit 9"]).ok();
    }
    daemon
        .docker(["run", "-d", "--name", "cc", "--restart", "always", "busybox", "sh", "-c", "sleep 0.5; echo again"])
        .ok();
    daemon
        .docker(["run", "-d", "--name", "dd", "busybox", "sh", "-c", "echo before; sleep 0.5; echo after; exit 5"])
        .ok();
    let pid = daemon.api().get("/containers/aa/json")["State"]["Pid"].as_i64().expect("a pid");
    rorqual_testkit::command::wait_for("the trap", || {
        daemon.docker(["logs", "aa"]).stdout.contains("ready").then_some(())
    });
    daemon.kill();
    rorqual_testkit::shell(&format!("kill -TERM {pid}; sleep 1.5")).ok();
    daemon.boot();
    for (name, code) in [("aa", 7), ("dd", 5)] {
        let state = rorqual_testkit::command::wait_for("its exit", || {
            let state = daemon.api().get(&format!("/containers/{name}/json"))["State"].clone();
            (state["Status"] == "exited").then_some(state)
        });
        assert_eq!(state["ExitCode"].as_i64(), Some(code), "{name}: {state}");
        let finished = state["FinishedAt"].as_str();
        assert!(finished > Some("2020") && finished < Some("2100"), "{name}: {state}");
    }
    assert_eq!(daemon.docker(["logs", "dd"]).ok(), "before\nafter\n");
    assert_eq!(daemon.docker(["wait", "aa"]).ok(), "7\n");
    for name in short {
        rorqual_testkit::command::wait_for(&format!("removal of {name}"), || {
            (daemon.api().call("GET", &format!("/containers/{name}/json"), None).status == 404).then_some(())
        });
    }
    rorqual_testkit::command::wait_for("the restart of c", || {
        (daemon.docker(["logs", "cc"]).stdout.lines().count() >= 2).then_some(())
    });
    daemon.finish();
}

/// Losing the daemon is not the end of input: a later attach reads and writes again.
#[test]
fn standard_input_survives_the_daemon() {
    let mut daemon = start("stdin", Options::default());
    daemon.docker(["run", "-d", "-i", "--name", "cat", "busybox", "cat"]).ok();
    for round in 0..3 {
        let line = format!("round {round}\n");
        let mut command = rorqual_testkit::daemon::docker_command(&daemon.host());
        command.args(["attach", "--sig-proxy=false", "cat"]);
        rorqual_testkit::command::finish(&mut command, line.as_bytes(), Duration::from_secs(1));
        rorqual_testkit::command::wait_for("the echo", || {
            daemon.docker(["logs", "cat"]).stdout.ends_with(&line).then_some(())
        });
        daemon.crash();
        let state = daemon.api().get("/containers/cat/json")["State"].clone();
        assert_eq!(state["Running"].as_bool(), Some(true), "{state}");
    }
    assert_eq!(daemon.docker(["logs", "cat"]).ok(), "round 0\nround 1\nround 2\n");
    daemon.finish();
}

/// A pause lasts over a crash, and ends when asked.
#[test]
fn a_paused_container_stays_paused() {
    let mut daemon = start("paus", Options::default());
    daemon.docker(["run", "-d", "--name", "pp", "hello", "count", "5"]).ok();
    daemon.docker(["pause", "pp"]).ok();
    daemon.crash();
    assert_eq!(daemon.docker(["inspect", "-f", "{{.State.Status}}", "pp"]).ok(), "paused\n");
    let before = daemon.docker(["logs", "pp"]).ok();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(daemon.docker(["logs", "pp"]).ok(), before);
    daemon.docker(["unpause", "pp"]).ok();
    rorqual_testkit::command::wait_for("it to go on", || {
        (daemon.docker(["logs", "pp"]).stdout.len() > before.len()).then_some(())
    });
    daemon.finish();
}
