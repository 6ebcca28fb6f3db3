//! A person at a terminal: the docker command line on a pty, typed at.

use rorqual_conformance::{Engine, engine, pty::Terminal};
use rorqual_testkit::{command::wait_for, daemon::docker_command};
use std::time::Duration;

/// A container's name, free again before and after the test.
struct Name(&'static Engine, String);

impl Name {
    fn new(name: &str) -> Self {
        let this = Self(engine(), format!("sessions-{name}"));
        this.0.docker(&format!("rm -f -v {}", this.1));
        this
    }

    fn terminal(&self, line: &str) -> Terminal {
        let mut command = docker_command(&self.0.host);
        command.args(line.replace("NAME", &self.1).split_whitespace()).env("TERM", "xterm");
        Terminal::start(&command, 24, 80)
    }

    fn docker(&self, line: &str) -> String {
        self.0.docker(&line.replace("NAME", &self.1)).stdout.trim().to_owned()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.0.docker(&format!("rm -f -v {}", self.1));
    }
}

#[test]
fn a_shell_answers_what_is_typed_and_ends_with_its_code() {
    let name = Name::new("shell");
    let mut terminal = name.terminal("run -it --name NAME busybox sh");
    terminal.expect("/ # ");
    terminal.send("echo $((6 * 7))\r");
    terminal.expect("\n42\r\n");
    terminal.send("exit 3\r");
    assert_eq!(terminal.end(), 3);
    assert_eq!(name.docker("inspect -f {{.State.ExitCode}} NAME"), "3");
}

#[test]
fn the_usual_keys_detach_and_a_second_attach_goes_on() {
    let name = Name::new("detach");
    let mut terminal = name.terminal("run -it --name NAME busybox sh");
    terminal.expect("/ # ");
    terminal.send("x=kept\r");
    terminal.expect("/ # ");
    terminal.send("\x10\x11");
    assert_eq!(terminal.end(), 0);
    assert_eq!(name.docker("inspect -f {{.State.Running}} NAME"), "true");
    let mut terminal = name.terminal("attach NAME");
    // nothing is shown before something is typed
    terminal.send("echo \"it is $x\"\r");
    terminal.expect("it is kept");
    terminal.send("exit 4\r");
    assert_eq!(terminal.end(), 4);
}

#[test]
fn keys_of_ones_own_detach_and_the_usual_ones_do_not() {
    let name = Name::new("keys");
    let mut terminal = name.terminal("run -it --detach-keys ctrl-x,e --name NAME busybox sh");
    terminal.expect("/ # ");
    // half a sequence is passed on
    terminal.send("echo \x18half\r");
    terminal.expect("half");
    terminal.expect("/ # ");
    terminal.send("\x18e");
    assert_eq!(terminal.end(), 0);
    assert_eq!(name.docker("inspect -f {{.State.Running}} NAME"), "true");
}

#[test]
fn an_exec_detaches_too_and_goes_on() {
    let name = Name::new("exec-detach");
    name.docker("run -d --name NAME busybox sleep 1000");
    let mut terminal = name.terminal("exec -it NAME sh");
    terminal.expect("/ # ");
    terminal.send("sleep 987\r");
    wait_for("the exec's program", || name.docker("top NAME").contains("sleep 987").then_some(()));
    terminal.send("\x10\x11");
    // docker's client calls a detached exec an error
    terminal.end();
    assert!(name.docker("top NAME").contains("sleep 987"));
}

#[test]
fn the_window_may_change_its_size() {
    let name = Name::new("resize");
    let mut terminal = name.terminal("run -it --name NAME busybox sh");
    terminal.expect("/ # ");
    wait_for("the first size", || {
        terminal.send("stty size\r");
        std::thread::sleep(Duration::from_millis(100));
        terminal.shown().contains("24 80").then_some(())
    });
    wait_for("the new size", || {
        // A change that the client was told of before it began to listen is lost; the next one is not.
        terminal.resize(41, 100);
        terminal.resize(41, 101);
        terminal.send("stty size\r");
        std::thread::sleep(Duration::from_millis(100));
        terminal.shown().contains("41 101").then_some(())
    });
    terminal.send("exit\r");
    terminal.end();
}

#[test]
fn the_size_of_an_execs_window_changes_too() {
    let name = Name::new("exec-resize");
    name.docker("run -d --name NAME busybox sleep 1000");
    let mut terminal = name.terminal("exec -it NAME sh");
    terminal.expect("/ # ");
    wait_for("the new size", || {
        // A change that the client was told of before it began to listen is lost; the next one is not.
        terminal.resize(33, 98);
        terminal.resize(33, 99);
        terminal.send("stty size\r");
        std::thread::sleep(Duration::from_millis(100));
        terminal.shown().contains("33 99").then_some(())
    });
    terminal.send("exit 5\r");
    assert_eq!(terminal.end(), 5);
}

#[test]
fn control_c_goes_to_the_program_on_the_terminal() {
    let name = Name::new("interrupt");
    let mut terminal = name.terminal("run -it --name NAME hello trap --exit 7 INT");
    terminal.expect("ready");
    terminal.send("\x03");
    terminal.expect("got INT");
    assert_eq!(terminal.end(), 7);
}

#[test]
fn control_c_ends_the_following_of_logs_and_nothing_else() {
    let name = Name::new("follow");
    name.docker("run -d --name NAME hello count 50");
    let mut terminal = name.terminal("logs -f NAME");
    terminal.expect("5\r\n");
    terminal.send("\x03");
    terminal.end();
    assert_eq!(name.docker("inspect -f {{.State.Running}} NAME"), "true");
}

#[test]
fn two_who_are_attached_see_the_same() {
    let name = Name::new("both");
    name.docker("run -dit --name NAME busybox sh");
    let mut one = name.terminal("attach NAME");
    let mut two = name.terminal("attach NAME");
    wait_for("both to be attached", || {
        one.send("echo $((1000 + 234))\r");
        std::thread::sleep(Duration::from_millis(200));
        (one.shown().contains("1234") && two.shown().contains("1234")).then_some(())
    });
    two.send("exit 6\r");
    assert_eq!(one.end(), 6);
    assert_eq!(two.end(), 6);
}

#[test]
fn a_terminal_that_goes_away_leaves_the_container_running() {
    let name = Name::new("hangup");
    let mut terminal = name.terminal("run -it --name NAME busybox sh");
    terminal.expect("/ # ");
    drop(terminal);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(name.docker("inspect -f {{.State.Running}} NAME"), "true");
    assert_eq!(name.docker("exec NAME echo still here"), "still here");
}
