//! Containers other runtimes make, driven by the shim. Each test runs for those that are installed.

use rorqual_linux_tests::{Case, Lab, demultiplex};
use rorqual_runtime::{ExecOptions, protocol::Request};
use std::path::Path;

fn installed() -> impl Iterator<Item = &'static str> {
    ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun"].into_iter().filter(|path| {
        let found = Path::new(path).exists() && !(path == &"/usr/bin/runc" && Path::new("/usr/sbin/runc").exists());
        if !found {
            eprintln!("skipped: {path} is not installed");
        }
        found
    })
}

fn case<'a>(lab: &'a Lab, runtime: &str, script: &str) -> Case<'a> {
    let mut case = Case::sh(lab, script).host_userns();
    case.runtime = Some(runtime.to_owned());
    case
}

#[test]
fn a_program_runs_with_its_streams_and_its_code() {
    let Some(lab) = Lab::new() else { return };
    for runtime in installed() {
        let output =
            case(&lab, runtime, "hostname; id -G; ip addr show lo | grep -c LOOPBACK,UP; echo e >&2; exit 3").run();
        assert_eq!((output.status.code, output.stderr.as_str()), (3, "e\n"), "{runtime} {output:?}");
        assert_eq!(output.stdout, "box\n0 10\n1\n", "{runtime}");
    }
}

#[test]
fn execs_input_and_terminals() {
    let Some(lab) = Lab::new() else { return };
    for runtime in installed() {
        let mut container = case(&lab, runtime, "cat").stdin().start().unwrap();
        let mut attached = container.attach(true);
        attached.send(b"hello\n");
        attached.read_until("hello");
        let (out, err, code) = container.exec("hostname; echo e >&2; exit 4");
        assert_eq!((out.as_str(), err.as_str(), code), ("box\n", "e\n", 4), "{runtime}");
        let args = ["sh", "-c", "id -u; tty; read x; stty size"].map(str::to_owned).to_vec();
        let options = ExecOptions { args, user: Some("web".into()), ..ExecOptions::default() };
        let mut terminal = container.exec_with("tty", options, true).unwrap();
        // Not every runtime sets the size before the program runs.
        terminal.send(b"\n");
        let seen = terminal.read_until("30 100");
        assert!(seen.contains("33") && seen.contains("/dev/pts/"), "{seen}");
        container.exec_code("tty");
        let failure =
            container.exec_with("nope", ExecOptions { args: vec!["nope".into()], ..ExecOptions::default() }, false);
        assert_eq!(failure.unwrap_err().code, 127, "{runtime}");
        attached.end_input();
        let _ = demultiplex(&attached.read_all());
        assert_eq!(container.wait().code, 0);
        container.forget();
    }
}

#[test]
fn a_terminal_is_handed_over() {
    let Some(lab) = Lab::new() else { return };
    for runtime in installed() {
        let mut container = case(&lab, runtime, "tty; read x; stty size; read x; stty size").tty().create().unwrap();
        let connection = container.ask_attach(None, true);
        container.go().unwrap();
        let mut attached = container.attached(connection);
        attached.send(b"\n");
        attached.read_until("24 80");
        container.request(&Request::Resize { exec: None, rows: 5, cols: 6 });
        attached.send(b"\n");
        attached.read_until("5 6");
        assert_eq!(container.wait().code, 0);
        container.forget();
    }
}

#[test]
fn a_missing_program_is_127() {
    let Some(lab) = Lab::new() else { return };
    for runtime in installed() {
        let mut case = Case::new(&lab, &["nope"]).host_userns();
        case.runtime = Some(runtime.to_owned());
        let failure = case.fail();
        assert_eq!(failure.code, 127, "{runtime} {failure:?}");
    }
}
