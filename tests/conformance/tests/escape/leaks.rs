//! V12: streams that clients open and drop must cost nothing afterwards.

use crate::{daemon, docker, races};
use rorqual_testkit::{Api, command::wait_for};
use std::{fs, io::Write as _, time::Duration};

/// Open descriptors and resident KiB of a process.
fn cost(pid: u32) -> (usize, u64) {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    (descriptors, line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0))
}

fn shim_of(container: &str) -> u32 {
    let pid: u32 = docker(&format!("inspect -f {{{{.State.Pid}}}} {container}")).ok().trim().parse().expect("a pid");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let rest = stat.rsplit_once(')').expect("a name").1;
    rest.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a parent")
}

fn drop_one(api: &Api, request: &str) {
    let mut stream = api.connect().expect("connect");
    stream.write_all(request.as_bytes()).expect("ask");
    // an answer may or may not have begun; the client is gone
}

/// V12: thousands of attaches, log followers, event listeners and waits, each dropped at once.
#[test]
fn leak_attach() {
    docker("run -d -i --name leak-attach hello count 20").ok();
    let api = daemon().api();
    let requests = [
        "POST /containers/leak-attach/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
        "GET /containers/leak-attach/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /events HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /containers/leak-attach/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /containers/leak-attach/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\n",
        "GET /_ping HTTP/1.1\r\n",
    ];
    let shim = shim_of("leak-attach");
    let round = || {
        for request in requests {
            drop_one(&api, request);
        }
    };
    // the first rounds fill caches and pools
    for _ in 0..races() {
        round();
    }
    let settled = || {
        std::thread::sleep(Duration::from_millis(300));
        (cost(daemon().pid()), cost(shim))
    };
    let before = settled();
    for _ in 0..races() * 3 {
        round();
    }
    wait_for("descriptors to be closed", || {
        let ((daemon_fds, _), (shim_fds, _)) = settled();
        (daemon_fds <= before.0.0 + 3 && shim_fds <= before.1.0 + 1).then_some(())
    });
    let after = settled();
    assert!(after.0.1 < before.0.1 + 2048, "the daemon grew from {} to {} KiB", before.0.1, after.0.1);
    assert!(after.1.1 < before.1.1 + 512, "the supervisor grew from {} to {} KiB", before.1.1, after.1.1);
    assert_eq!(docker("inspect -f {{.State.Running}} leak-attach").ok().trim(), "true");
    docker("rm -f leak-attach").ok();
}

/// V12: execs that come and go leave nothing in the daemon or the supervisor.
#[test]
fn leak_exec() {
    docker("run -d --name leak-exec busybox sleep 1000").ok();
    let shim = shim_of("leak-exec");
    let run = |times: usize| {
        for _ in 0..times {
            docker("exec leak-exec true").ok();
        }
    };
    run(10);
    let (daemon_before, shim_before) = (cost(daemon().pid()), cost(shim));
    run(races());
    // a client's connection may be closed a moment after the client has gone
    wait_for("descriptors to be closed", || (cost(daemon().pid()).0 <= daemon_before.0 + 3).then_some(()));
    let shim_after = cost(shim);
    assert!(shim_after.0 <= shim_before.0 && shim_after.1 < shim_before.1 + 512, "{shim_before:?} {shim_after:?}");
    docker("rm -f leak-exec").ok();
}

/// A client that reads nothing slows the stream down, and neither the daemon nor the container pays in memory.
#[test]
fn a_reader_that_stops_reading_costs_a_bounded_buffer() {
    docker("run -d --name leak-slow hello lines 2000000 100").ok();
    let api = daemon().api();
    let before = cost(daemon().pid()).1;
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut stream = api.connect().expect("connect");
        stream.write_all(b"GET /containers/leak-slow/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n").expect("ask");
        idle.push(stream);
    }
    docker("wait leak-slow").ok();
    let grown = cost(daemon().pid()).1.saturating_sub(before);
    assert!(grown < 32 << 10, "eight idle readers cost {grown} KiB");
    drop(idle);
    docker("rm -f leak-slow").ok();
}
