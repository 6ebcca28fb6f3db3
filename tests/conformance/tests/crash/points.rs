//! Kills at each durable and each kernel step, by name.

use crate::{
    consecutive,
    ledger::{Kind, Ledger, Truth},
    small_image, start,
};
use rorqual_testkit::{Api, Daemon, Maker, Options, Registry, places};
use serde_json::json;
use std::{collections::BTreeSet, fs, os::unix::process::ExitStatusExt as _, path::Path, time::Duration};

const VARIABLE: &str = "RORQUAL_FAILPOINTS";
/// An image that a registry has.
const PULLED: &str = "localhost:5000/point:1";
/// Steps that no daemon with something to lose comes by: its store is made once, and these blobs are a registry's.
const ELSEWHERE: [&str; 3] = ["metadata.created", "content.partial-whole", "content.partial-finished"];

/// A registry with [`PULLED`].
fn registry(daemon: &Daemon) -> Registry {
    let registry = Registry::start(Maker::Debian, daemon.netns.as_ref().expect("a network"), 5000);
    let answer = daemon.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(&small_image(PULLED)));
    answer.expect("load the image").ok();
    daemon.docker(["push", "-q", PULLED]).ok();
    daemon.docker(["rmi", PULLED]).ok();
    registry
}

/// Every name in a `failpoint!("...")` of the sources, so that a new one is tested from its first day.
fn names() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![places::top().join("crates")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("list the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                let text = fs::read_to_string(&path).expect("read a source");
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                for line in code {
                    found.extend(
                        line.split("failpoint!(\"")
                            .skip(1)
                            .filter_map(|rest| rest.split('"').next())
                            .map(str::to_owned),
                    );
                }
            }
        }
    }
    // Those of the registry's server are for its own tests.
    found.retain(|name| !name.starts_with("registry."));
    found
}

fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests")
        || path.ends_with("failpoint.rs")
}

/// Some of everything a daemon does. Gives whether it answered all of it.
fn exercise(daemon: &Daemon, ledger: &Ledger, round: &str) -> bool {
    let mut api = daemon.api();
    api.timeout = Duration::from_secs(20);
    script(&mut api, ledger, round).is_some()
}

/// Ends a daemon with an armed kill; gives whether the kill was what ended it.
///
/// One that stopped answering is on its way: its sockets close before its parent can reap it. One that answered
/// everything may pass the step as it closes.
fn was_killed(daemon: &mut Daemon, ledger: &Ledger, round: &str) -> bool {
    if daemon.await_ready(Duration::from_secs(20)).is_err() {
        return true;
    }
    if exercise(daemon, ledger, round) {
        daemon.signal(rustix::process::Signal::TERM);
    }
    daemon.await_end().signal() == Some(rustix::process::Signal::KILL.as_raw())
}

/// `None` as soon as the daemon does not answer.
fn script(api: &mut Api, ledger: &Ledger, round: &str) -> Option<()> {
    let call = |api: &mut Api, method: &str, path: &str, body: Option<serde_json::Value>| -> Option<u16> {
        Some(api.try_call(method, path, body.as_ref()).ok()?.status)
    };
    let tag = format!("point-{round}:latest");
    ledger.set(Kind::Image, &tag, Truth::Unknown);
    let answer = api.send("POST", "/images/load?quiet=1", "application/x-tar", Some(&small_image(&tag))).ok()?;
    if answer.text().contains("Loaded image") {
        ledger.set(Kind::Image, &tag, Truth::Present);
    }
    ledger.set(Kind::Image, PULLED, Truth::Unknown);
    let (name, version) = PULLED.rsplit_once(':').expect("a tag");
    let path = format!("/images/create?fromImage={name}&tag={version}");
    let answer = api.send("POST", &path, "application/json", None).ok()?;
    if answer.text().contains("\"Status: ") {
        ledger.set(Kind::Image, PULLED, Truth::Present);
    }
    ledger.set(Kind::Image, PULLED, Truth::Unknown);
    if call(api, "DELETE", &format!("/images/{PULLED}"), None)? == 200 {
        ledger.set(Kind::Image, PULLED, Truth::Absent);
    }
    let volume = format!("point-{round}-v");
    ledger.set(Kind::Volume, &volume, Truth::Unknown);
    if call(api, "POST", "/volumes/create", Some(json!({"Name": volume})))? == 201 {
        ledger.set(Kind::Volume, &volume, Truth::Present);
    }
    for (network, image, program) in [("bridge", "hello", "/hello"), ("none", "busybox", "true")] {
        let name = format!("point-{round}-{network}");
        ledger.set(Kind::Container, &name, Truth::Unknown);
        let ports = if network == "bridge" { json!({"80/tcp": [{"HostPort": "0"}]}) } else { json!({}) };
        let host = json!({"NetworkMode": network, "PortBindings": ports, "Binds": [format!("{volume}:/v")], "Memory": 64 << 20});
        // a volume without a name is filled with what the image has there
        let volumes = if image == "busybox" { json!({"/etc": {}}) } else { json!({}) };
        let body = json!({"Image": image, "Cmd": ["sleep", "100"], "HostConfig": host, "StopSignal": "KILL", "Volumes": volumes});
        if call(api, "POST", &format!("/containers/create?name={name}"), Some(body))? != 201 {
            continue;
        }
        ledger.set(Kind::Container, &name, Truth::Present);
        call(api, "POST", &format!("/containers/{name}/start"), None)?;
        let exec = api
            .try_call("POST", &format!("/containers/{name}/exec"), Some(&json!({"Cmd": [program, "exit", "0"]})))
            .ok()?;
        let id = exec.json()["Id"].as_str().unwrap_or_default().to_owned();
        call(api, "POST", &format!("/exec/{id}/start"), Some(json!({"Detach": true})))?;
        call(api, "POST", &format!("/containers/{name}/pause"), None)?;
        call(api, "POST", &format!("/containers/{name}/unpause"), None)?;
        let new = format!("{name}-r");
        ledger.set(Kind::Container, &name, Truth::Unknown);
        ledger.set(Kind::Container, &new, Truth::Unknown);
        if call(api, "POST", &format!("/containers/{name}/rename?name={new}"), None)? == 204 {
            ledger.set(Kind::Container, &name, Truth::Absent);
            ledger.set(Kind::Container, &new, Truth::Present);
        }
        call(api, "POST", &format!("/containers/{new}/restart?t=0"), None)?;
        call(api, "POST", &format!("/containers/{new}/stop?t=0"), None)?;
        ledger.set(Kind::Container, &new, Truth::Unknown);
        if call(api, "DELETE", &format!("/containers/{new}?force=1&v=1"), None)? == 204 {
            ledger.set(Kind::Container, &new, Truth::Absent);
        }
    }
    ledger.set(Kind::Volume, &volume, Truth::Unknown);
    if call(api, "DELETE", &format!("/volumes/{volume}"), None)? == 204 {
        ledger.set(Kind::Volume, &volume, Truth::Absent);
    }
    ledger.set(Kind::Image, &tag, Truth::Unknown);
    if call(api, "DELETE", &format!("/images/{tag}"), None)? == 200 {
        ledger.set(Kind::Image, &tag, Truth::Absent);
    }
    Some(())
}

#[test]
fn a_kill_at_any_named_step_leaves_a_whole_state() {
    let names = names();
    assert!(!names.is_empty(), "no fail point was found in the sources");
    let mut daemon = start("step", Options::default());
    let registry = registry(&daemon);
    daemon.docker(["run", "-d", "--name", "witness", "hello", "count", "3"]).ok();
    let ledger = Ledger::default();
    let mut never = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let mut reached = false;
        for passage in 1..=2 {
            daemon.stop();
            daemon.set_environment(VARIABLE, &format!("{name}=kill@{passage}"));
            // the step may be one of start-up itself
            daemon.spawn();
            let died = was_killed(&mut daemon, &ledger, &format!("{number}-{passage}"));
            reached |= died;
            daemon.set_environment(VARIABLE, "");
            daemon.boot();
            let left = daemon.leftovers();
            assert!(left.is_empty(), "after a kill at {name}, passage {passage}: {left:#?}");
            let wrong = ledger.compare(&daemon);
            assert!(wrong.is_empty(), "after a kill at {name}, passage {passage}: {wrong:#?}");
            let state = daemon.api().get("/containers/witness/json")["State"].clone();
            assert_eq!(state["Running"].as_bool(), Some(true), "after a kill at {name}: {state}");
            if !died {
                break;
            }
        }
        if !reached {
            never.push(name.as_str());
        }
    }
    never.retain(|name| !ELSEWHERE.contains(name));
    assert!(never.is_empty(), "steps that nothing comes by: {never:?}");
    daemon.docker(["stop", "-t", "0", "witness"]).ok();
    consecutive(&daemon.docker(["logs", "witness"]).ok());
    drop(registry);
    daemon.finish();
}

/// An error at any named step is an answer, and the next request works.
#[test]
fn an_error_at_any_named_step_is_survived() {
    let mut daemon = start("fail", Options::default());
    let registry = registry(&daemon);
    let ledger = Ledger::default();
    for (number, name) in names().iter().enumerate() {
        daemon.stop();
        daemon.set_environment(VARIABLE, &format!("{name}=error@1"));
        daemon.spawn();
        let up = daemon.await_ready(Duration::from_secs(20)).is_ok();
        daemon.set_environment(VARIABLE, "");
        // a start-up that fails says so and ends; the next one must do
        if up {
            let answered = exercise(&daemon, &ledger, &format!("e{number}"));
            assert!(answered, "the daemon ended at an error of {name}\n{}", daemon.log());
            daemon.crash();
        } else {
            daemon.boot();
        }
        let left = daemon.leftovers();
        assert!(left.is_empty(), "after an error at {name}: {left:#?}");
        let wrong = ledger.compare(&daemon);
        assert!(wrong.is_empty(), "after an error at {name}: {wrong:#?}");
    }
    drop(registry);
    daemon.finish();
}
