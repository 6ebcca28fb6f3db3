//! What tests need and a fresh Debian 12 lacks: packages, a newer docker client, published Python packages.

use crate::check;
use anyhow::{Context as _, Result, bail};
use rorqual_testkit::{images, places};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Debian packages the tests use, with a file that shows each is there.
const PACKAGES: [(&str, &str); 18] = [
    ("apache2-utils", "/usr/bin/htpasswd"),
    ("docker-registry", "/usr/bin/docker-registry"),
    ("skopeo", "/usr/bin/skopeo"),
    ("podman", "/usr/bin/podman"),
    ("buildah", "/usr/bin/buildah"),
    ("busybox-static", "/bin/busybox"),
    ("debootstrap", "/usr/sbin/debootstrap"),
    ("nftables", "/usr/sbin/nft"),
    ("iproute2", "/usr/sbin/ip"),
    ("procps", "/usr/sbin/sysctl"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
    ("zstd", "/usr/bin/zstd"),
    ("strace", "/usr/bin/strace"),
    ("e2fsprogs", "/usr/sbin/mkfs.ext4"),
    ("openssl", "/usr/bin/openssl"),
    ("curl", "/usr/bin/curl"),
    ("runc", "/usr/sbin/runc"),
    ("crun", "/usr/bin/crun"),
];

/// The versions of the clients, so that a run today and one next year drive the same.
const PYTHON: [&str; 2] = ["docker[websockets]==7.1.0", "oras==0.2.42"];

/// An S3-compatible server that nobody here wrote.
const PYTHON_OBJECTS: &str = "moto[s3,server]==5.2.5";

/// Installs all of it; what is there already costs nothing.
pub fn all() -> Result<()> {
    packages()?;
    docker_client()?;
    python_packages("python", &PYTHON)?;
    python_packages("objects", &[PYTHON_OBJECTS])
}

fn packages() -> Result<()> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    apt(&["update", "-qq"])?;
    let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
    words.extend(missing);
    apt(&words)
}

fn apt(words: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-o", "DPkg::Lock::Timeout=300"]).args(words);
    check(command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
}

/// The docker command line of Debian's unstable suite, unpacked (not installed) into the cache: it is one static-ish
/// Go program, and its own libraries come with it.
fn docker_client() -> Result<()> {
    let dir = places::cache().join("clients");
    let program = dir.join("usr/bin/docker");
    if program.exists() {
        return Ok(());
    }
    println!("unpacking a docker client >= 28 from Debian's unstable suite");
    let state = places::cache().join("apt");
    for sub in ["lists/partial", "archives/partial", "etc"] {
        fs::create_dir_all(state.join(sub)).context("make apt's directories")?;
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let source = format!("deb [signed-by={keyring}] {} sid main\n", images::mirror());
    fs::write(state.join("etc/sources.list"), source).context("write apt's sources")?;
    fs::write(state.join("status"), "").context("write apt's status")?;
    let options: Vec<String> = [
        format!("Dir::Etc::sourcelist={}/etc/sources.list", state.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}/lists", state.display()),
        format!("Dir::State::status={}/status", state.display()),
        format!("Dir::Cache={}", state.display()),
        "Acquire::Check-Valid-Until=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect();
    check(Command::new("apt-get").args(&options).args(["update", "-qq"]).stdout(Stdio::null()))?;
    check(
        Command::new("apt-get")
            .args(&options)
            .args(["download", "-qq", "docker-cli"])
            .current_dir(&state)
            .stdout(Stdio::null()),
    )?;
    let part = dir.with_extension("part");
    _ = fs::remove_dir_all(&part);
    for entry in fs::read_dir(&state).context("list what apt fetched")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            check(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&part))?;
            fs::remove_file(&path)?;
        }
    }
    _ = fs::remove_dir_all(&dir);
    fs::rename(&part, &dir).context("keep the client")?;
    let version = Command::new(&program).arg("--version").output().context("run the client")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let major = version.split(' ').nth(2).and_then(|word| word.split('.').next()?.parse::<u32>().ok());
    if major.is_none_or(|major| major < 28) {
        bail!("the suite's docker client is too old or does not run here: {version}");
    }
    Ok(())
}

/// Published packages of Python in an environment of their own.
fn python_packages(name: &str, packages: &[&str]) -> Result<()> {
    let dir = places::cache().join(name);
    let complete = dir.join(packages.join(" "));
    if complete.exists() {
        return Ok(());
    }
    println!("installing the Python packages {}", packages.join(", "));
    _ = fs::remove_dir_all(&dir);
    check(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&dir))?;
    let pip = dir.join("bin/pip");
    check(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    fs::write(complete, "").context("mark the environment as complete")
}
