//! The images tests run: the built-in one, busybox, Debian. Made from Debian's packages, never pulled.

use crate::{
    archive::{Archive, Tar, layer_of},
    command, places,
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The built-in image `hello:latest` from the static program at `program`.
pub fn hello_of(program: &Path) -> Archive {
    let bytes = fs::read(program).unwrap_or_else(|error| panic!("read {}: {error}", program.display()));
    let layer = Tar::new().file("hello", 0o755, &bytes).finish();
    Archive::new("hello:latest", json!({"Entrypoint": ["/hello"], "Env": [PATH]})).layer(layer)
}

/// The built-in image as a docker-archive file.
pub fn hello() -> PathBuf {
    let program = places::binary("rorqual-hello");
    let path = program.with_file_name("hello-image.tar");
    let fresh = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if fresh(&path) > fresh(&program) {
        return path;
    }
    hello_of(&program).save(&path)
}

/// `busybox:latest` from Debian's `busybox-static`, as a docker-archive file.
pub fn busybox() -> PathBuf {
    let path = places::cache().join("busybox-1.tar");
    if path.exists() {
        return path;
    }
    busybox_archive().save(&path)
}

/// `busybox:latest` before it is an archive, for tests that deform it.
pub fn busybox_archive() -> Archive {
    let program = fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut tar = Tar::new();
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "usr", "usr/bin", "var"] {
        tar.dir(dir, 0o755);
    }
    tar.dir("tmp", 0o1777).dir("home", 0o755);
    tar.file("bin/busybox", 0o755, &program);
    for applet in command::run("/bin/busybox", ["--list"]).ok().lines().filter(|name| *name != "busybox") {
        tar.link(&format!("bin/{applet}"), "busybox");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nalice:x:1000:1000:Alice:/home:/bin/sh\n";
    let group = "root:x:0:\ndaemon:x:1:\nwheel:x:10:alice\nvideo:x:44:alice\nalice:x:1000:\n";
    tar.file("etc/passwd", 0o644, passwd.as_bytes()).file("etc/group", 0o644, group.as_bytes());
    Archive::new("busybox:latest", json!({"Cmd": ["sh"], "Env": [PATH]})).layer(tar.finish())
}

/// The packages of [`debian`] on top of the minimal system.
const PACKAGES: &str = "iputils-ping sudo openssh-server openssh-client postgresql nginx-light redis-server \
    procps libcap2-bin iproute2 netcat-openbsd";

/// Bump when the recipe changes, so that caches are left behind.
const DEBIAN_RECIPE: &str = "debian-bookworm-3";

/// `debian:bookworm`, a minimal system made by debootstrap, as a docker-archive file.
pub fn debian() -> PathBuf {
    let path = places::cache().join(format!("{DEBIAN_RECIPE}.tar"));
    if !path.exists() {
        Archive::new("debian:bookworm", json!({"Cmd": ["bash"], "Env": [PATH]}))
            .layer(layer_of(&debian_tree()).expect("pack the Debian tree"))
            .save(&path);
    }
    path
}

/// `programs:bookworm`: [`debian`] with ping, sudo, sshd, PostgreSQL, nginx and redis as their packages ship them.
pub fn programs() -> PathBuf {
    let path = places::cache().join(format!("{DEBIAN_RECIPE}-programs.tar"));
    if path.exists() {
        return path;
    }
    let tree = places::cache().join(format!("{DEBIAN_RECIPE}-programs"));
    if !tree.exists() {
        let part = tree.with_extension("part");
        script(&format!(
            "rm -rf {part} && cp -a {base} {part} && {{ cp /etc/resolv.conf {part}/etc/resolv.conf || true; }} && \
             {{ cp /etc/apt/apt.conf.d/*proxy* {part}/etc/apt/apt.conf.d/ 2>/dev/null || true; }} && \
             printf '#!/bin/sh\\nexit 101\\n' >{part}/usr/sbin/policy-rc.d && chmod +x {part}/usr/sbin/policy-rc.d && \
             mount --bind {part} {part} && mount -t proc proc {part}/proc && mount -t tmpfs tmpfs {part}/dev/shm && \
             chroot {part} sh -c 'export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && \
             apt-get install -y -qq --no-install-recommends {PACKAGES} && apt-get clean' && \
             rm -rf {part}/var/lib/apt/lists/* {part}/usr/sbin/policy-rc.d {part}/etc/resolv.conf && : >{part}/etc/resolv.conf",
            part = part.display(),
            base = debian_tree().display(),
        ));
        fs::rename(&part, &tree).expect("keep the tree");
    }
    Archive::new("programs:bookworm", json!({"Cmd": ["bash"], "Env": [PATH]}))
        .layer(layer_of(&tree).expect("pack the tree of programs"))
        .save(&path)
}

fn debian_tree() -> PathBuf {
    let tree = places::cache().join(DEBIAN_RECIPE);
    if !tree.exists() {
        let part = tree.with_extension("part");
        script(&format!(
            "rm -rf {part} && debootstrap --variant=minbase bookworm {part} {mirror} >{part}.log 2>&1 && \
             rm -rf {part}/var/cache/apt/archives/*.deb {part}/var/lib/apt/lists/*",
            part = part.display(),
            mirror = mirror(),
        ));
        fs::rename(&part, &tree).expect("keep the tree");
    }
    tree
}

/// The mirror this machine's own apt uses, so that a test run needs no other host.
pub fn mirror() -> String {
    let script = "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | \
        sed -nE 's#^(URIs:|deb) *(\\[[^]]*\\] *)?(http[^ ]*/debian)/?( .*)?$#\\3#p' | head -1";
    let found = command::shell(script).ok().trim().to_owned();
    assert!(!found.is_empty(), "apt's sources name no Debian mirror");
    found
}

/// Runs a set-up script in a mount namespace of its own, so that a failure half way leaves no mount behind.
fn script(text: &str) {
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-ec", text]);
    command::finish(&mut command, b"", Duration::from_secs(900)).ok();
}
