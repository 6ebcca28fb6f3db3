//! Pull, push and save of the image of 400 MB, against Debian's `docker-registry` on the engine's own loopback.

use crate::{Sample, load, memory, target::Target};
use anyhow::{Context as _, Result, bail, ensure};
use rorqual_testkit::{command, http, places};
use std::{
    fs,
    io::{self, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Where images are pulled from, and where they are pushed to.
const FULL: u16 = 5998;
const EMPTY: u16 = 5999;
/// Unpacked bytes of the image's layers, in MB.
const SIZE: f64 = 400.0;

/// A registry in the network namespace of a process; it ends with this.
struct Registry(Child);

impl Registry {
    fn start(beside: i32, port: u16, data: &Path) -> Result<Self> {
        fs::create_dir_all(data)?;
        let path = data.with_extension("yml");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: \
             127.0.0.1:{port}\n",
            data.display()
        );
        fs::write(&path, config)?;
        let mut registry = Command::new("nsenter");
        registry.arg(format!("--net=/proc/{beside}/ns/net")).args(["docker-registry", "serve"]).arg(&path);
        registry.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let this = Self(registry.spawn().context("start docker-registry")?);
        let sockets = format!("/proc/{}/net/tcp", this.0.id());
        let listening = format!("0100007F:{port:04X} 00000000:0000 0A");
        command::wait_for("docker-registry to listen", || {
            fs::read_to_string(&sockets).is_ok_and(|text| text.contains(&listening)).then_some(())
        });
        Ok(this)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Puts the image into the registry's directory, once, both ways.
fn fill(beside: i32, data: &Path) -> Result<()> {
    let whole = data.with_extension("whole");
    if whole.exists() {
        return Ok(());
    }
    let _registry = Registry::start(beside, FULL, data)?;
    for coding in ["gzip", "zstd"] {
        let archive = data.with_extension(coding);
        fs::write(&archive, load::image().oci_archive(Some(coding)))?;
        let line = format!(
            "nsenter --net=/proc/{beside}/ns/net skopeo copy -q --insecure-policy --dest-tls-verify=false \
             oci-archive:{} docker://localhost:{FULL}/big-{coding}:1",
            archive.display()
        );
        let done = command::shell(&line);
        ensure!(done.code == 0, "{done}");
        fs::remove_file(&archive)?;
    }
    Ok(fs::write(whole, "")?)
}

/// The highest PSS of the engine while `work` runs, in MiB above what it was, and what `work` gave.
fn peak<T>(target: &Target, work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let before = memory::pss(target)?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = before;
            while !ended.load(Ordering::Relaxed) {
                peak = memory::pss(target).unwrap_or(0.0).max(peak);
                thread::sleep(Duration::from_millis(100));
            }
            peak
        });
        let done = work();
        ended.store(true, Ordering::Relaxed);
        let peak = watch.join().map_err(|_| anyhow::anyhow!("the watch ended"))?;
        Ok((peak, done?))
    })
}

/// Makes a request and reads its answer, bytes counted; an error in it is one here.
fn stream(target: &Target, method: &str, path: &str) -> Result<u64> {
    let mut connection = target.api().connect()?;
    // base64 of {}
    write!(connection, "{method} {path} HTTP/1.1\r\nHost: x\r\nX-Registry-Auth: e30=\r\nContent-Length: 0\r\n\r\n")?;
    let mut reader = BufReader::new(connection);
    let head = http::read_head(&mut reader)?;
    let (mut body, mut count) = (Vec::new(), 0);
    if head.header("transfer-encoding").is_some() {
        while http::read_chunk(&mut reader, &mut body)? {
            count += body.len() as u64;
            if head.status >= 400 || body.windows(13).any(|bytes| bytes == b"\"errorDetail\"") {
                bail!("{path}: {}", String::from_utf8_lossy(&body));
            }
            body.clear();
        }
    } else if let Some(length) = head.header("content-length") {
        count = io::copy(&mut io::Read::take(&mut reader, length.parse()?), &mut io::sink())?;
    }
    ensure!(head.status < 400, "{path}: {}", head.status);
    Ok(count)
}

/// Pulls of both codings, each removed again; save and push in between.
pub(crate) fn once(target: &mut Target) -> Result<Sample> {
    let daemon = target.daemon()?;
    let data = places::cache().join("bench-registry");
    fill(daemon, &data)?;
    let _full = Registry::start(daemon, FULL, &data)?;
    let mut sample = Vec::new();
    for coding in ["gzip", "zstd"] {
        let name = format!("localhost:{FULL}/big-{coding}");
        let begin = Instant::now();
        let pull = format!("/images/create?fromImage={name}&tag=1&tlsVerify=false");
        let (memory, _) = peak(target, || stream(target, "POST", &pull))?;
        let took = begin.elapsed().as_secs_f64();
        sample.push((format!("pull {coding}, s"), took));
        sample.push((format!("pull {coding}, unpacked MB/s"), SIZE / took));
        sample.push((format!("pull {coding}, peak MiB above idle"), memory));

        let begin = Instant::now();
        let bytes = stream(target, "GET", &format!("/images/{name}:1/get"))?;
        sample.push((format!("save {coding}, s"), begin.elapsed().as_secs_f64()));
        sample.push((format!("save {coding}, MB of archive"), bytes as f64 / 1e6));

        let scratch = tempfile::Builder::new().prefix("rq-bench-").tempdir_in(places::cache())?;
        let empty = Registry::start(daemon, EMPTY, &scratch.path().join("data"))?;
        let other = format!("localhost:{EMPTY}/big");
        let mut api = target.api();
        Target::call(&mut api, "POST", &format!("/images/{name}:1/tag?repo={other}&tag=1"), None)?;
        let begin = Instant::now();
        stream(target, "POST", &format!("/images/{other}/push?tag=1&tlsVerify=false"))?;
        let took = begin.elapsed().as_secs_f64();
        sample.push((format!("push {coding}, s"), took));
        sample.push((format!("push {coding}, unpacked MB/s"), SIZE / took));
        drop(empty);

        let begin = Instant::now();
        for name in [format!("{other}:1"), format!("{name}:1")] {
            Target::call(&mut api, "DELETE", &format!("/images/{name}?force=1"), None)?;
        }
        sample.push((format!("removal {coding}, s"), begin.elapsed().as_secs_f64()));
    }
    Ok(sample)
}
