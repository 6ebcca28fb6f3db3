//! What stands around an image: lists of platforms, what refers to it, and who may pull it.

#![forbid(unsafe_code)]

use rorqual_testkit::{
    Archive, Daemon, Finished, Maker, Netns, Options, Registry,
    archive::{Tar, sha256},
    command, images, places,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A program of a client in the daemon's network, with a configuration of its own.
fn client(program: &Path, netns: &Netns, config: &Path, host: &str, words: &[&str]) -> Finished {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", netns.name)).arg(program).args(words);
    command.env("DOCKER_CONFIG", config).env("DOCKER_HOST", host);
    command::finish(&mut command, b"", command::DEADLINE)
}

fn load(daemon: &Daemon, archive: &[u8]) {
    let answer = daemon.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(archive));
    let answer = answer.expect("load an image").ok();
    assert!(!answer.text().contains("errorDetail"), "{}", answer.text());
}

/// The head of a program for arm64, with a mark that no real one has.
const PROGRAM: [u8; 20] = *b"\x7fELF\x02\x01\x01\x00RQ\0\0\0\0\0\0\x02\x00\xb7\x00";

/// An image for a machine, with that program alone.
fn foreign(tag: &str, architecture: &str) -> Archive {
    let mut archive = Archive::new(tag, json!({"Cmd": ["/program"]}));
    archive.architecture = architecture.to_owned();
    archive.layer(Tar::new().file("program", 0o755, &PROGRAM).finish())
}

/// What the kernel takes for an emulator of [`foreign`]: the program of another image. It is registered as long as this lives,
/// by a process that has the file system of registrations mounted for itself alone.
struct Emulator(Child);

impl Emulator {
    fn register() -> Self {
        let program = places::binary("rorqual-hello").display().to_string();
        let name = format!("rq-{}", std::process::id());
        let script = format!(
            "set -e; cd /proc/sys/fs/binfmt_misc; mount -t binfmt_misc none .; cd .; cd /proc/sys/fs/binfmt_misc
             printf %s ':{name}:M::\\x7fELF\\x02\\x01\\x01\\x00RQ::{program}:F' >register
             echo ready; read -r _ || true; echo -1 >{name}"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start unshare");
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout is piped");
        BufReader::new(out).read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n", "an emulator is registered");
        Self(child)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        _ = self.0.wait();
    }
}

#[test]
fn a_list_is_the_same_made_by_docker_by_us_and_from_a_file() {
    let daemon = Daemon::start("mani");
    let netns = daemon.netns.clone().expect("a network");
    let registry = Registry::start(Maker::Ours, &netns, 5000);
    for architecture in ["amd64", "arm64"] {
        let name = format!("localhost:5000/parts:{architecture}");
        load(&daemon, &foreign(&name, architecture).docker_archive());
        daemon.docker(["push", "-q", &name]).ok();
    }
    let ours = places::binary("rorqual");
    let directory = tempfile::tempdir().expect("a directory");
    let mut said = Vec::new();
    for (number, program) in [places::docker(), ours.clone()].into_iter().enumerate() {
        let config = directory.path().join(number.to_string());
        fs::create_dir(&config).expect("a directory");
        let list = format!("localhost:5000/list:{number}");
        let run = |words: &[&str]| client(&program, &netns, &config, &daemon.host(), &[&["manifest"], words].concat());
        let [amd64, arm64] = ["amd64", "arm64"].map(|name| format!("localhost:5000/parts:{name}"));
        let outputs = vec![
            run(&["create", "--insecure", &list, &amd64, &arm64]).ok(),
            run(&["create", "--insecure", &list, &amd64]).stderr,
            run(&["annotate", &list, &arm64, "--variant", "v8", "--os-features", "a,b"]).ok(),
            run(&["annotate", &list, &arm64, "--arch", "none"]).stderr,
            run(&["annotate", &list, "localhost:5000/other:1"]).stderr,
            run(&["inspect", &list]).ok(),
            run(&["inspect", "-v", &list]).ok(),
            run(&["inspect", &list, &amd64]).ok(),
            run(&["push", "--insecure", "--purge", &list]).ok(),
            run(&["push", "--insecure", &list]).stderr,
            run(&["inspect", "--insecure", &list]).ok(),
            run(&["inspect", "--insecure", "-v", &list]).ok(),
            run(&["inspect", "--insecure", "-v", &arm64]).ok(),
            run(&["create", "--insecure", "localhost:5000/nested:1", &list]).stderr,
            run(&["inspect", "--insecure", "localhost:5000/none:1"]).stderr,
            run(&["rm", &list]).stderr,
        ];
        said.push(outputs.into_iter().map(|text| text.replace(&list, "LIST").trim().to_owned()).collect::<Vec<_>>());
    }
    for (docker, us) in said[0].iter().zip(&said[1]) {
        assert_eq!(us, docker);
    }
    let file = directory.path().join("list.yaml");
    let text = "image: localhost:5000/list:2\ntags: ['2.0']\nmanifests:\n- image: localhost:5000/parts:amd64\n  platform:\n    \
                architecture: amd64\n    os: linux\n- image: localhost:5000/parts:arm64\n  platform: {variant: v8, os.features: [a, b]}\n";
    fs::write(&file, text).expect("write");
    let words = ["manifest", "push", "--from", file.to_str().expect("a path")];
    let pushed = client(&ours, &netns, directory.path(), &daemon.host(), &words).ok();
    let digests: Vec<&str> = pushed.lines().filter(|line| line.starts_with("sha256:")).collect();
    // the last line of what the others printed
    let digest = said[0][8].lines().last().unwrap_or_default();
    assert_eq!(digests, [digest, digest]);

    // the list is an image of two platforms
    for platform in ["linux/amd64", "linux/arm64"] {
        daemon.docker(["pull", "-q", "--platform", platform, "localhost:5000/list:0"]).ok();
    }
    let tree = daemon.docker(["image", "ls", "--tree", "localhost:5000/list:0"]).ok();
    assert!(tree.contains("linux/amd64") && tree.contains("linux/arm64"), "{tree}");
    let shown = daemon.docker(["image", "inspect", "--platform", "linux/arm64", "localhost:5000/list:0"]).ok();
    assert!(shown.contains("\"Architecture\": \"arm64\""), "{shown}");
    let saved = directory.path().join("saved.tar");
    let saved = saved.to_str().expect("a path");
    daemon.docker(["save", "--platform", "linux/arm64", "-o", saved, "localhost:5000/list:0"]).ok();
    daemon.docker(["tag", "localhost:5000/list:0", "localhost:5000/one:1"]).ok();
    let pushed = daemon.docker(["push", "--platform", "linux/arm64", "localhost:5000/one:1"]).ok();
    assert!(pushed.contains("1: digest: sha256:"), "{pushed}");

    // a program of another machine: what is missing is said
    let run = daemon.docker(["run", "--rm", "--platform", "linux/arm64", "localhost:5000/list:0"]);
    let told = "exec /program: exec format error\nit is for arm64 and this machine is ";
    assert!(run.code == 255 && run.stderr.starts_with(told), "{run}");
    let emulator = Emulator::register();
    let run = daemon.docker(["run", "--rm", "--platform", "linux/arm64", "localhost:5000/list:0"]);
    // It ran in the container, and knows no verb of the program's name.
    assert!(run.code == 2 && !run.stderr.contains("exec format error"), "{run}");
    drop(emulator);
    for name in ["localhost:5000/list:0", "localhost:5000/one:1", "localhost:5000/parts:arm64"] {
        daemon.docker(["rmi", "-f", name]).ok();
    }
    let loaded = daemon.docker(["load", "--platform", "linux/arm64", "-i", saved]).ok();
    assert!(loaded.contains("Loaded image: localhost:5000/list:0"), "{loaded}");
    drop(registry);
    daemon.finish();
}

/// An OCI layout with an image and an artifact about it; and their digests.
fn signed(name: &str) -> (Vec<u8>, [String; 2]) {
    let image = Archive::new("x", json!({})).layer(Tar::new().file("a", 0o644, b"a").finish());
    let mut tar = Tar::new();
    let mut blob = |bytes: &[u8], kind: &str| {
        let digest = sha256(bytes);
        tar.file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let config = blob(image.document().to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let layer = blob(&image.layers[0], "application/vnd.oci.image.layer.v1.tar");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let subject = blob(manifest.to_string().as_bytes(), MANIFEST);
    let empty = blob(b"{}", "application/vnd.oci.empty.v1+json");
    let statement = blob(b"signed", "application/x.signature.blob");
    let artifact = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.signature", "config": empty,
        "layers": [statement], "subject": subject, "annotations": {"by": "us"},
    });
    let artifact = blob(artifact.to_string().as_bytes(), MANIFEST);
    let digests = [&subject, &artifact].map(|entry| entry["digest"].as_str().expect("a digest").to_owned());
    let mut named = subject;
    named["annotations"] = json!({"io.containerd.image.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [named, artifact]});
    tar.file("index.json", 0o644, index.to_string().as_bytes());
    tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    (tar.finish(), digests)
}

#[test]
fn what_refers_to_an_image_goes_with_it_to_our_registry_and_back() {
    referrers(Maker::Ours);
}

#[test]
fn what_refers_to_an_image_goes_with_it_to_a_registry_without_the_referrers_api() {
    referrers(Maker::Debian);
}

fn referrers(maker: Maker) {
    const NAME: &str = "localhost:5000/signed:1";
    let daemon = Daemon::start("refe");
    let netns = daemon.netns.clone().expect("a network");
    let registry = Registry::start(maker, &netns, 5000);
    let (archive, [subject, artifact]) = signed(NAME);
    load(&daemon, &archive);
    let kept = || daemon.api().get(&format!("/images/{NAME}/json"))["Referrers"].clone();
    let wanted = json!([{
        "Subject": subject,
        "Descriptor": {
            "mediaType": MANIFEST, "digest": artifact, "size": kept()[0]["Descriptor"]["size"],
            "annotations": {"by": "us"}, "artifactType": "application/x.signature",
        },
    }]);
    assert_eq!(kept(), wanted);
    let pushed = daemon.docker(["push", NAME]).ok();
    assert!(pushed.contains(": Pushed referrer application/x.signature\n"), "{pushed}");
    daemon.docker(["rmi", NAME]).ok();
    let blobs = || fs::read_dir(daemon.data_root().join("content/blobs/sha256")).expect("the blobs").count();
    assert_eq!(blobs(), 0);
    daemon.docker(["pull", "-q", NAME]).ok();
    assert_eq!(kept(), wanted);

    let ours = places::binary("rorqual");
    let words = ["image", "inspect", "-f", "{{(index .Referrers 0).Subject}}", NAME];
    let shown = client(&ours, &netns, Path::new("/nonexistent"), &daemon.host(), &words).ok();
    assert_eq!(shown.trim(), subject);
    let read = |path: &str| -> Value {
        let line = format!(
            "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://localhost:5000/v2/{path}\").read().decode())'"
        );
        serde_json::from_str(&netns.inside(&line).ok()).expect("JSON")
    };
    match maker {
        Maker::Ours => {
            let listed = read(&format!("signed/referrers/{subject}"));
            assert_eq!(listed["manifests"][0]["digest"], artifact.as_str());
        }
        Maker::Debian => {
            let tags = read("signed/tags/list")["tags"].to_string();
            assert!(tags.contains(&subject.replace(':', "-")), "{tags}");
        }
    }

    let directory = tempfile::tempdir().expect("a directory");
    let saved = directory.path().join("saved.tar");
    daemon.docker(["save", "-o", saved.to_str().expect("a path"), NAME]).ok();
    daemon.docker(["rmi", NAME]).ok();
    daemon.load(&saved);
    assert_eq!(kept(), wanted);
    assert_eq!(daemon.docker(["images", "-q"]).ok().lines().count(), 1);
    daemon.docker(["rmi", NAME]).ok();
    assert_eq!(blobs(), 0);
    drop(registry);
    daemon.finish();
}

#[test]
fn a_policy_decides_what_is_pulled() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = directory.path().join("policy.json");
    let path = policy.to_str().expect("a path").to_owned();
    fs::write(&policy, r#"{"default":"none","repositories":{"localhost:5000/bb":"by-digest"}}"#).expect("write");
    let arguments = vec!["--pull-policy".to_owned(), path.clone()];
    let daemon = Daemon::start_with("poli", Options { arguments, ..Options::default() });
    let registry = Registry::start(Maker::Debian, daemon.netns.as_ref().expect("a network"), 5000);
    // Loading is not pulling.
    daemon.load(&images::busybox());
    let id = daemon.docker(["image", "inspect", "-f", "{{.Id}}", "busybox"]).ok().trim().to_owned();
    for name in ["localhost:5000/bb:1", "localhost:5000/other:1"] {
        daemon.docker(["tag", "busybox", name]).ok();
        daemon.docker(["push", "-q", name]).ok();
    }
    daemon.docker(["rmi", "-f", &id]).ok();
    let blobs = || fs::read_dir(daemon.data_root().join("content/blobs/sha256")).expect("the blobs").count();
    let refused = |words: &[&str], why: &str| {
        let done = daemon.docker(words);
        assert!(done.code != 0 && done.stderr.contains(why), "{done}");
        assert_eq!(blobs(), 0);
    };
    let asks = format!(
        "pull of localhost:5000/bb:1 refused by {path}: the entry \"localhost:5000/bb\" asks for a digest: pull localhost:5000/bb@{id}"
    );
    refused(&["pull", "localhost:5000/bb:1"], &asks);
    refused(&["run", "--rm", "localhost:5000/bb:1", "true"], &asks);
    refused(&["pull", "localhost:5000/other:1"], "\"default\" allows none of its images");
    daemon.docker(["pull", "-q", &format!("localhost:5000/bb@{id}")]).ok();

    // A broken file changes nothing, and is named with its line; a right one counts from then on.
    let reload = |text: &str, told: &str| {
        fs::write(&policy, text).expect("write");
        daemon.signal(rustix::process::Signal::HUP);
        let told = || daemon.log().contains(told).then_some(());
        command::wait_for("the reload", Duration::from_secs(20), told);
    };
    reload("{\"default\":\n\"all\"}", "or a list of digests at line 2");
    assert!(daemon.docker(["pull", "localhost:5000/other:1"]).code != 0);
    reload(r#"{"default":"any"}"#, "configuration reloaded");
    daemon.docker(["pull", "-q", "localhost:5000/other:1"]).ok();

    fs::write(&policy, "{}").expect("write");
    let words = ["--validate", "--config-file", "/dev/null", "--pull-policy", &path];
    let checked = command::run(places::binary("rorquald"), words);
    assert!(
        checked.code == 1 && checked.stderr.contains(&format!("{path} cannot be used: missing field")),
        "{checked}"
    );
    drop(registry);
    daemon.finish();
}
