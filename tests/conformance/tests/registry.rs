//! Pull and push through the docker client, against a registry nobody here wrote and against our own.

#![forbid(unsafe_code)]

use rorqual_testkit::{
    Archive, CuttingProxy, Daemon, Finished, Maker, Options, Registry, archive::Tar, command, daemon::docker_command,
    images,
};
use serde_json::json;

fn daemon(label: &str) -> Daemon {
    let daemon = Daemon::start(label);
    daemon.load(&images::busybox());
    daemon
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 33)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn id_of(daemon: &Daemon, name: &str) -> String {
    daemon.docker(["image", "inspect", "-f", "{{.Id}}", name]).ok().trim().to_owned()
}

#[test]
fn an_image_comes_back_as_it_went() {
    there_and_back(Maker::Debian);
}

#[test]
fn an_image_comes_back_from_our_registry() {
    there_and_back(Maker::Ours);
}

fn there_and_back(maker: Maker) {
    let daemon = daemon("regi");
    let netns = daemon.netns.as_ref().expect("a network");
    let registry = Registry::start(maker, netns, 5000);
    let id = id_of(&daemon, "busybox");
    daemon.docker(["tag", "busybox", "localhost:5000/team/bb:1"]).ok();
    daemon.docker(["tag", "busybox", "localhost:5000/team/bb:2"]).ok();
    let pushed = daemon.docker(["push", "localhost:5000/team/bb:1"]).ok();
    assert!(pushed.starts_with("The push refers to repository [localhost:5000/team/bb]\n"), "{pushed}");
    assert!(pushed.contains(": Pushed\n") && pushed.contains(&format!("1: digest: {id} size: ")), "{pushed}");
    let again = daemon.docker(["push", "-a", "localhost:5000/team/bb"]).ok();
    assert!(
        again.contains(": Layer already exists\n") && again.contains(&format!("2: digest: {id} size: ")),
        "{again}"
    );
    daemon.docker(["tag", "busybox", "localhost:5000/other:1"]).ok();
    let mounted = daemon.docker(["push", "localhost:5000/other:1"]).ok();
    assert!(mounted.contains(": Mounted from team/bb\n"), "{mounted}");

    daemon.docker(["image", "rm", "-f", &id]).ok();
    let pulled = daemon.docker(["pull", "localhost:5000/team/bb:1"]).ok();
    let lines: Vec<&str> = pulled.lines().collect();
    assert_eq!(lines.first(), Some(&"1: Pulling from team/bb"), "{pulled}");
    for word in ["Pulling fs layer", "Download complete", "Pull complete"] {
        assert!(lines.iter().any(|line| line.ends_with(&format!(": {word}"))), "{word} in {pulled}");
    }
    assert_eq!(
        lines[lines.len() - 3..],
        [
            format!("Digest: {id}").as_str(),
            "Status: Downloaded newer image for localhost:5000/team/bb:1",
            "localhost:5000/team/bb:1"
        ]
    );
    assert_eq!(id_of(&daemon, "localhost:5000/team/bb:1"), id);
    let again = daemon.docker(["pull", "localhost:5000/team/bb:1"]).ok();
    assert!(again.contains("Status: Image is up to date for localhost:5000/team/bb:1\n"), "{again}");
    assert_eq!(daemon.docker(["run", "--rm", "localhost:5000/team/bb:1", "echo", "hi"]).ok(), "hi\n");

    // a name with a digest; every tag; a container of what is not here
    let by_digest = format!("localhost:5000/other@{id}");
    let pulled = daemon.docker(["pull", &by_digest]).ok();
    assert!(pulled.contains(&format!("Status: Downloaded newer image for {by_digest}")), "{pulled}");
    assert_eq!(id_of(&daemon, &by_digest), id);
    let all = daemon.docker(["pull", "-a", "localhost:5000/team/bb"]).ok();
    assert!(all.contains("1: Pulling from team/bb") && all.contains("2: Pulling from team/bb"), "{all}");
    let ran = daemon.docker(["run", "--rm", "localhost:5000/other:1", "echo", "hi"]);
    assert_eq!(ran.stdout, "hi\n", "{ran}");
    assert!(ran.stderr.contains("Unable to find image 'localhost:5000/other:1' locally"), "{ran}");

    let known = daemon.api().get("/distribution/localhost:5000/other:1/json");
    assert_eq!(known["Descriptor"]["digest"].as_str(), Some(id.as_str()));
    assert_eq!(known["Platforms"][0]["os"], "linux", "{known}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs() + 1;
    let filter = "%7B%22type%22%3A%5B%22image%22%5D%7D";
    let events = daemon.api().call("GET", &format!("/events?since=1&until={now}&filters={filter}"), None).ok().text();
    for (action, name) in [("push", "localhost:5000/team/bb:1"), ("pull", "localhost:5000/other:1")] {
        let told = |line: &str| line.contains(&format!("\"Action\":\"{action}\"")) && line.contains(name);
        assert!(events.lines().any(told), "{action} of {name} in {events}");
    }
    drop(registry);
    daemon.finish();
}

#[test]
fn what_is_not_there_is_said_in_dockerds_words() {
    let daemon = daemon("regn");
    let registry = Registry::start(Maker::Debian, daemon.netns.as_ref().expect("a network"), 5000);
    let said = |done: Finished| {
        assert_eq!(done.code, 1, "{done}");
        done.stderr
    };
    let missing = said(daemon.docker(["pull", "localhost:5000/bb:9"]));
    assert!(missing.contains("localhost:5000/bb:9") && missing.contains("not found"), "{missing}");
    let nobody = said(daemon.docker(["pull", "localhost:5999/bb:9"]));
    assert!(nobody.contains("connection refused"), "{nobody}");
    let no_tag = said(daemon.docker(["push", "localhost:5000/none:1"]));
    assert!(no_tag.contains("tag does not exist: localhost:5000/none:1"), "{no_tag}");
    let run = daemon.docker(["run", "--rm", "localhost:5000/bb:9"]);
    assert_eq!(run.code, 125, "{run}");
    drop(registry);
    daemon.finish();
}

#[test]
fn a_registry_with_a_password_wants_it() {
    password(Maker::Debian);
}

#[test]
fn our_registry_with_a_password_wants_it() {
    password(Maker::Ours);
}

fn password(maker: Maker) {
    let daemon = daemon("rega");
    let registry = Registry::start_with_password(maker, daemon.netns.as_ref().expect("a network"), 5000);
    let config = tempfile::tempdir().expect("a directory");
    let docker = |words: &[&str], input: &str| {
        let mut command = docker_command(&daemon.host());
        command.env("DOCKER_CONFIG", config.path()).args(words);
        command::finish(&mut command, input.as_bytes(), command::DEADLINE)
    };
    docker(&["tag", "busybox", "localhost:5000/bb:1"], "").ok();
    let refused = docker(&["push", "localhost:5000/bb:1"], "");
    assert!(refused.code == 1 && refused.stderr.contains("no basic auth credentials"), "{refused}");
    let wrong = docker(&["login", "-u", "me", "--password-stdin", "localhost:5000"], "wrong");
    assert!(wrong.code == 1 && wrong.stderr.contains("unauthorized"), "{wrong}");
    let login = docker(&["login", "-u", "me", "--password-stdin", "localhost:5000"], "secret").ok();
    assert!(login.contains("Login Succeeded"), "{login}");
    docker(&["push", "localhost:5000/bb:1"], "").ok();
    docker(&["rmi", "localhost:5000/bb:1"], "").ok();
    docker(&["pull", "localhost:5000/bb:1"], "").ok();
    docker(&["logout", "localhost:5000"], "").ok();
    assert_eq!(docker(&["pull", "localhost:5000/bb:1"], "").code, 1);
    assert!(!daemon.log().contains("secret"), "a password is in the log");
    drop(registry);
    daemon.finish();
}

/// Cut every twentieth and killed three times, an image is fetched little more than once.
#[test]
fn an_interrupted_pull_fetches_nothing_twice() {
    let megabytes: usize = std::env::var("RORQUAL_PULL_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(96);
    let mut daemon = Daemon::start_with("regc", Options::default());
    let netns = daemon.netns.clone().expect("a network");
    let registry = Registry::start(Maker::Debian, &netns, 5000);
    let half = noise(megabytes << 19, 7);
    let other = noise(megabytes << 19, 9);
    let archive = Archive::new("localhost:5000/big:1", json!({}))
        .layer(Tar::new().file("a", 0o644, &half).finish())
        .layer(Tar::new().file("b", 0o644, &other).finish());
    let answer =
        daemon.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(&archive.docker_archive()));
    answer.expect("load the image").ok();
    daemon.docker(["push", "-q", "localhost:5000/big:1"]).ok();
    let id = id_of(&daemon, "localhost:5000/big:1");
    daemon.docker(["rmi", "localhost:5000/big:1"]).ok();
    assert_eq!(daemon.docker(["images", "-q"]).ok(), "");

    let size = (megabytes as u64) << 20;
    let proxy = CuttingProxy::start(&netns, 5001, 5000, size / 20);
    for kill in 1..=3 {
        let mut command = docker_command(&daemon.host());
        command.args(["pull", "localhost:5001/big:1"]).stdout(std::process::Stdio::null());
        let mut client = command.stderr(std::process::Stdio::null()).spawn().expect("start the client");
        command::wait_for("a part of the image", || (proxy.passed().0 > size * kill / 5).then_some(()));
        daemon.crash();
        client.wait().expect("wait for the client");
        let left = daemon.leftovers();
        assert!(left.is_empty(), "after kill {kill}: {left:#?}");
        assert_eq!(daemon.docker(["images", "-q"]).ok(), "", "nothing half done has a name");
    }
    daemon.docker(["pull", "-q", "localhost:5001/big:1"]).ok();
    assert_eq!(id_of(&daemon, "localhost:5001/big:1"), id);
    let (passed, cuts) = proxy.passed();
    assert!(cuts >= 10, "{cuts} cuts");
    assert!(passed * 10 <= size * 11, "{passed} bytes were fetched of an image of {size}");
    // what arrived is what was sent
    let container = daemon.docker(["create", "localhost:5001/big:1", "x"]).ok();
    // extracted layers are in the data root, mounted ones below the exec root
    let (extracted, mounted) = (daemon.data_root().join("layers"), daemon.exec_root().join("layers"));
    let every = |name: &str| format!("{}/*/fs/{name} {}/*/fs/{name}", extracted.display(), mounted.display());
    let found = rorqual_testkit::shell(&format!("cat {} {} 2>/dev/null | sha256sum", every("a"), every("b"))).ok();
    let wanted = tempfile::tempdir().expect("a directory");
    std::fs::write(wanted.path().join("x"), [half, other].concat()).expect("write");
    let sum = rorqual_testkit::shell(&format!("sha256sum <{}/x", wanted.path().display())).ok();
    assert_eq!(found, sum);
    daemon.docker(["rm", container.trim()]).ok();
    daemon.docker(["rmi", "localhost:5001/big:1"]).ok();
    drop((registry, proxy));
    daemon.finish();
}

/// `--registry`: what the daemon pushes to itself survives its own crash, and `info` says where it is.
#[test]
fn a_daemon_serves_a_registry_besides() {
    let arguments = ["--registry", "--registry-opt", "no-delete"].map(str::to_owned).into();
    let mut daemon = Daemon::start_with("regd", Options { arguments, ..Options::default() });
    daemon.load(&images::busybox());
    assert_eq!(daemon.api().get("/info")["RorqualRegistry"], "127.0.0.1:5000");
    let id = id_of(&daemon, "busybox");
    daemon.docker(["tag", "busybox", "localhost:5000/bb:1"]).ok();
    let pushed = daemon.docker(["push", "localhost:5000/bb:1"]).ok();
    assert!(pushed.contains(&format!("1: digest: {id} size: ")), "{pushed}");
    daemon.docker(["image", "rm", "-f", &id]).ok();
    daemon.crash();
    daemon.docker(["pull", "-q", "localhost:5000/bb:1"]).ok();
    assert_eq!(id_of(&daemon, "localhost:5000/bb:1"), id);
    assert_eq!(daemon.docker(["run", "--rm", "localhost:5000/bb:1", "echo", "hi"]).ok(), "hi\n");
    assert!(daemon.data_root().join("registry/content").is_dir());
    assert!(daemon.log().contains("registry listens"), "{}", daemon.log());
    daemon.finish();
}

/// Docker pulls through our cache from a registry nobody here wrote, and again when that is gone.
#[test]
fn docker_pulls_through_a_cache() {
    let daemon = daemon("regp");
    let netns = daemon.netns.as_ref().expect("a network");
    let upstream = Registry::start(Maker::Debian, netns, 5000);
    let id = id_of(&daemon, "busybox");
    daemon.docker(["tag", "busybox", "localhost:5000/team/bb:1"]).ok();
    daemon.docker(["push", "-q", "localhost:5000/team/bb:1"]).ok();
    let cache = Registry::cache(netns, 5001, "http://localhost:5000");
    for upstream in [Some(upstream), None] {
        daemon.docker(["image", "rm", "-f", &id]).ok();
        daemon.docker(["pull", "-q", "localhost:5001/team/bb:1"]).ok();
        assert_eq!(id_of(&daemon, "localhost:5001/team/bb:1"), id);
        drop(upstream);
    }
    let refused = daemon.docker(["push", "localhost:5001/team/bb:1"]);
    assert_eq!(refused.code, 1, "{refused}");
    drop(cache);
    daemon.finish();
}

/// What one node has, another gets by digest where no registry is, and nobody else gets at all.
#[test]
fn an_image_comes_from_another_node() {
    let files = tempfile::tempdir().expect("a directory");
    let path = |name: &str| files.path().join(name).display().to_string();
    std::fs::write(path("users"), command::run("htpasswd", ["-nbB", "node2", "secret"]).ok().trim()).expect("users");
    std::fs::write(path("password"), "secret\n").expect("the password");
    let start = |label: &str, more: &[String]| {
        let arguments = [&["--bridge=none".to_owned()], more].concat();
        Daemon::start_with(label, Options { arguments, host_network: true, ..Options::default() })
    };
    let htpasswd = format!("htpasswd={}", path("users"));
    let serving = ["--blob-server", "address=127.0.0.1:0", "--blob-server", &htpasswd].map(str::to_owned);
    let first = start("node1", &serving);
    first.load(&images::busybox());
    let id = id_of(&first, "busybox");
    let log = first.log();
    let address =
        log.lines().find(|line| line.contains("blobs are served")).and_then(|line| line.split("address=").nth(1));
    let address = address.and_then(|rest| rest.split_whitespace().next()).unwrap_or_else(|| panic!("{log}"));

    let peers = json!({"blob-peers": [
        {"url": format!("http://{address}"), "username": "node2", "password-file": path("password")},
    ]});
    std::fs::write(path("daemon.json"), peers.to_string()).expect("the configuration");
    let second = start("node2", &["--config-file".to_owned(), path("daemon.json")]);
    let name = format!("localhost:1/team/bb@{id}");
    second.docker(["pull", "-q", &name]).ok();
    assert_eq!(id_of(&second, &name), id);
    assert_eq!(second.docker(["run", "--rm", "--network=none", &name, "echo", "hi"]).ok(), "hi\n");
    // What a tag means is the registry's to say.
    assert_ne!(second.docker(["pull", "-q", "localhost:1/team/bb:1"]).code, 0);

    let ask = |words: &str| command::shell(&format!("curl -s -o /dev/null -w %{{http_code}} {words}")).ok();
    let manifest = format!("http://{address}/v2/x/manifests/{id}");
    assert_eq!(ask(&manifest), "401");
    assert_eq!(ask(&format!("-u node2:wrong {manifest}")), "401");
    assert_eq!(ask(&format!("-u node2:secret {manifest}")), "200");
    assert_eq!(ask(&format!("-u node2:secret http://{address}/v2/x/tags/list")), "404");
    assert_eq!(ask(&format!("-u node2:secret -X DELETE {manifest}")), "405");
    assert_eq!(ask(&format!("-u node2:secret -X POST http://{address}/v2/x/blobs/uploads/")), "405");
    let listed = command::shell(&format!("curl -s -u node2:secret http://{address}/v2/_catalog")).ok();
    assert_eq!(listed.trim(), r#"{"repositories":[]}"#);
    first.finish();
    second.finish();
}
