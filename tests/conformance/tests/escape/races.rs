//! V03, V05: names that change while a container is being made.

use crate::{
    canary::{Canary, Flipper},
    daemon, docker, image, races,
};
use serde_json::json;
use std::{fs, path::Path};

fn volume(name: &str) -> std::path::PathBuf {
    docker(&format!("volume rm -f {name}"));
    docker(&format!("volume create {name}")).ok();
    daemon().data_root().join("volumes").join(name).join("_data")
}

/// The kernel's settings that must not have been reached.
fn settings() -> String {
    ["core_pattern", "modprobe", "hostname", "msgmax"]
        .map(|name| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default())
        .concat()
}

/// What every container must find masked and read-only.
const PROBE: &str = "echo x 2>/dev/null >/proc/sys/kernel/core_pattern && echo wrote core_pattern; \
    test ! -e /proc/sysrq-trigger || { echo h 2>/dev/null >/proc/sysrq-trigger && echo wrote sysrq; }; \
    for f in keys timer_list sched_debug kcore; do test ! -e /proc/$f || test $(head -c 10 /proc/$f 2>/dev/null | wc -c) = 0 || echo read $f; done; true";

/// V03: `/dev/null` of the container becomes a link while masks are made.
#[test]
fn race_mask() {
    image("race-mask", json!({}), |tar| {
        tar.dir("dev", 0o755).link("dev/null", "/proc/sys/kernel/core_pattern").link("dev/zero", "/proc/sysrq-trigger");
    });
    let before = settings();
    let done = daemon().docker(["run", "--rm", "race-mask", "sh", "-c", PROBE]);
    assert_eq!(done.stdout, "", "{done}");
    let data = volume("race-mask");
    let flipper = Flipper::file(&data, "null", Path::new("/proc/sys/kernel/core_pattern"));
    let mut ran = 0;
    for _ in 0..races() {
        let done = daemon().docker(["run", "--rm", "-v", "race-mask:/dev", "busybox", "sh", "-c", PROBE]);
        assert_eq!(done.stdout, "", "{done}");
        ran += usize::from(done.code == 0);
    }
    assert!(flipper.count() > 100, "the flipper did not flip");
    drop(flipper);
    docker("volume rm -f race-mask");
    assert_eq!(settings(), before, "the host's settings changed ({ran} ran)");
}

/// V03: `/dev/console` becomes a link while a terminal is bound there.
#[test]
fn race_console() {
    let before = settings();
    let canary = Canary::new();
    let data = volume("race-console");
    let flipper = Flipper::file(&data, "console", &canary.path().join("secret"));
    for _ in 0..races() {
        let done = daemon().docker(["run", "--rm", "-t", "-v", "race-console:/dev", "busybox", "sh", "-c", PROBE]);
        assert!(!done.stdout.contains("wrote"), "{done}");
    }
    drop(flipper);
    canary.check("a terminal over a link");
    docker("volume rm -f race-console");
    assert_eq!(settings(), before);
}

/// V05: the place a mount goes to becomes a link to the host while it is mounted.
#[test]
fn race_mount_dest() {
    let canary = Canary::new();
    let source = tempfile::tempdir().expect("a directory");
    fs::write(source.path().join("mine"), "x").expect("a file");
    let data = volume("race-dest");
    let flipper = Flipper::directory(&data, "a", canary.path());
    let bind = format!("{}:/v/a/target", source.path().display());
    let (mut ran, mut refused) = (0, 0);
    for round in 0..races() {
        let tmpfs = round % 2 == 0;
        let mut words = vec!["run", "--rm", "-v", "race-dest:/v"];
        words.extend(if tmpfs { ["--tmpfs", "/v/a/target"] } else { ["-v", &bind] });
        words.extend(["busybox", "sh", "-c", "cat /v/a/secret /v/a/target/../secret 2>/dev/null"]);
        let done = daemon().docker(words);
        assert!(!done.stdout.contains("of the host"), "{done}");
        if done.code == 125 || done.code == 127 {
            refused += 1
        } else {
            ran += 1
        }
        canary.check("a mount below a flipping name");
    }
    assert!(flipper.count() > 100, "the flipper did not flip ({ran} ran, {refused} refused)");
    drop(flipper);
    docker("volume rm -f race-dest");
}

/// V09: the same image unpacked, used and removed by many at once.
#[test]
fn race_unpack() {
    let canary = Canary::new();
    let mut tar = rorqual_testkit::archive::Tar::new();
    tar.link("d", &canary.climb());
    for number in 0..200 {
        tar.file(&format!("f{number}"), 0o644, b"x");
    }
    let archive = rorqual_testkit::Archive::new("race-unpack:latest", json!({})).layer(tar.finish());
    let bytes = archive.docker_archive();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..races().div_ceil(10) {
                    let done = crate::load_bytes(&bytes);
                    assert!(done.contains("Loaded image"), "{done}");
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..races().div_ceil(10) {
                docker("rmi -f race-unpack");
            }
        });
    });
    canary.check("parallel loads");
    docker("rmi -f race-unpack");
}
