//! Bad input: every limit that applies, and that a refusal changes nothing. Only our daemon has these.

use rorqual_testkit::{Api, Archive, Daemon, Options, archive::Tar, images, shell};
use serde_json::json;
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

fn daemon() -> &'static Daemon {
    static DAEMON: OnceLock<Daemon> = OnceLock::new();
    DAEMON.get_or_init(|| {
        let daemon = Daemon::start("lim");
        daemon.load(&images::hello());
        daemon.load(&images::busybox());
        daemon
    })
}

/// Sends bytes; gives the status of the answer, 0 where the connection was closed without one.
fn status(request: &[u8]) -> u16 {
    let mut stream = UnixStream::connect(daemon().socket()).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a time limit");
    // the daemon may answer and close before it has read everything
    _ = stream.write_all(request);
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn serves() {
    assert_eq!(daemon().api().call("GET", "/_ping", None).status, 200);
}

fn create_with(length: usize) -> u16 {
    let frame = r#"{"Image":"nosuch","Labels":{"x":""}}"#.len();
    let body = format!(r#"{{"Image":"nosuch","Labels":{{"x":"{}"}}}}"#, "a".repeat(length - frame));
    let head = format!(
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    status(format!("{head}{body}").as_bytes())
}

#[test]
fn bodies_end_at_four_mebibytes() {
    assert_eq!(create_with((4 << 20) - 1), 404);
    assert_eq!(create_with(4 << 20), 404);
    assert!([400, 413].contains(&create_with((4 << 20) + 1)));
    // a length that promises more than is allowed is refused before it is sent
    let lie = "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n";
    assert!([400, 413].contains(&status(lie.as_bytes())));
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "a".repeat(1 << 20));
    let chunked = format!(
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(6)
    );
    assert!([0, 400, 413].contains(&status(chunked.as_bytes())));
    serves();
}

#[test]
fn headers_end_at_64_kibibytes_and_addresses_at_16() {
    let headers = |length: usize| {
        status(format!("GET /_ping HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(length)).as_bytes())
    };
    assert_eq!(headers(60 << 10), 200);
    assert!([0, 400, 431].contains(&headers(70 << 10)));
    let address =
        |length: usize| status(format!("GET /_ping?{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length)).as_bytes());
    assert_eq!(address((16 << 10) - 100), 200);
    assert!([0, 400, 414, 431].contains(&address((16 << 10) + 100)));
    let many: String = (0..5000).map(|number| format!("X{number}: y\r\n")).collect();
    assert!([0, 400, 431].contains(&status(format!("GET /_ping HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes())));
    serves();
}

#[test]
fn documents_end_at_depth_64() {
    let deep = |depth: usize| {
        let body = format!(r#"{{"Image":"nosuch","Unknown":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        daemon()
            .api()
            .send("POST", "/containers/create", "application/json", Some(body.as_bytes()))
            .expect("an answer")
            .status
    };
    assert_eq!(deep(60), 404);
    assert_eq!(deep(70), 400);
    assert_eq!(deep(100_000), 400);
    serves();
}

#[test]
fn nonsense_is_refused_and_the_next_request_works() {
    for request in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1.51/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /containers/%2e%2e%2f%2e%2e%2fetc/json HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /containers/%00/json HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /containers/%ff%fe/json HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /containers/json?filters=%7B%22a%22 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /containers/json?limit=99999999999999999999 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /events?since=99999999999999999999999 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"DELETE /containers/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
    ] {
        let answer = status(request);
        assert!(answer == 0 || answer >= 400, "{} was answered {answer}", String::from_utf8_lossy(request));
    }
    serves();
}

#[test]
fn a_request_that_stops_half_way_is_given_up() {
    let begin = Instant::now();
    let threads: Vec<_> = [
        "GET /_ping HTTP/1.1\r\nHost:",
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ]
    .map(|half| {
        std::thread::spawn(move || {
            let mut stream = UnixStream::connect(daemon().socket()).expect("connect");
            stream.set_read_timeout(Some(Duration::from_secs(45))).expect("a time limit");
            stream.write_all(half.as_bytes()).expect("send half");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("the daemon closes");
        })
    })
    .into_iter()
    .collect();
    for thread in threads {
        thread.join().expect("closed in time");
    }
    let took = begin.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(40)).contains(&took), "given up after {took:?}");
    serves();
}

#[test]
fn many_connections_are_bounded_and_others_go_on() {
    let mut idle = Vec::new();
    for _ in 0..400 {
        let Ok(stream) = UnixStream::connect(daemon().socket()) else { break };
        idle.push(stream);
    }
    let fds = fs::read_dir(format!("/proc/{}/fd", daemon().pid())).map_or(0, Iterator::count);
    assert!(fds < 1400, "{fds} descriptors are open");
    drop(idle);
    rorqual_testkit::command::wait_for("service again", || {
        daemon().api().try_call("GET", "/_ping", None).is_ok_and(|answer| answer.status == 200).then_some(())
    });
}

#[test]
fn an_error_never_echoes_much_of_its_input() {
    let long = "x".repeat(8000);
    for path in [format!("/containers/{long}/json"), format!("/images/{long}/json"), format!("/volumes/{long}")] {
        let answer = daemon().api().call("GET", &path, None);
        assert!(answer.status >= 400 && answer.body.len() < 1024, "{} bytes for {} in", answer.body.len(), path.len());
    }
    let answer =
        daemon().api().call("POST", &format!("/containers/create?name={long}"), Some(&json!({"Image": "hello"})));
    assert!(answer.status >= 400 && answer.body.len() < 1024, "{}", answer.body.len());
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut api = daemon().api();
    let before = (api.get("/containers/json?all=1"), api.get("/images/json"), api.get("/volumes"));
    for body in [
        json!({"Image": "hello", "HostConfig": {"Memory": 1}}),
        json!({"Image": "hello", "User": "nosuch:nosuch:nosuch"}),
        json!({"Image": "hello", "HostConfig": {"Binds": ["limits-new:/x", "relative:path:nonsense"]}}),
        json!({"Image": "hello", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "nonsense"}]}}}),
        json!({"Image": "hello", "HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}),
        json!({"Image": "hello", "HostConfig": {"NetworkMode": "container:nosuch"}}),
        json!({"Image": "hello", "HostConfig": {"CapAdd": ["NOT_A_CAPABILITY"]}}),
        json!({"Image": "hello", "WorkingDir": "relative"}),
        json!({"Image": "hello", "StopSignal": "NOSUCH"}),
        json!({"Image": "hello", "HostConfig": {"Runtime": "nosuch"}}),
        json!({"Image": "hello", "HostConfig": {"Ulimits": [{"Name": "nonsense", "Soft": 1, "Hard": 1}]}}),
    ] {
        let answer = api.call("POST", "/containers/create?name=limits-refused", Some(&body));
        if answer.status < 400 {
            // dockerd, too, finds some of these out at the start
            let answer = api.call("POST", "/containers/limits-refused/start", None);
            assert!(answer.status >= 400, "{body} was accepted");
            api.call("DELETE", "/containers/limits-refused?v=1&force=1", None);
        }
    }
    let volumes = api.call("DELETE", "/volumes/limits-new", None).status;
    assert!([204, 404].contains(&volumes));
    assert_eq!((api.get("/containers/json?all=1"), api.get("/images/json"), api.get("/volumes")), before);
}

/// A file system of its own, small, in a file.
struct SmallDisk(PathBuf, tempfile::TempDir);

impl SmallDisk {
    fn new(mib: u32, inodes: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("rq-").tempdir().expect("a directory");
        let (file, mount) = (dir.path().join("fs"), dir.path().join("m"));
        shell(&format!(
            "set -e; truncate -s {mib}M {f}; mkfs.ext4 -q -N {inodes} -O ^has_journal {f} 2>/dev/null || mkfs.ext4 -q -N {inodes} {f}; mkdir {m}; mount -o loop {f} {m}",
            f = file.display(), m = mount.display()
        ))
        .ok();
        Self(mount, dir)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        shell(&format!("umount -l {}; rm -f {}/fs", self.0.display(), self.1.path().display()));
    }
}

#[test]
fn a_full_disk_refuses_with_reason_and_service_returns() {
    let disk = SmallDisk::new(96, 8192);
    let daemon = Daemon::start_with("full", Options { root: Some(disk.path().to_owned()), ..Options::default() });
    daemon.load(&images::hello());
    daemon.docker(["run", "-d", "--name", "alive", "hello", "count", "20"]).ok();
    shell(&format!("dd if=/dev/zero of={}/filler bs=64k 2>/dev/null; sync", disk.path().display()));
    let mut layer = Tar::new();
    layer.file("big", 0o644, &vec![b'x'; 30 << 20]);
    let big = Archive::new("big:latest", json!({})).layer(layer.finish()).docker_archive();
    let said =
        daemon.api().send("POST", "/images/load?quiet=1", "application/x-tar", Some(&big)).map(|answer| answer.text());
    let said = said.unwrap_or_default();
    assert!(said.contains("no space left on device"), "{said}");
    // reads and what runs go on
    assert!(daemon.docker(["ps", "-q"]).ok().len() > 10);
    assert_eq!(daemon.docker(["inspect", "-f", "{{.State.Running}}", "alive"]).ok(), "true\n");
    let refused = daemon.docker(["run", "--name", "refused", "hello", "echo", "x"]);
    // the kernel gives an overlay that has no room for its work directory out as read-only
    let reason = ["no space left", "read-only file system"].iter().any(|reason| refused.stderr.contains(reason));
    assert!(refused.code == 0 || reason, "{refused}");
    fs::remove_file(disk.path().join("filler")).expect("make room");
    let done = daemon.docker(["run", "--rm", "hello", "echo", "again"]);
    assert_eq!(done.stdout, "again\n", "{done}");
    daemon.docker(["rm", "-f", "refused"]);
    let left = daemon.leftovers();
    assert!(left.is_empty(), "{left:#?}");
    daemon.finish();
}

#[test]
fn a_disk_that_is_full_when_the_daemon_is_killed_does_not_stop_the_next_start() {
    let disk = SmallDisk::new(96, 8192);
    let mut daemon = Daemon::start_with("full", Options { root: Some(disk.path().to_owned()), ..Options::default() });
    daemon.load(&images::hello());
    daemon.docker(["run", "-d", "--name", "alive", "hello", "sleep", "1000"]).ok();
    shell(&format!("dd if=/dev/zero of={}/filler bs=64k 2>/dev/null; sync", disk.path().display()));
    daemon.kill();
    daemon.spawn();
    let outcome = daemon.await_ready(Duration::from_secs(20));
    fs::remove_file(disk.path().join("filler")).expect("make room");
    if outcome.is_err() {
        // it may say that it cannot; but then the reason is the disk, and with room it starts
        assert!(daemon.log().contains("space"), "{}", daemon.log());
        daemon.boot();
    }
    assert_eq!(daemon.docker(["inspect", "-f", "{{.State.Running}}", "alive"]).ok(), "true\n");
    daemon.finish();
}

#[test]
fn descriptors_may_run_out_and_come_back() {
    let daemon = Daemon::start("nofd");
    daemon.load(&images::hello());
    daemon.docker(["run", "-d", "--name", "alive", "hello", "sleep", "1000"]).ok();
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).map_or(0, Iterator::count);
    let pid = daemon.pid();
    let soft = shell(&format!("prlimit --pid {pid} --nofile --noheadings -o SOFT")).ok();
    shell(&format!("prlimit --pid {pid} --nofile={}:", open + 2)).ok();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.extend(UnixStream::connect(daemon.socket()));
    }
    // no answer may come while there is no descriptor for the connection
    let mut api = daemon.api();
    api.timeout = Duration::from_secs(2);
    let refused = api.try_call("POST", "/containers/alive/exec", Some(&json!({"Cmd": ["/hello"]})));
    drop(refused);
    drop(held);
    shell(&format!("prlimit --pid {pid} --nofile={}:", soft.trim())).ok();
    let done = rorqual_testkit::command::wait_for("service again", || {
        let done = daemon.docker(["run", "--rm", "hello", "echo", "again"]);
        (done.code == 0).then_some(done.stdout)
    });
    assert_eq!(done, "again\n");
    daemon.finish();
}

#[test]
fn a_used_name_a_used_port_a_missing_program_and_a_bad_user_change_nothing() {
    let daemon = Daemon::start("bad");
    daemon.load(&images::hello());
    daemon.docker(["run", "-d", "--name", "used", "-p", "8350:80", "hello", "sleep", "1000"]).ok();
    let left = || {
        let left = daemon.leftovers();
        assert!(left.is_empty(), "{left:#?}");
    };
    for words in [
        &["create", "--name", "used", "hello"][..],
        &["run", "--rm", "-p", "8350:80", "hello"],
        &["run", "--rm", "--entrypoint", "nosuch", "hello"],
        &["run", "--rm", "-u", "nosuch", "hello"],
        &["run", "--rm", "-v", "/nosuch/x:/hello/below/a/file", "hello"],
        &["run", "--rm", "--network", "nosuch", "hello"],
        &["run", "--rm", "--memory", "1", "hello"],
    ] {
        let done = daemon.docker(words);
        assert!(done.code != 0, "{words:?} was accepted: {done}");
        left();
    }
    assert_eq!(daemon.docker(["ps", "-aq"]).ok().lines().count(), 1);
    let mut api: Api = daemon.api();
    assert_eq!(api.get("/containers/used/json")["State"]["Running"], true);
    daemon.finish();
}
