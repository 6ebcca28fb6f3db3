//! Asking the oracle, a script outside our code, whether the daemon's words and the machine's state agree.

use crate::{
    command::{self, DEADLINE},
    daemon::Daemon,
};
use std::process::Command;

const ORACLE: &str = include_str!("../scripts/oracle.py");

/// Every difference the oracle finds once things have settled; empty is good.
pub fn oracle(daemon: &Daemon) -> Vec<String> {
    let mut command = Command::new("python3");
    command.args(["-c", ORACLE, "--host"]).arg(daemon.host()).arg("--data-root").arg(daemon.data_root());
    command.arg("--exec-root").arg(daemon.exec_root()).args(["--cgroup", &daemon.cgroup]);
    command.arg("--daemon").arg(daemon.pid().to_string());
    if let Some(netns) = &daemon.netns {
        command.args(["--netns", &netns.name]);
    }
    let done = command::finish(&mut command, b"", DEADLINE);
    assert!(done.code == 0 || done.code == 1, "the oracle failed: {done}");
    done.stdout.lines().map(str::to_owned).collect()
}
