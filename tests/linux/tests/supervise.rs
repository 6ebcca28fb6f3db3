//! The shim while a container runs: streams, terminals, execs, signals, and a daemon that comes and goes.

use rorqual_linux_tests::{Case, Lab, demultiplex};
use rorqual_runtime::{
    ExecOptions,
    protocol::{Connection, Event, Phase, Request, Step},
    spawn,
};
use std::{fs, time::Duration};

fn exec(args: &[&str]) -> ExecOptions {
    ExecOptions { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..ExecOptions::default() }
}

/// The messages of a json-file log.
fn log(container: &rorqual_linux_tests::Container<'_>) -> String {
    let text = fs::read_to_string(container.dir.join("log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| line["log"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn input_reaches_the_program_and_ends() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let mut container = Case::sh(&lab, "cat; echo end").userns(userns).stdin().start().unwrap();
        let mut attached = container.attach(true);
        attached.send(b"one\n");
        attached.send(b"two\n");
        attached.read_until("two\n");
        attached.end_input();
        let (out, _) = demultiplex(&attached.read_all());
        assert_eq!(out, b"end\n");
        assert_eq!(container.wait().code, 0);
        assert_eq!(log(&container), "one\ntwo\nend\n");
        container.forget();
    }
}

#[test]
fn a_hang_up_is_not_the_end_of_input() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::sh(&lab, "while read x; do echo got $x; done; echo end").stdin().start().unwrap();
    let mut first = container.attach(true);
    first.send(b"1\n");
    first.read_until("got 1");
    drop(first);
    let mut second = container.attach(true);
    second.send(b"2\n");
    second.read_until("got 2");
    assert!(matches!(container.state().phase, Phase::Running { .. }));
    assert_eq!(container.request(&Request::CloseStdin { exec: None }), Event::Ok);
    second.read_until("end");
    assert_eq!(container.wait().code, 0);
    container.forget();
}

#[test]
fn a_large_output_arrives_whole_at_a_slow_client_and_in_the_log() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::sh(&lab, "read x; seq 1 600000").stdin().start().unwrap();
    let mut slow = container.attach(true);
    let fast = container.attach(false);
    slow.send(b"go\n");
    let reader = std::thread::spawn(move || fast.read_all());
    std::thread::sleep(Duration::from_millis(300));
    let (slow, _) = demultiplex(&slow.read_all());
    let (fast, _) = demultiplex(&reader.join().unwrap());
    let expected: String = (1..=600_000).map(|number| format!("{number}\n")).collect();
    assert!(slow == expected.as_bytes() && fast == expected.as_bytes(), "{} {}", slow.len(), fast.len());
    assert_eq!(container.wait().code, 0);
    assert!(log(&container) == expected);
    container.forget();
}

#[test]
fn many_clients_come_and_go_and_leave_no_descriptor() {
    let Some(lab) = Lab::new() else { return };
    let container = Case::sh(&lab, "while :; do echo tick; sleep 0.01; done").start().unwrap();
    let shim = container.spawned.child.id();
    let open = || fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    container.state();
    let before = open();
    for round in 0..300 {
        let mut attached = container.attach(round % 2 == 0);
        attached.read_until("tick");
    }
    container.state();
    for _ in 0..100 {
        if open() <= before {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(open() <= before, "{} {before}", open());
    container.end();
}

#[test]
fn a_terminal_of_the_containers_own() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; stat -c %t:%T /dev/console; stty size; read x; stty size";
        let mut container = Case::sh(&lab, script).userns(userns).tty().create().unwrap();
        let connection = container.ask_attach(None, true);
        container.go().unwrap();
        let mut attached = container.attached(connection);
        let seen = attached.read_until("24 80");
        assert!(seen.contains("/dev/pts/0\r\n") && seen.contains("all\r\n") && seen.contains("88:0"), "{seen}");
        assert_eq!(container.request(&Request::Resize { exec: None, rows: 30, cols: 120 }), Event::Ok);
        attached.send(b"x\n");
        attached.read_until("30 120");
        assert_eq!(container.wait().code, 0);
        container.forget();
    }
}

#[test]
fn a_size_for_no_terminal_is_nothing_wrong() {
    let Some(lab) = Lab::new() else { return };
    let container = Case::sh(&lab, "sleep 1000").start().unwrap();
    assert_eq!(container.request(&Request::Resize { exec: None, rows: 30, cols: 120 }), Event::Ok);
    container.end();
}

#[test]
fn control_c_at_a_terminal_reaches_the_program_once() {
    let Some(lab) = Lab::new() else { return };
    for init in [false, true] {
        let mut case = Case::sh(&lab, "trap 'echo int; exit 5' INT; echo ready; while :; do sleep 0.1; done").tty();
        case.init = init;
        let mut container = case.create().unwrap();
        let connection = container.ask_attach(None, true);
        container.go().unwrap();
        let mut attached = container.attached(connection);
        attached.read_until("ready");
        attached.send(b"\x03");
        let rest = String::from_utf8(attached.read_all()).unwrap();
        assert_eq!(rest.matches("int").count(), 1, "{rest:?}");
        assert_eq!(container.wait().code, 5);
        container.forget();
    }
}

#[test]
fn an_exec_is_in_the_container() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let mut case = Case::new(&lab, &["sleep", "1000"]).userns(userns);
        case.resources = serde_json::from_value(serde_json::json!({"pids": {"limit": 100}})).unwrap();
        let mut container = case.start().unwrap();
        let (out, err, code) = container.exec("hostname; id -G; cat /proc/1/comm; echo e >&2; for p in self 1; do readlink /proc/$p/ns/user; done | sort -u | wc -l; awk '$5 == \"/\"' /proc/self/mountinfo | wc -l; exit 9");
        assert_eq!((out.as_str(), err.as_str(), code), ("box\n0 10\nsleep\n1\n1\n", "e\n").into_code(9), "{err}");
        let (out, ..) = container.exec("for f in cgroup; do cat /proc/self/$f /proc/1/$f | sort | uniq -u | wc -l; done; grep CapEff /proc/self/status | awk '{print $2}'");
        assert_eq!(out, "0\n00000000a80425fb\n");
        let (out, ..) = container.exec("ls /proc/self/fd | wc -l");
        assert_eq!(out, "4\n");
        container.end();
    }
}

/// Puts a code beside two texts.
trait IntoCode<'a> {
    fn into_code(self, code: i32) -> (&'a str, &'a str, i32);
}

impl<'a> IntoCode<'a> for (&'a str, &'a str) {
    fn into_code(self, code: i32) -> (&'a str, &'a str, i32) {
        (self.0, self.1, code)
    }
}

#[test]
fn an_exec_has_its_own_user_directory_and_input() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let mut container = Case::sh(&lab, "sleep 1000").userns(userns).start().unwrap();
        let options = ExecOptions {
            user: Some("web".into()),
            cwd: Some("/tmp".into()),
            env: vec!["PATH=/bin".into(), "A=b".into()],
            ..exec(&["sh", "-c", "id -u; id -G; pwd; echo $A $HOME; cat"])
        };
        let mut attached = container.exec_with("e", options, false).unwrap();
        attached.send(b"input");
        attached.end_input();
        let (out, _) = demultiplex(&attached.read_all());
        assert_eq!(String::from_utf8_lossy(&out), "33\n44 50\n/tmp\nb /home\ninput");
        assert_eq!(container.exec_code("e"), 0);
        let privileged =
            ExecOptions { privileged: true, ..exec(&["sh", "-c", "mkdir -p /m; mount -t tmpfs x /m && echo mounted"]) };
        let mut attached = container.exec_with("p", privileged, false).unwrap();
        attached.read_until("mounted");
        assert_eq!(container.exec_code("p"), 0);
        container.end();
    }
}

#[test]
fn an_exec_with_a_terminal() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let mut container = Case::sh(&lab, "sleep 1000").userns(userns).start().unwrap();
        let mut attached =
            container.exec_with("t", exec(&["sh", "-c", "tty; stty size; read x; stty size"]), true).unwrap();
        attached.read_until("30 100");
        let resize = Request::Resize { exec: Some("t".into()), rows: 5, cols: 6 };
        assert_eq!(container.request(&resize), Event::Ok);
        attached.send(b"\n");
        attached.read_until("5 6");
        assert_eq!(container.exec_code("t"), 0);
        container.end();
    }
}

#[test]
fn an_exec_that_cannot_run_says_why() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::sh(&lab, "sleep 1000").start().unwrap();
    for (options, step, code) in [
        (exec(&["nope"]), Step::Exec, 127),
        (exec(&["/etc/passwd"]), Step::Exec, 126),
        (ExecOptions { user: Some("nope".into()), ..exec(&["true"]) }, Step::User, 126),
        (ExecOptions { cwd: Some("/nope".into()), ..exec(&["true"]) }, Step::Cwd, 126),
    ] {
        let failure = container.exec_with("x", options, false).unwrap_err();
        assert_eq!((failure.step, failure.code), (step, code), "{failure:?}");
    }
    assert_eq!(container.exec("exit 4").2, 4);
    container.end();
}

#[test]
fn execs_end_with_the_container() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::sh(&lab, "sleep 1000").start().unwrap();
    let attached = container.exec_with("e", exec(&["sleep", "1000"]), false).unwrap();
    container.request(&Request::Signal { signal: 9, all: false });
    assert_eq!(container.exec_code("e"), 137);
    assert!(attached.read_all().is_empty());
    assert_eq!(container.wait().code, 137);
    container.forget();
}

#[test]
fn a_container_outlives_the_daemon_and_is_adopted() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::sh(&lab, "read x; echo $x; exit 6").stdin().start().unwrap();
    // The daemon is gone.
    let (left, _right) = rorqual_linux::fdpass::stream_pair().unwrap();
    container.spawned.control = Connection::new(left);
    let mut attached = container.attach(true);
    attached.send(b"late\n");
    attached.read_until("late");
    drop(attached);
    let status = loop {
        match spawn::read_exit(&container.dir).unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(status.code, 6);
    let mut control = container.connect();
    control.send(&Request::Control { version: 1 }, &[]).unwrap();
    let Event::State(state) = control.receive::<Event>().unwrap().unwrap().0 else { panic!() };
    assert!(matches!(state.phase, Phase::Exited { ref status, .. } if status.code == 6), "{state:?}");
    container.spawned.control = control;
    assert_eq!(log(&container), "late\n");
    container.forget();
}

#[test]
fn a_daemon_that_dies_before_the_start_leaves_no_container() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::sh(&lab, "sleep 1000").create().unwrap();
    let (left, _right) = rorqual_linux::fdpass::stream_pair().unwrap();
    container.spawned.control = Connection::new(left);
    container.spawned.child.wait().unwrap();
    assert!(!fs::exists(format!("/proc/{}", container.pid)).unwrap());
    assert!(!container.dir.join("sock").exists());
}

#[test]
fn killing_the_shim_does_not_kill_what_runs() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::sh(&lab, "sleep 1000").start().unwrap();
    container.spawned.child.kill().unwrap();
    container.spawned.child.wait().unwrap();
    assert!(container.spawned.control.receive::<Event>().map_or(true, |event| event.is_none()));
    assert!(container.cgroup.pids().unwrap().contains(&container.pid));
    container.cgroup.kill_all().unwrap();
    while fs::exists(format!("/proc/{}", container.pid)).unwrap() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn signals_go_to_one_or_to_all() {
    let Some(lab) = Lab::new() else { return };
    let child = "(trap 'echo child' USR1; echo armed; while :; do sleep 0.05; done) &";
    let script = format!("trap 'echo usr1' USR1; {child} echo armed; while :; do sleep 0.05; done");
    let mut container = Case::sh(&lab, &script).create().unwrap();
    let connection = container.ask_attach(None, false);
    container.go().unwrap();
    let mut attached = container.attached(connection);
    let mut armed = 0;
    while armed < 2 {
        armed += attached.read_until("armed").matches("armed").count();
    }
    container.request(&Request::Signal { signal: 10, all: false });
    attached.read_until("usr1");
    container.request(&Request::Signal { signal: 10, all: true });
    attached.read_until("child");
    let Event::Pids(pids) = container.request(&Request::Pids) else { panic!() };
    assert!(pids.len() >= 2 && pids.contains(&container.pid));
    container.request(&Request::Signal { signal: 9, all: true });
    assert_eq!(container.wait().signal, Some(9));
    container.forget();
}

#[test]
fn nothing_outlives_a_container_with_the_hosts_process_ids() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::sh(&lab, "sleep 1000 & sleep 1000 & exit 0")
        .host_userns()
        .with(|spec| spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != "pid"))
        .start()
        .unwrap();
    assert_eq!(container.wait().code, 0);
    assert!(container.cgroup.pids().unwrap().is_empty());
    container.forget();
}

#[test]
fn a_kill_for_memory_is_reported() {
    let Some(lab) = Lab::new() else { return };
    let mut case =
        Case::sh(&lab, "dd if=/dev/zero of=/dev/null bs=200M count=1; x=$(yes | head -c 100000000); echo $x | wc -c");
    case.resources =
        serde_json::from_value(serde_json::json!({"memory": {"limit": 20971520, "swap": 20971520}})).unwrap();
    let output = case.run();
    assert!(output.status.oom_killed, "{:?}", output.status);
}

#[test]
fn garbage_on_the_socket_harms_nobody() {
    let Some(lab) = Lab::new() else { return };
    let container = Case::sh(&lab, "sleep 1000").start().unwrap();
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\x03\x00\x00\x00\xff\xff\xff", b"x"] {
        let (fd, _) = container.connect().into_stream();
        rustix::io::write(&fd, bytes).unwrap();
    }
    assert_eq!(
        container.request(&Request::Forget).clone(),
        match container.request(&Request::Forget) {
            Event::Error(failure) => {
                assert_eq!(failure.step, Step::State);
                Event::Error(failure)
            }
            other => panic!("{other:?}"),
        }
    );
    assert!(matches!(container.state().phase, Phase::Running { .. }));
    container.end();
}

#[test]
fn a_stream_ends_with_its_end_whatever_input_nobody_read() {
    let Some(lab) = Lab::new() else { return };
    let mut container = Case::new(&lab, &["sleep", "1000"]).start().unwrap();
    for round in 0..50 {
        let id = format!("r{round}");
        let mut attached = container.exec_with(&id, exec(&["echo", "whole"]), false).unwrap();
        attached.send(&[b'x'; 4096]);
        // An error here would be a stream cut short, to the daemon.
        assert_eq!(demultiplex(&attached.read_all()).0, b"whole\n");
        container.exec_code(&id);
    }
    container.end();
}
