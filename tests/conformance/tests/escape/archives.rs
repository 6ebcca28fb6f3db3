//! V09, V11: archives that climb, lie, or explode.

use crate::{canary::Canary, daemon, docker, load, load_bytes};
use rorqual_testkit::{
    Archive,
    archive::{Tar, compress, sha256},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tar::EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};

/// What becomes of a hostile archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It must not load.
    Refused,
    /// It may load, so long as nothing outside changes: the entry stays inside.
    Harmless,
}
use Fate::{Harmless, Refused};

fn one(deform: impl Fn(&mut Tar)) -> Vec<u8> {
    let mut tar = Tar::new();
    deform(&mut tar);
    tar.finish()
}

/// Layers that try to leave the root they are unpacked into.
fn layers(canary: &Canary) -> Vec<(&'static str, Fate, Vec<u8>)> {
    let (climb, absolute) = (canary.climb(), canary.text());
    let secret = format!("{climb}/secret");
    let mut all: Vec<(&'static str, Fate, Vec<u8>)> = Vec::new();
    let mut add = |name, fate, layer| all.push((name, fate, layer));
    add("file by climbing", Refused, one(|t| _ = t.file(&format!("{climb}/new"), 0o644, b"x")));
    add(
        "file in the middle by climbing",
        Refused,
        one(|t| _ = t.file(&format!("a/../../../{climb}/new"), 0o644, b"x")),
    );
    add("file by an absolute name", Harmless, one(|t| _ = t.file(&format!("{absolute}/new"), 0o644, b"x")));
    add("directory by climbing", Refused, one(|t| _ = t.dir(&format!("{climb}/newdir"), 0o777)));
    add("mode of what is above", Refused, one(|t| _ = t.dir("../..", 0o777)));
    add("mode of the root itself", Harmless, one(|t| _ = t.dir(".", 0o777)));
    for (what, target) in [("climbing", &climb), ("absolute", &absolute)] {
        let name: &'static str =
            if what == "climbing" { "file through a climbing link" } else { "file through an absolute link" };
        add(name, Harmless, one(|t| _ = t.link("d", target).file("d/new", 0o644, b"x")));
        add("directory through a link", Harmless, one(|t| _ = t.link("d", target).dir("d/newdir", 0o777)));
        add("directory over a link to a directory", Harmless, one(|t| _ = t.link("d", target).dir("d", 0o700)));
        add(
            "file over a link to a file",
            Harmless,
            one(|t| _ = t.link("f", &format!("{target}/secret")).file("f", 0o600, b"x")),
        );
        add(
            "mode through a link",
            Harmless,
            one(|t| _ = t.link("f", &format!("{target}/secret")).entry(Regular, "f", 0o777, "", b"")),
        );
        add("hard link to a file outside", Refused, one(|t| _ = t.hard("h", &format!("{target}/secret"))));
        add("hard link through a link", Refused, one(|t| _ = t.link("d", target).hard("h", "d/secret")));
        add(
            "hard link, then written",
            Refused,
            one(|t| {
                t.link("d", target).hard("h", "d/secret").file("h", 0o644, b"overwritten");
            }),
        );
        add(
            "hard link's own name through a link",
            Harmless,
            one(|t| _ = t.file("f", 0o644, b"x").link("d", target).hard("d/h", "f")),
        );
        add("removal mark through a link", Harmless, one(|t| _ = t.link("d", target).file("d/.wh.secret", 0o644, b"")));
        add(
            "opaque mark through a link",
            Harmless,
            one(|t| _ = t.link("d", target).file("d/.wh..wh..opq", 0o644, b"")),
        );
        add("fifo through a link", Harmless, one(|t| _ = t.link("d", target).entry(Fifo, "d/fifo", 0o666, "", b"")));
        add("device through a link", Harmless, one(|t| _ = t.link("d", target).entry(Char, "d/dev", 0o666, "", b"")));
        add(
            "chain of links",
            Harmless,
            one(|t| _ = t.link("a", "b").link("b", "c").link("c", target).file("a/new", 0o644, b"x")),
        );
        add(
            "link replaced between",
            Harmless,
            one(|t| {
                t.dir("d", 0o755).entry(Symlink, "d", 0o777, target, b"").file("d/new", 0o644, b"x");
            }),
        );
        add(
            "owner through a link",
            Harmless,
            one(|t| {
                t.link("f", &format!("{target}/secret")).owned(Regular, "f", 0o644, (1234, 1234), "", b"");
            }),
        );
    }
    add("removal of what is above", Refused, one(|t| _ = t.file(".wh...", 0o644, b"")));
    add("removal of the root", Refused, one(|t| _ = t.file(".wh..", 0o644, b"")));
    add("removal of nothing", Refused, one(|t| _ = t.file(".wh.", 0o644, b"")));
    add("removal by climbing", Refused, one(|t| _ = t.file(&format!("{climb}/.wh.secret"), 0o644, b"")));
    add("removal mark as a directory", Harmless, one(|t| _ = t.file(".wh.../secret", 0o644, b"")));
    add("the root as a link", Refused, one(|t| _ = t.entry(Symlink, ".", 0o777, &climb, b"").file("new", 0o644, b"x")));
    add("the root as a file", Refused, one(|t| _ = t.file(".", 0o644, b"x")));
    add("an empty name", Refused, one(|t| _ = t.file("", 0o644, b"x")));
    add("a slash alone", Harmless, one(|t| _ = t.dir("/", 0o755)));
    add("hard link to nothing", Refused, one(|t| _ = t.hard("h", "nothing")));
    add("hard link to itself", Refused, one(|t| _ = t.hard("h", "h")));
    add("hard link to a directory", Refused, one(|t| _ = t.dir("d", 0o755).entry(Link, "h", 0o644, "d", b"")));
    add("block device", Harmless, one(|t| _ = t.entry(Block, "dev", 0o666, "", b"")));
    add("file below a file", Refused, one(|t| _ = t.file("f", 0o644, b"x").file("f/below", 0o644, b"x")));
    add("name of many parts", Harmless, one(|t| _ = t.file(&format!("{}x", "d/".repeat(40)), 0o644, b"x")));
    add("set-id bits", Harmless, one(|t| _ = t.file("suid", 0o6755, b"x")));
    add("secret by name only", Harmless, one(|t| _ = t.entry(Symlink, "l", 0o777, &secret, b"")));
    add("unknown kind", Refused, one(|t| _ = t.entry(tar::EntryType::new(b'Z'), "z", 0o644, "", b"x")));
    add("directory with content", Refused, one(|t| _ = t.entry(Directory, "d", 0o755, "", b"content")));
    add("truncated", Refused, {
        let whole = one(|t| _ = t.file("f", 0o644, &[b'x'; 5000]));
        whole[..1500].to_vec()
    });
    add("bad checksum", Refused, {
        let mut whole = one(|t| _ = t.file("f", 0o644, b"x"));
        whole[0] = b'g';
        whole
    });
    add("size beyond all", Refused, {
        let mut whole = one(|t| _ = t.file("f", 0o644, b"x"));
        whole[124..136].copy_from_slice(b"77777777777\0");
        fix(&mut whole);
        whole
    });
    add("negative size", Refused, {
        let mut whole = one(|t| _ = t.file("f", 0o644, b"x"));
        whole[124..136].copy_from_slice(&[0xff; 12]);
        fix(&mut whole);
        whole
    });
    add("extended header that lies about the size", Refused, pax(b"20 size=99999999999\n"));
    add("extended header without end", Refused, pax(b"99 path=x\n"));
    add("extended header that is no list", Refused, pax(b"nonsense"));
    add("extended header with a climbing path", Refused, {
        let record = format!("path={climb}/new\n");
        pax(format!("{} {record}", record.len() + 4).as_bytes())
    });
    add("extended header with two paths", Refused, pax(b"9 path=a\n9 path=b\n"));
    add("extended header with a zero byte in the path", Refused, pax(b"11 path=a\0b\n"));
    add("extended header with a path that is no text", Refused, pax(b"10 path=\xff\xfe\n"));
    add("extended header for nothing", Refused, {
        let mut whole = Tar::new();
        whole.entry(tar::EntryType::XHeader, "x", 0o644, "", b"9 path=a\n");
        whole.finish()
    });
    all
}

/// A file `f` with this extended header before it.
fn pax(records: &[u8]) -> Vec<u8> {
    one(|t| _ = t.entry(tar::EntryType::XHeader, "x", 0o644, "", records).file("f", 0o644, b"x"))
}

/// Makes the checksum of the first header right again.
fn fix(archive: &mut [u8]) {
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// V09: each layer is refused or stays inside; the host is as it was, and so is what the daemon lists.
#[test]
fn tar_corpus_layers() {
    let canary = Canary::new();
    let mut wrong = Vec::new();
    for (number, (name, fate, layer)) in layers(&canary).into_iter().enumerate() {
        let tag = format!("tar-corpus-{number}:latest");
        let archive = Archive::new(&tag, json!({"Cmd": ["/x"]})).layer(layer);
        for (form, bytes) in [("docker", archive.docker_archive()), ("oci", archive.oci_archive(Some("gzip")))] {
            let said = load_bytes(&bytes);
            canary.check(&format!("{name} ({form})"));
            let loaded = said.contains("Loaded image");
            if loaded && fate == Refused {
                // a store may unpack later; then it must not unpack at all
                let made = docker(&format!("create --name tar-corpus {tag}"));
                docker("rm -f tar-corpus");
                if made.code == 0 {
                    wrong.push(format!("{name} ({form}) was accepted"));
                }
            }
            if !loaded && fate == Harmless {
                // refusing more than needed is no hole, but it must say so
                assert!(said.contains("rror"), "{name}: {said}");
            }
            docker(&format!("rmi -f {tag}"));
            canary.check(&format!("removal of {name} ({form})"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The files of a docker-archive, to be deformed.
fn parts(archive: &Archive) -> (Vec<u8>, Value, String, String) {
    let config = archive.document().to_string().into_bytes();
    let (config_name, layer_name) =
        (format!("{}.json", sha256(&config)), format!("{}.tar", sha256(&archive.layers[0])));
    let manifest = json!([{"Config": config_name, "RepoTags": archive.tags, "Layers": [layer_name]}]);
    (config, manifest, config_name, layer_name)
}

/// V09, V11: whole archives that lie about what is in them.
#[test]
fn tar_corpus_archives() {
    let canary = Canary::new();
    let layer = one(|t| _ = t.file("f", 0o644, b"x"));
    let archive = Archive::new("tar-archive:latest", json!({})).layer(layer.clone());
    let (config, manifest, config_name, layer_name) = parts(&archive);
    let build = |config: &[u8], manifest: &Value, layer: &[u8]| {
        one(|t| {
            t.file(&config_name, 0o644, config).file(&layer_name, 0o644, layer);
            t.file("manifest.json", 0o644, manifest.to_string().as_bytes());
        })
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        build(&config, &manifest, &layer)
    };
    let secret = format!("{}/secret", canary.climb());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many: Vec<&str> = (0..600).map(|_| layer_name.as_str()).collect();
    let whole = build(&config, &manifest, &layer);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("no archive", b"nonsense".to_vec()),
        ("an empty archive", one(|_| {})),
        ("no manifest", one(|t| _ = t.file(&config_name, 0o644, &config))),
        ("truncated", whole[..whole.len() / 3].to_vec()),
        ("manifest is no JSON", one(|t| _ = t.file("manifest.json", 0o644, b"{"))),
        ("manifest is deep", one(|t| _ = t.file("manifest.json", 0o644, deep.as_bytes()))),
        ("config climbs", with(&|m| m[0]["Config"] = json!(secret))),
        ("config is absolute", with(&|m| m[0]["Config"] = json!("/etc/passwd"))),
        ("config is missing", with(&|m| m[0]["Config"] = json!("nosuch.json"))),
        ("layer climbs", with(&|m| m[0]["Layers"] = json!([secret]))),
        ("layer is absolute", with(&|m| m[0]["Layers"] = json!([format!("{}/secret", canary.text())]))),
        ("layer is missing", with(&|m| m[0]["Layers"] = json!(["nosuch.tar"]))),
        ("more layers than the config has", with(&|m| m[0]["Layers"] = json!([layer_name, layer_name]))),
        ("fewer layers than the config has", with(&|m| m[0]["Layers"] = json!([]))),
        ("600 layers", with(&|m| m[0]["Layers"] = json!(many))),
        ("a tag that is no reference", with(&|m| m[0]["RepoTags"] = json!(["../../bad name"]))),
        ("config is no JSON", build(b"nonsense", &manifest, &layer)),
        ("config is deep", build(deep.as_bytes(), &manifest, &layer)),
        ("layer is not what the config says", build(&config, &manifest, &one(|t| _ = t.file("other", 0o644, b"y")))),
        (
            "layer is a link to the host",
            one(|t| {
                t.file(&config_name, 0o644, &config).link(&layer_name, &secret);
                t.file("manifest.json", 0o644, manifest.to_string().as_bytes());
            }),
        ),
        (
            "config is a link to the host",
            one(|t| {
                t.link(&config_name, &secret).file(&layer_name, 0o644, &layer);
                t.file("manifest.json", 0o644, manifest.to_string().as_bytes());
            }),
        ),
        ("manifest is a link to the host", one(|t| _ = t.link("manifest.json", &secret))),
        ("manifest is a directory", one(|t| _ = t.dir("manifest.json", 0o755))),
        ("a layout that is no layout", one(|t| _ = t.file("oci-layout", 0o644, b"{").file("index.json", 0o644, b"{}"))),
        (
            "an index that is deep",
            one(|t| {
                t.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#).file(
                    "index.json",
                    0o644,
                    deep.as_bytes(),
                );
            }),
        ),
        ("a manifest that is an index too", oci(&json!({"manifests": [], "layers": [], "config": {}}))),
        ("a blob that is not what its name says", oci_wrong_blob()),
        (
            "a digest that climbs",
            oci_descriptor(&json!({"mediaType": MANIFEST, "size": 3, "digest": format!("sha256:{secret}")})),
        ),
        (
            "a negative size",
            oci_descriptor(&json!({"mediaType": MANIFEST, "size": -1, "digest": format!("sha256:{}", "0".repeat(64))})),
        ),
        ("an unknown algorithm", oci_descriptor(&json!({"mediaType": MANIFEST, "size": 1, "digest": "md5:00"}))),
    ];
    // a daemon of its own: others load images at the same time
    let own = rorqual_testkit::Daemon::start("tar");
    for (name, bytes) in cases {
        let answer = own.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(&bytes));
        let said = answer.map_or_else(|error| format!("error: {error}"), |answer| answer.text());
        assert!(said.contains("rror") || said.contains("message"), "{name} was accepted: {said}");
        assert!(!said.contains("of the host"), "{name} shows the host: {said}");
        assert!(said.len() < 4096, "{name}: the error echoes its input");
        canary.check(name);
        assert_eq!(own.docker(["images", "-a", "-q"]).stdout, "", "{name} left an image");
    }
    own.finish();
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn oci(document: &Value) -> Vec<u8> {
    let bytes = document.to_string().into_bytes();
    let digest = sha256(&bytes);
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": MANIFEST, "size": bytes.len(), "digest": format!("sha256:{digest}")}]});
    one(|t| {
        t.file(&format!("blobs/sha256/{digest}"), 0o644, &bytes).file(
            "index.json",
            0o644,
            index.to_string().as_bytes(),
        );
        t.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    })
}

fn oci_descriptor(descriptor: &Value) -> Vec<u8> {
    let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
    one(|t| {
        t.file("index.json", 0o644, index.to_string().as_bytes());
        t.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    })
}

fn oci_wrong_blob() -> Vec<u8> {
    let layer = one(|t| _ = t.file("f", 0o644, b"x"));
    let whole = Archive::new("tar-wrong:latest", json!({})).layer(layer).oci_archive(None);
    // one byte of the layer's content, found by the file's name inside it
    let at = whole.windows(512).position(|window| window.starts_with(b"f\0")).expect("the layer's header");
    let mut whole = whole;
    whole[at + 512] = b'y';
    whole
}

/// The most memory the daemon and its helpers had since the last look, in KiB, roughly.
fn memory() -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon().pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// V11: a few kilobytes that unpack to gigabytes.
#[test]
fn bomb_corpus() {
    let size: u64 = 5 << 28;
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").expect("a short name");
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let dir = tempfile::tempdir().expect("a directory");
    let plain = dir.path().join("plain");
    std::fs::write(&plain, header.as_bytes()).expect("write the header");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&plain)
        .and_then(|file| file.set_len(512 + size + 1024))
        .expect("a sparse file");
    for program in ["gzip", "zstd"] {
        let packed = rorqual_testkit::shell(&format!("{program} -q -c <{0} >{0}.packed", plain.display()));
        assert_eq!(packed.code, 0, "{packed}");
        let bytes = std::fs::read(plain.with_extension("packed")).expect("read the bomb");
        let digest = rorqual_testkit::shell(&format!("sha256sum <{}", plain.display())).ok();
        let digest = digest.split_whitespace().next().expect("a digest").to_owned();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]}})
        .to_string()
        .into_bytes();
        let config_name = format!("{}.json", sha256(&config));
        let manifest = json!([{"Config": config_name, "RepoTags": ["bomb:latest"], "Layers": ["layer.tar"]}]);
        let archive = one(|t| {
            t.file(&config_name, 0o644, &config).file("layer.tar", 0o644, &bytes);
            t.file("manifest.json", 0o644, manifest.to_string().as_bytes());
        });
        let (before, begin) = (memory(), Instant::now());
        let said = load_bytes(&archive);
        assert!(said.contains("rror"), "the {program} bomb was accepted: {said}");
        assert!(begin.elapsed() < Duration::from_secs(60), "refusing took {:?}", begin.elapsed());
        let grown = memory().saturating_sub(before) >> 10;
        assert!(grown < 64, "the daemon grew by {grown} MiB");
    }
}

/// V11: account files that are huge, endless, or no files.
#[test]
fn bomb_passwd() {
    let big = "x:x:1:1::/:/bin/sh\n".repeat(3_000_000);
    let long = format!("root:x:0:0:{}:/root:/bin/sh\n", "g".repeat(20 << 20));
    let many = "u:x:5:5::/:\n".repeat(100_000);
    for (number, (what, deform)) in [
        ("too big", Box::new(|t: &mut Tar| _ = t.file("etc/passwd", 0o644, big.as_bytes())) as Box<dyn Fn(&mut Tar)>),
        ("one endless line", Box::new(|t: &mut Tar| _ = t.file("etc/passwd", 0o644, long.as_bytes()))),
        ("too many lines", Box::new(|t: &mut Tar| _ = t.file("etc/passwd", 0o644, many.as_bytes()))),
        ("groups too big", Box::new(|t: &mut Tar| _ = t.file("etc/group", 0o644, big.as_bytes()))),
        ("a link to zeros", Box::new(|t: &mut Tar| _ = t.link("etc/passwd", "/dev/zero"))),
        ("a link out", Box::new(|t: &mut Tar| _ = t.link("etc/passwd", "../../../../../../etc/shadow"))),
        ("a link to itself", Box::new(|t: &mut Tar| _ = t.link("etc/passwd", "passwd"))),
        ("a fifo", Box::new(|t: &mut Tar| _ = t.entry(Fifo, "etc/passwd", 0o644, "", b""))),
        ("a directory", Box::new(|t: &mut Tar| _ = t.dir("etc/passwd", 0o755))),
    ]
    .into_iter()
    .enumerate()
    {
        let mut tar = Tar::new();
        let hello = std::fs::read(rorqual_testkit::places::binary("rorqual-hello")).expect("read hello");
        tar.file("hello", 0o755, &hello).dir("etc", 0o755);
        deform(&mut tar);
        let tag = format!("bomb-passwd-{number}:latest");
        let said = load(&Archive::new(&tag, json!({"Entrypoint": ["/hello"]})).layer(tar.finish()));
        assert!(said.contains("Loaded"), "{what}: {said}");
        let (before, begin) = (memory(), Instant::now());
        for user in ["nosuch", "root:nosuch"] {
            let done = docker(&format!("run --rm -u {user} {tag} ids"));
            assert!(done.code == 125 || done.code == 126 || done.code == 127, "{what} with {user}: {done}");
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{what} took {:?}", begin.elapsed());
        assert!(memory().saturating_sub(before) >> 10 < 64, "{what}: the daemon grew");
        // a number needs no account file
        let done = docker(&format!("run --rm -u 7:8 {tag} exit 0"));
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}: {done}");
        docker(&format!("rmi -f {tag}"));
    }
}

/// The other way round: what archives normally hold comes out as it was.
#[test]
fn an_ordinary_layer_is_unpacked_exactly() {
    let mut lower = Tar::new();
    lower.dir("gone", 0o755).file("gone/f", 0o644, b"x").dir("opaque", 0o755).file("opaque/old", 0o644, b"x");
    lower.file("kept", 0o640, b"kept").file("suid", 0o4755, b"x").file("removed", 0o644, b"x");
    let mut upper = Tar::new();
    upper.file(".wh.gone", 0o644, b"").file(".wh.removed", 0o644, b"");
    upper.dir("opaque", 0o711).file("opaque/.wh..wh..opq", 0o644, b"").file("opaque/new", 0o644, b"y");
    upper.owned(Regular, "owned", 0o600, (1000, 44), "", b"z").hard("twin", "owned").link("l", "kept");
    upper.entry(Fifo, "fifo", 0o622, "", b"").dir("sticky", 0o1777);
    let hello = std::fs::read(rorqual_testkit::places::binary("rorqual-hello")).expect("read hello");
    upper.file("hello", 0o755, &hello);
    let archive = Archive::new("tar-ordinary:latest", json!({"Entrypoint": ["/hello"]}))
        .layer(lower.finish())
        .layer(upper.finish());
    for bytes in [
        archive.docker_archive(),
        archive.oci_archive(None),
        archive.oci_archive(Some("gzip")),
        archive.oci_archive(Some("zstd")),
    ] {
        assert!(load_bytes(&bytes).contains("Loaded image"));
        for mode in ["", "--userns host"] {
            let listed = docker(&format!("run --rm --network none {mode} tar-ordinary ls / /opaque")).ok();
            assert!(!listed.contains("gone") && !listed.contains("removed") && !listed.contains("old"), "{listed}");
            let found = docker(&format!(
                "run --rm --network none {mode} tar-ordinary stat /kept /suid /owned /twin /fifo /sticky /opaque /l"
            ))
            .ok();
            let expected = "/kept file mode=0640 owner=0:0 size=4 links=1\n/suid file mode=4755 owner=0:0 size=1 links=1\n\
                /owned file mode=0600 owner=1000:44 size=1 links=2\n/twin file mode=0600 owner=1000:44 size=1 links=2\n\
                /fifo fifo mode=0622 owner=0:0 size=0 links=1\n";
            assert!(found.starts_with(expected), "{found}");
            assert!(
                found.contains("/sticky directory mode=1777") && found.contains("/opaque directory mode=0711"),
                "{found}"
            );
            assert!(found.contains("/l link to kept"), "{found}");
        }
        docker("rmi -f tar-ordinary").ok();
    }
    _ = compress("gzip", b"");
}
