//! bollard's own tests, as its package has them, against a daemon of ours with our registry beside it.
//!
//! `suites/bollard.txt` names the tests that fail and what we lack for them. The list only shrinks: a test on it that
//! passes fails the run, as does one that fails and is not on it.

#![forbid(unsafe_code)]

use rorqual_testkit::{Daemon, HubIndex, Maker, Options, Registry, command, daemon::docker_command, places, stand_ins};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const EXCEPTIONS: &str = include_str!("../suites/bollard.txt");

/// What the tests log in as, and the registry they expect.
const USER: &str = "bollard";
const REGISTRY: &str = "localhost:5000";
const PORT: u16 = 5000;
const INDEX_PORT: u16 = 5002;

/// What is built besides bollard's default features: what more of its tests ask for, the builder's excepted.
const FEATURES: &str = "chrono,test_websocket";

/// The time a build from nothing may take; two idle processors need less than two minutes.
const BUILD: Duration = Duration::from_secs(1200);
/// The time all tests of one file may take.
const FILE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Ignored,
}

#[test]
fn its_tests_pass_but_for_what_is_listed() {
    let programs = build(&package());
    let options = Options { arguments: HubIndex::arguments(INDEX_PORT), ..Options::default() };
    let daemon = Daemon::start_with("boll", options);
    let netns = daemon.netns.as_ref().expect("a network");
    let servers = (Registry::start_for(Maker::Ours, netns, PORT, USER), HubIndex::start(netns, INDEX_PORT));
    fill(&daemon);

    let (mut results, mut output) = (BTreeMap::new(), String::new());
    for (file, program) in &programs {
        let done = run(program, &daemon.socket());
        for (test, outcome) in outcomes(&done.stdout) {
            results.insert(format!("{file}::{test}"), outcome);
        }
        if done.code != 0 {
            output += &format!("===== {file}: {done}\n");
        }
    }

    let count = |wanted| results.values().filter(|outcome| **outcome == wanted).count();
    let (passed, failed, ignored) = (count(Outcome::Passed), count(Outcome::Failed), count(Outcome::Ignored));
    println!("bollard: {passed} passed; {failed} failed; {ignored} ignored");
    let wrong = wrong(&results, &listed(EXCEPTIONS));
    if !wrong.is_empty() {
        println!("{output}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    drop(servers);
    daemon.finish();
}

/// Where cargo keeps the package, verified against our lock file's checksum.
fn package() -> PathBuf {
    let done = command::finish(
        cargo()
            .args(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
            .arg(places::top().join("Cargo.toml")),
        b"",
        command::DEADLINE,
    );
    let metadata: Value = serde_json::from_str(&done.ok()).expect("cargo's metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|package| package["name"] == "bollard").expect("we use bollard ourselves");
    PathBuf::from(found["manifest_path"].as_str().expect("a manifest"))
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds the tests as the package's own lock file says; gives each test program by the name of its file.
fn build(manifest: &Path) -> BTreeMap<String, PathBuf> {
    let mut command = cargo();
    command.args(["test", "--no-run", "--locked", "--quiet", "--message-format", "json", "--test", "*"]);
    command.args(["--features", FEATURES, "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(places::cache().join("bollard"));
    // nobody debugs it here
    command.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")]);
    let done = command::finish(&mut command, b"", BUILD).ok();
    let messages = done.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["profile"]["test"] == true)
        .map(|message| {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            (text(&message["target"]["name"]), PathBuf::from(text(&message["executable"])))
        })
        .collect()
}

/// Puts the images that the tests name into the registry, and none into the daemon.
fn fill(daemon: &Daemon) {
    let config = tempfile::tempdir().expect("a directory");
    let docker = |words: &[&str], input: &str| {
        let mut command = docker_command(&daemon.host());
        command.env("DOCKER_CONFIG", config.path()).args(words);
        command::finish(&mut command, input.as_bytes(), command::DEADLINE).ok()
    };
    docker(&["login", "-u", USER, "--password-stdin", REGISTRY], "secret");
    let images = [
        stand_ins::hello_world(&format!("{REGISTRY}/hello-world:linux")),
        stand_ins::alpine(&format!("{REGISTRY}/alpine:latest")),
        stand_ins::uhttpd(&format!("{REGISTRY}/fussybeaver/uhttpd:latest")),
    ];
    for image in images {
        let archive = image.docker_archive();
        daemon.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(&archive)).expect("load").ok();
        for name in &image.tags {
            docker(&["push", "-q", name], "");
            docker(&["rmi", name], "");
        }
    }
}

/// Runs a test program, one test after the other, where `/var/run/docker.sock` is the daemon's.
fn run(program: &Path, socket: &Path) -> command::Finished {
    let script = "mount -t tmpfs tmpfs /run; ln -s \"$1\" /run/docker.sock; exec \"$2\" --test-threads 1";
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-ec", script, "sh"]).arg(socket).arg(program);
    command.env("REGISTRY_PASSWORD", "secret").env("REGISTRY_HTTP_ADDR", REGISTRY).env_remove("DOCKER_HOST");
    command::finish(&mut command, b"", FILE)
}

/// Every test of a program's output with how it ended; one that was begun and did not end has failed.
fn outcomes(stdout: &str) -> Vec<(&str, Outcome)> {
    let lines = stdout.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    lines
        .map(|(name, outcome)| match outcome.split([',', ' ']).next() {
            Some("ok") => (name, Outcome::Passed),
            Some("ignored") => (name, Outcome::Ignored),
            _ => (name, Outcome::Failed),
        })
        .collect()
}

/// The exceptions: a test, and after a space what we lack.
fn listed(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line}: what is missing for it?"))).collect()
}

/// What differs from the list.
fn wrong(results: &BTreeMap<String, Outcome>, listed: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (test, outcome) in results {
        match (outcome, listed.contains_key(test.as_str())) {
            (Outcome::Passed, true) => wrong.push(format!("{test} passes: take it off the list")),
            (Outcome::Failed, false) => wrong.push(format!("{test} failed")),
            _ => {}
        }
    }
    wrong.extend(listed.keys().filter(|test| !results.contains_key(**test)).map(|test| format!("{test} did not run")));
    wrong
}

#[test]
fn a_list_that_is_not_true_fails_the_run() {
    let output =
        "\nrunning 5 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ignored, why\ntest d ... FAILED\ntest e ... ";
    let results: BTreeMap<_, _> = outcomes(output).into_iter().map(|(name, how)| (format!("f::{name}"), how)).collect();
    assert_eq!(wrong(&results, &listed("# a comment\n\nf::b GET /x\nf::e a hang\nf::d GET /y\n")), [""; 0]);
    let said = wrong(&results, &listed("f::a GET /x\nf::b GET /x\nf::d GET /x\nf::z GET /x"));
    assert_eq!(said, ["f::a passes: take it off the list", "f::e failed", "f::z did not run"]);
}
