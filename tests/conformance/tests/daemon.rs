//! The daemon's own life: flags, configuration, several side by side, reloads, refusals.

use rorqual_testkit::{Daemon, Options, command, daemon::docker_command, images, places, run, shell};
use serde_json::json;
use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

fn options(arguments: &[&str]) -> Options {
    Options { arguments: arguments.iter().map(|&word| word.to_owned()).collect(), ..Options::default() }
}

/// Runs the daemon with a root of its own and expects it to refuse; gives what it said.
#[track_caller]
fn refused(arguments: &[&str], config: &str) -> String {
    let daemon = Daemon::prepare("ref", options(arguments));
    fs::write(daemon.root.join("daemon.json"), config).expect("write the configuration");
    let done = command::finish(&mut daemon.command(), b"", Duration::from_secs(15));
    assert!(done.code > 0, "it was accepted: {done}");
    format!("{}{}", done.stdout, done.stderr)
}

#[test]
fn unknown_flags_and_keys_are_named() {
    assert!(refused(&["--no-such-flag"], "{}").contains("no-such-flag"));
    assert!(refused(&[], r#"{"no-such-key": 1}"#).contains("no-such-key"));
    assert!(refused(&[], r#"{"debug": true, "#).contains("daemon.json"));
    assert!(refused(&[], r#"{"debug": "yes"}"#).contains("debug"));
    let both = refused(&["--label", "a=b"], r#"{"labels": ["c=d"]}"#);
    assert!(both.contains("label"), "{both}");
    let word = refused(&["--log-level", "nonsense"], "{}");
    assert!(word.contains("nonsense"), "{word}");
}

#[test]
fn a_configuration_can_be_checked_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("daemon.json");
    fs::write(&file, r#"{"debug": true, "labels": ["a=b"]}"#).expect("write");
    let done = run(places::binary("rorquald"), ["--validate", "--config-file", &file.display().to_string()]);
    assert!(done.code == 0 && format!("{}{}", done.stdout, done.stderr).contains("configuration OK"), "{done}");
    fs::write(&file, r#"{"nonsense": true}"#).expect("write");
    assert!(run(places::binary("rorquald"), ["--validate", "--config-file", &file.display().to_string()]).code != 0);
    assert!(run(places::binary("rorquald"), ["--version"]).ok().contains("0.1"));
}

#[test]
fn two_daemons_run_side_by_side() {
    let one = Daemon::start("one");
    let two = Daemon::start("two");
    for daemon in [&one, &two] {
        daemon.load(&images::hello());
        daemon
            .docker(["run", "-d", "--name", "same", "-p", "8360:80", "hello", "http", "listen", "0.0.0.0:80", "here"])
            .ok();
    }
    for daemon in [&one, &two] {
        let netns = daemon.netns.as_ref().expect("a network");
        assert_eq!(
            netns.outside("curl -s -m 5 --retry 3 --retry-connrefused http://198.51.100.1:8360/").stdout,
            "here /\n"
        );
        assert_eq!(daemon.docker(["ps", "-q"]).ok().lines().count(), 1);
    }
    one.finish();
    assert_eq!(two.docker(["ps", "-q"]).ok().lines().count(), 1);
    two.finish();
}

#[test]
fn a_second_daemon_on_the_same_roots_is_refused() {
    let daemon = Daemon::start("same");
    let done = command::finish(&mut daemon.command(), b"", Duration::from_secs(15));
    assert!(done.code > 0, "{done}");
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(said.contains("pid") || said.contains("already") || said.contains("in use"), "{said}");
    assert_eq!(daemon.api().call("GET", "/_ping", None).status, 200);
    daemon.finish();
}

#[test]
fn tcp_off_loopback_needs_tls_or_a_second_word() {
    let said = refused(&["--host", "tcp://198.51.100.1:2375"], "{}");
    assert!(said.to_lowercase().contains("tls"), "{said}");
    let daemon = Daemon::start_with("tcp", options(&["--host", "tcp://127.0.0.1:2375"]));
    let netns = daemon.netns.as_ref().expect("a network");
    assert_eq!(netns.inside("curl -s http://127.0.0.1:2375/_ping").stdout, "OK");
    assert_ne!(netns.outside("curl -s -m 2 http://198.51.100.1:2375/_ping").code, 0);
    daemon.finish();
}

#[test]
fn tls_lets_in_whom_the_authority_signed() {
    let dir = tempfile::tempdir().expect("a directory");
    let d = dir.path().display();
    shell(&format!(
        "set -e; cd {d}; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca-key.pem -out ca.pem -subj /CN=ca -days 2 2>/dev/null
         for n in server client; do openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $n-key.pem -out $n.csr -subj /CN=$n 2>/dev/null
         printf 'subjectAltName=IP:198.51.100.1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' >ext
         openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile ext -out $n.pem 2>/dev/null; done
         mkdir config; cp ca.pem config/ca.pem; cp client.pem config/cert.pem; cp client-key.pem config/key.pem
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout other-key.pem -out other.pem -subj /CN=other -days 2 2>/dev/null"
    ))
    .ok();
    let files = ["ca.pem", "server.pem", "server-key.pem"].map(|name| dir.path().join(name).display().to_string());
    let daemon = Daemon::start_with(
        "tls",
        options(&[
            "--host",
            "tcp://198.51.100.1:2376",
            "--tlsverify",
            "--tlscacert",
            &files[0],
            "--tlscert",
            &files[1],
            "--tlskey",
            &files[2],
        ]),
    );
    let netns = daemon.netns.as_ref().expect("a network");
    for client in [places::docker(), places::binary("rorqual")] {
        let call = format!(
            "DOCKER_CONFIG={d}/none {} -H tcp://198.51.100.1:2376 --tlsverify --tlscacert {d}/ca.pem",
            client.display()
        );
        let good = netns.outside(&format!(
            "{call} --tlscert {d}/client.pem --tlskey {d}/client-key.pem version -f '{{{{.Server.APIVersion}}}}'"
        ));
        assert_eq!(good.stdout, "1.51\n", "{good}");
        let stranger = netns.outside(&format!("{call} --tlscert {d}/other.pem --tlskey {d}/other-key.pem version"));
        assert_ne!(stranger.code, 0, "{stranger}");
    }
    assert_ne!(netns.outside("curl -s -k -m 3 https://198.51.100.1:2376/_ping").stdout, "OK");
    daemon.finish();
}

#[test]
fn a_hangup_reloads_and_says_so() {
    let daemon = Daemon::start("hup");
    let begin = shell("date +%s").ok();
    fs::write(daemon.root.join("daemon.json"), r#"{"debug": true, "labels": ["reloaded=yes"]}"#).expect("write");
    daemon.signal(rustix::process::Signal::HUP);
    command::wait_for("the new label", || {
        daemon.docker(["info", "-f", "{{.Labels}} {{.Debug}}"]).stdout.contains("[reloaded=yes] true").then_some(())
    });
    // an end of whole seconds, and past the event
    let end = shell("date -d '1 second' +%s").ok();
    let events = daemon
        .docker([
            "events",
            "--since",
            begin.trim(),
            "--until",
            end.trim(),
            "--filter",
            "type=daemon",
            "--format",
            "{{.Action}}",
        ])
        .ok();
    assert_eq!(events, "reload\n");
    // a broken file changes nothing
    fs::write(daemon.root.join("daemon.json"), "{nonsense").expect("write");
    daemon.signal(rustix::process::Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    assert!(daemon.docker(["info", "-f", "{{.Labels}}"]).ok().contains("reloaded=yes"));
    daemon.finish();
}

#[test]
fn a_socket_that_was_handed_over_is_used() {
    let daemon = Daemon::prepare("fd", Options::default());
    let extra = daemon.root.join("handed");
    let mut command = Command::new("systemd-socket-activate");
    if command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return;
    }
    let inner = daemon.command();
    let mut outer = Command::new("systemd-socket-activate");
    outer.arg("-l").arg(&extra).arg(inner.get_program()).args(inner.get_args()).args(["--host", "fd://"]);
    let mut child = outer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
    let host = format!("unix://{}", extra.display());
    let answer = command::wait_for("the handed socket", || {
        let mut command = docker_command(&host);
        let done =
            command::finish(command.args(["version", "-f", "{{.Server.APIVersion}}"]), b"", Duration::from_secs(5));
        (done.code == 0).then_some(done.stdout)
    });
    assert_eq!(answer, "1.51\n");
    child.kill().expect("end it");
    child.wait().expect("reap it");
}

#[test]
fn a_stop_leaves_containers_running_and_takes_little_time() {
    let mut daemon = Daemon::start("stop");
    daemon.load(&images::hello());
    daemon.docker(["run", "-d", "--name", "aa", "hello", "count", "10"]).ok();
    let pid = daemon.docker(["inspect", "-f", "{{.State.Pid}}", "aa"]).ok();
    let begin = std::time::Instant::now();
    daemon.stop();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(!daemon.socket().exists(), "the socket is left");
    assert!(fs::exists(format!("/proc/{}", pid.trim())).unwrap_or(false), "the container ended with the daemon");
    let took = daemon.boot();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(daemon.docker(["inspect", "-f", "{{.State.Pid}}", "aa"]).ok(), pid);
    daemon.finish();
}

#[test]
fn other_runtimes_run_containers_too() {
    for runtime in ["runc", "crun"] {
        let Some(path) = ["/usr/sbin", "/usr/bin"]
            .iter()
            .map(|dir| format!("{dir}/{runtime}"))
            .find(|path| fs::exists(path).unwrap_or(false))
        else {
            continue;
        };
        let daemon = Daemon::start_with("rt", options(&["--add-runtime", &format!("other={path}")]));
        daemon.load(&images::busybox());
        let done =
            daemon.docker(["run", "--rm", "--runtime", "other", "busybox", "sh", "-c", "echo through another; exit 3"]);
        if runtime == "crun" && done.stderr.contains("hybrid") {
            continue; // crun itself refuses this machine's cgroups
        }
        assert_eq!((done.stdout.as_str(), done.code), ("through another\n", 3), "{runtime}: {done}");
        daemon.docker(["run", "-d", "--runtime", "other", "--name", "aa", "busybox", "sleep", "1000"]).ok();
        assert_eq!(daemon.docker(["exec", "aa", "echo", "exec"]).ok(), "exec\n");
        daemon.docker(["stop", "-t", "0", "aa"]).ok();
        daemon.finish();
    }
}

/// A forced removal wins against the restart policy, whichever of its states it meets.
#[test]
fn a_container_that_keeps_restarting_is_removed_by_force() {
    let daemon = Daemon::start("again");
    daemon.load(&images::busybox());
    let mut api = daemon.api();
    for round in 0..60 {
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {
            "NetworkMode": "none", "RestartPolicy": {"Name": "always"},
        }});
        let id = api.post("/containers/create", &body)["Id"].as_str().expect("an id").to_owned();
        api.call("POST", &format!("/containers/{id}/start"), None).ok();
        // once it has ended, a restart comes after 100 ms, then after 200
        std::thread::sleep(Duration::from_millis(round * 5));
        api.call("DELETE", &format!("/containers/{id}?force=1"), None).ok();
    }
    daemon.finish();
}
