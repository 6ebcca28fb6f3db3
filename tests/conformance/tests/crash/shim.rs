//! The supervisor of a container is killed.

use crate::start;
use rorqual_testkit::{Daemon, Options, command::wait_for};
use std::{
    fs,
    time::{Duration, Instant},
};

fn pids(daemon: &Daemon, name: &str) -> (i32, i32) {
    let pid = daemon.api().get(&format!("/containers/{name}/json"))["State"]["Pid"].as_i64().expect("a pid");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    (i32::try_from(pid).expect("a pid"), parent.expect("a parent"))
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill it");
}

#[test]
fn a_killed_supervisor_is_noticed_at_once_and_its_container_ends() {
    let daemon = start("shim", Options::default());
    for network in ["none", "bridge"] {
        daemon.docker(["run", "-d", "--network", network, "--name", "aa", "hello", "children", "3", "1000"]).ok();
        let (pid, shim) = pids(&daemon, "aa");
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroup");
        assert!(!cgroup.is_empty());
        let begin = Instant::now();
        kill(shim);
        wait_for("the exit", || (daemon.api().get("/containers/aa/json")["State"]["Running"] == false).then_some(()));
        let noticed = begin.elapsed();
        assert!(noticed < Duration::from_millis(400), "noticed after {noticed:?}");
        let state = daemon.api().get("/containers/aa/json")["State"].clone();
        assert_eq!(state["ExitCode"].as_i64(), Some(137), "{state}");
        assert!(!state["Error"].as_str().unwrap_or_default().is_empty(), "no reason is recorded: {state}");
        wait_for("the processes to end", || (!fs::exists(format!("/proc/{pid}")).unwrap_or(false)).then_some(()));
        let left = daemon.leftovers();
        assert!(left.is_empty(), "{left:#?}");
        daemon.docker(["start", "aa"]).ok();
        daemon.docker(["rm", "-f", "aa"]).ok();
    }
    daemon.finish();
}

#[test]
fn restart_policy_and_removal_follow_a_killed_supervisor() {
    let daemon = start("shim", Options::default());
    daemon.docker(["run", "-d", "--restart", "always", "--name", "again", "hello", "sleep", "1000"]).ok();
    daemon.docker(["run", "-d", "--rm", "--name", "gone", "hello", "sleep", "1000"]).ok();
    let (old, shim) = pids(&daemon, "again");
    kill(shim);
    kill(pids(&daemon, "gone").1);
    wait_for("the restart", || {
        let state = daemon.api().get("/containers/again/json")["State"].clone();
        (state["Running"] == true && state["Pid"].as_i64() != Some(old.into())).then_some(())
    });
    wait_for("the removal", || (daemon.api().call("GET", "/containers/gone/json", None).status == 404).then_some(()));
    daemon.finish();
}

#[test]
fn a_supervisor_that_dies_while_the_daemon_is_away_is_found_dead() {
    let mut daemon = start("shim", Options::default());
    daemon.docker(["run", "-d", "--name", "aa", "hello", "sleep", "1000"]).ok();
    let (pid, shim) = pids(&daemon, "aa");
    daemon.kill();
    kill(shim);
    daemon.boot();
    wait_for("the exit", || {
        // killed by us where it still ran, unknown where it was gone already
        let code = daemon.api().get("/containers/aa/json")["State"]["ExitCode"].as_i64();
        matches!(code, Some(137 | 255)).then_some(())
    });
    wait_for("its process to end", || (!fs::exists(format!("/proc/{pid}")).unwrap_or(false)).then_some(()));
    daemon.finish();
}
