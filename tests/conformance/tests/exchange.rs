//! Clients nobody here wrote and our registry: what one pushes the others pull, with the same digest.
//!
//! Each client runs a script in the daemon's network namespace, where what it keeps outside of its own directory is
//! a tmpfs of its own; the script prints the digests that it saw.

#![forbid(unsafe_code)]

use rorqual_testkit::{
    Archive, Daemon, Maker, Registry,
    archive::{Tar, sha256},
    command, images, places,
};
use serde_json::json;
use std::process::Command;

struct Fixture {
    registry: Registry,
    daemon: Daemon,
    work: tempfile::TempDir,
}

impl Fixture {
    /// A daemon and our registry beside it.
    fn new(label: &str) -> Self {
        let daemon = Daemon::start(label);
        let registry = Registry::start(Maker::Ours, daemon.netns.as_ref().expect("a network"), 5000);
        Self { registry, daemon, work: tempfile::Builder::new().prefix("rq-exchange-").tempdir().expect("a directory") }
    }

    /// An OCI layout in the directory `name` below the work directory, of two layers compressed by `compressor`;
    /// gives the digest of its manifest.
    fn layout(&self, name: &str, architecture: &str, compressor: &str) -> String {
        let mut image = Archive::new("bb:1", json!({"Cmd": ["/a"], "Labels": {"of": name}}));
        architecture.clone_into(&mut image.architecture);
        let image = image
            .layer(Tar::new().file("a", 0o755, name.as_bytes()).finish())
            .layer(Tar::new().dir("d", 0o700).file("d/b", 0o640, &[7; 70_000]).finish());
        let dir = self.work.path().join(name);
        std::fs::create_dir(&dir).expect("make the layout's directory");
        let mut tar = Command::new("tar");
        command::finish(tar.arg("-xC").arg(&dir), &image.oci_archive(Some(compressor)), command::DEADLINE).ok();
        let index = std::fs::read(dir.join("index.json")).expect("read the index");
        let index: serde_json::Value = serde_json::from_slice(&index).expect("the index is JSON");
        index["manifests"][0]["digest"].as_str().expect("a digest").to_owned()
    }

    /// Runs a script in the work directory; gives the lines it printed.
    #[track_caller]
    fn script(&self, text: &str) -> Vec<String> {
        let netns = format!("--net=/run/netns/{}", self.daemon.netns.as_ref().expect("a network").name);
        let hide = "mkdir -p /var/lib/containers /run/containers /run/libpod\n\
            for dir in /var/lib/containers /run/containers /run/libpod; do mount -t tmpfs tmpfs $dir; done\n";
        let mut command = Command::new("nsenter");
        command.args([&netns, "unshare", "-m", "--propagation", "private", "sh", "-euc", &format!("{hide}{text}")]);
        command.current_dir(self.work.path()).env("HOME", self.work.path());
        let done = command::finish(&mut command, b"", command::DEADLINE);
        assert!(done.code == 0, "{done}");
        done.stdout.lines().map(str::to_owned).collect()
    }

    /// The digest of what our daemon gets by that name.
    #[track_caller]
    fn pulled(&self, name: &str) -> String {
        self.daemon.docker(["pull", "-q", name]).ok();
        self.daemon.docker(["image", "inspect", "-f", "{{.Id}}", name]).ok().trim().to_owned()
    }

    fn finish(self) {
        drop(self.registry);
        self.daemon.finish();
    }
}

#[test]
fn skopeo_and_our_daemon_see_the_same_digests() {
    let fixture = Fixture::new("exsk");
    for compressor in ["gzip", "zstd"] {
        let digest = fixture.layout(compressor, "amd64", compressor);
        let lines = fixture.script(&format!(
            "copy() {{ skopeo copy -q --preserve-digests --src-tls-verify=false --dest-tls-verify=false \"$@\"; }}
             copy oci:{compressor}:1 docker://localhost:5000/{compressor}:1
             copy docker://localhost:5000/{compressor}:1 docker://localhost:5000/copy/{compressor}:1
             copy docker://localhost:5000/copy/{compressor}:1 dir:back
             echo sha256:$(sha256sum <back/manifest.json | cut -d' ' -f1)
             skopeo inspect --tls-verify=false -f '{{{{.Digest}}}}' docker://localhost:5000/copy/{compressor}:1
             skopeo list-tags --tls-verify=false docker://localhost:5000/{compressor} | tr -d ' \\n'; echo
             rm -r back"
        ));
        let tags = format!("{{\"Repository\":\"localhost:5000/{compressor}\",\"Tags\":[\"1\"]}}");
        assert_eq!(lines, [digest.clone(), digest.clone(), tags]);
        assert_eq!(fixture.pulled(&format!("localhost:5000/copy/{compressor}:1")), digest);
        // and what skopeo deletes is gone
        fixture.script(&format!("skopeo delete --tls-verify=false docker://localhost:5000/copy/{compressor}:1"));
        let gone = fixture.daemon.docker(["pull", &format!("localhost:5000/copy/{compressor}:1")]);
        assert!(gone.code == 1 && gone.stderr.contains("not found"), "{gone}");
    }
    // the other way: what our daemon pushed
    fixture.daemon.load(&images::busybox());
    fixture.daemon.docker(["tag", "busybox", "localhost:5000/ours:1"]).ok();
    fixture.daemon.docker(["push", "-q", "localhost:5000/ours:1"]).ok();
    let digest = fixture.pulled("localhost:5000/ours:1");
    let lines = fixture.script(
        "skopeo copy -q --preserve-digests --src-tls-verify=false docker://localhost:5000/ours:1 dir:back
         echo sha256:$(sha256sum <back/manifest.json | cut -d' ' -f1)",
    );
    assert_eq!(lines, [digest]);
    fixture.finish();
}

#[test]
fn podman_and_buildah_get_and_give_the_same_digests() {
    let fixture = Fixture::new("expo");
    let digest = fixture.layout("one", "amd64", "gzip");
    fixture.script("skopeo copy -q --preserve-digests --dest-tls-verify=false oci:one:1 docker://localhost:5000/one:1");
    let podman = "podman --root podman --runroot podman-run --tmpdir podman-tmp --storage-driver vfs \
        --cgroup-manager cgroupfs --events-backend none";
    let buildah = "buildah --root buildah --runroot buildah-run --storage-driver vfs";
    for (program, inspect) in [(podman, "image inspect -f {{.Digest}}"), (buildah, "images --format {{.Digest}}")] {
        let name = program.split(' ').next().expect("a name");
        let lines = fixture.script(&format!(
            "{program} pull -q --tls-verify=false localhost:5000/one:1 >/dev/null
             {program} {inspect} localhost:5000/one:1
             {program} push -q --tls-verify=false --digestfile pushed localhost:5000/one:1 docker://localhost:5000/{name}:1
             cat pushed; echo; rm pushed
             {program} rmi localhost:5000/one:1 >/dev/null
             {program} pull -q --tls-verify=false localhost:5000/{name}:1 >/dev/null
             {program} {inspect} localhost:5000/{name}:1
             {program} rmi localhost:5000/{name}:1 >/dev/null"
        ));
        let [pulled, pushed, again] = &lines[..] else { panic!("{name} printed {lines:?}") };
        assert_eq!(pulled, &digest, "{name} pulled another image");
        assert_eq!(again, pushed, "{name} pulled what it had not pushed");
        assert_eq!(&fixture.pulled(&format!("localhost:5000/{name}:1")), pushed, "{name} pushed another image");
    }
    fixture.finish();
}

/// An index of two platforms, which buildah makes from what is in the registry.
#[test]
fn an_index_that_buildah_pushed_is_pulled_whole() {
    let fixture = Fixture::new("exix");
    let amd64 = fixture.layout("amd64", "amd64", "gzip");
    let arm64 = fixture.layout("arm64", "arm64", "zstd");
    let lines = fixture.script(
        "for one in amd64 arm64; do
             skopeo copy -q --preserve-digests --dest-tls-verify=false oci:$one:1 docker://localhost:5000/$one:1
         done
         buildah='buildah --root buildah --runroot buildah-run --storage-driver vfs'
         $buildah manifest create both >/dev/null
         for one in amd64 arm64; do
             $buildah manifest add --tls-verify=false both docker://localhost:5000/$one:1 >/dev/null
         done
         $buildah manifest push --all --tls-verify=false --digestfile pushed both docker://localhost:5000/both:1 >/dev/null 2>&1
         cat pushed; echo
         skopeo copy -q --all --preserve-digests --src-tls-verify=false docker://localhost:5000/both:1 oci:both:1
         skopeo inspect --raw oci:both:1 | sha256sum | cut -d' ' -f1",
    );
    let [pushed, copied] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(pushed, &format!("sha256:{copied}"));
    assert_eq!(&fixture.pulled("localhost:5000/both:1"), pushed);
    for (platform, digest) in [("linux/amd64", &amd64), ("linux/arm64", &arm64)] {
        fixture.daemon.docker(["pull", "-q", "--platform", platform, "localhost:5000/both:1"]).ok();
        let name = format!("localhost:5000/both@{digest}");
        assert_eq!(&fixture.pulled(&name), digest, "{platform}");
    }
    fixture.finish();
}

/// oras for Python: files that are no image.
#[test]
fn an_artifact_of_oras_comes_back_as_it_went() {
    let fixture = Fixture::new("exor");
    let content = b"not an image\n".repeat(9000);
    std::fs::write(fixture.work.path().join("file.txt"), &content).expect("write the file");
    std::fs::write(fixture.work.path().join("artifact.py"), ORAS).expect("write the script");
    let lines = fixture.script(&format!("{} artifact.py; sha256sum <back/file.txt", places::python().display()));
    assert_eq!(lines.last().expect("a sum").split(' ').next(), Some(sha256(&content).as_str()), "{lines:?}");
    let refused = fixture.daemon.docker(["pull", "localhost:5000/artifact:1"]);
    assert!(refused.code == 1 && refused.stderr.contains("this is an artifact, not an image"), "{refused}");
    fixture.finish();
}

const ORAS: &str = r#"
import oras.client
client = oras.client.OrasClient(insecure=True)
client.push(target="localhost:5000/artifact:1", files=["file.txt:text/plain"])
assert client.get_tags("localhost:5000/artifact") == ["1"]
client.pull(target="localhost:5000/artifact:1", outdir="back")
"#;
