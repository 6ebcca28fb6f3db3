//! The OCI runtime command line, on bundles as `runc spec` writes them.

use rorqual_linux_tests::{Lab, shim_path};
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// What `runc spec` (1.2) writes.
fn runc_spec() -> Value {
    json!({
        "ociVersion": "1.2.1",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "runc",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// A bundle and a state directory.
struct Bundle {
    lab: Lab,
    dir: PathBuf,
}

impl Bundle {
    fn new(change: impl FnOnce(&mut Value)) -> Option<Self> {
        let lab = Lab::new()?;
        let dir = lab.dir.join("bundle");
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(lab.image("bb"), dir.join("rootfs")).unwrap();
        let mut spec = runc_spec();
        spec["process"]["terminal"] = json!(false);
        spec["linux"]["cgroupsPath"] = json!(format!("/{}", lab.dir.file_name().unwrap().to_string_lossy()));
        change(&mut spec);
        fs::write(dir.join("config.json"), spec.to_string()).unwrap();
        Some(Self { lab, dir })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(shim_path());
        command.arg("--root").arg(self.lab.dir.join("states")).args(args).current_dir(&self.dir);
        command.stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], with: &str) {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(with), "{args:?} {output:?}");
    }

    fn status(&self, id: &str) -> String {
        let state: Value = serde_json::from_str(&self.ok(&["state", id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}

fn script(spec: &mut Value, text: &str) {
    spec["process"]["args"] = json!(["sh", "-c", text]);
}

#[test]
fn a_container_is_run_to_its_end() {
    let Some(bundle) =
        Bundle::new(|spec| script(spec, "hostname; id -u; touch /x 2>&1 | sed 's/.*: //'; ulimit -n; exit 5"))
    else {
        return;
    };
    let output = bundle.run(&["run", "c1"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "runc\n0\nRead-only file system\n1024\n");
    assert_eq!(bundle.ok(&["list", "-q"]), "");
}

#[test]
fn the_life_of_a_container_in_steps() {
    let Some(bundle) = Bundle::new(|spec| spec["process"]["args"] = json!(["sleep", "1000"])) else { return };
    let quiet = |args: &[&str]| {
        let status = bundle.command(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{args:?}");
    };
    quiet(&["create", "--pid-file", "pid", "c1"]);
    assert_eq!(bundle.status("c1"), "created");
    let pid = fs::read_to_string(bundle.dir.join("pid")).unwrap();
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(
        exe.to_string_lossy().starts_with("/memfd:rorqual-shim"),
        "a container could reach the runtime's own file: {exe:?}"
    );
    bundle.fails(&["create", "c1"], "container with given ID already exists");
    bundle.ok(&["start", "c1"]);
    assert_eq!(bundle.status("c1"), "running");
    bundle.fails(&["start", "c1"], "cannot start an already running container");
    bundle.fails(&["delete", "c1"], "is not stopped: running");
    assert_eq!(bundle.ok(&["list", "-q"]), "c1\n");
    assert!(bundle.ok(&["list"]).contains("running"));
    let output = bundle.run(&["exec", "c1", "sh", "-c", "hostname; cat /proc/1/comm; exit 7"]);
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
        (Some(7), "runc\nsleep\n"),
        "{output:?}"
    );
    bundle.fails(&["exec", "c1", "nope"], "exec: \"nope\": executable file not found in $PATH");
    assert!(bundle.ok(&["ps", "c1"]).contains("sleep"));
    bundle.ok(&["pause", "c1"]);
    assert_eq!(bundle.status("c1"), "paused");
    bundle.ok(&["resume", "c1"]);
    bundle.ok(&["kill", "c1", "KILL"]);
    while bundle.status("c1") != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.fails(&["kill", "c1"], "container not running");
    bundle.ok(&["delete", "c1"]);
    bundle.fails(&["state", "c1"], "container does not exist");
    bundle.ok(&["delete", "--force", "c1"]);
}

#[test]
fn hooks_run_in_their_order() {
    let trace = std::env::temp_dir().join(format!("rorqual-hooks-{}", std::process::id()));
    let path = trace.to_string_lossy().into_owned();
    let hook =
        |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("read s; echo {name} >> {path}")]}]);
    let Some(bundle) = Bundle::new(|spec| {
        script(spec, "true");
        spec["hooks"] = json!({
            "prestart": hook("prestart"), "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer"),
            "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer"]}],
            "poststart": hook("poststart"), "poststop": hook("poststop"),
        });
    }) else {
        return;
    };
    let output = bundle.run(&["run", "c1"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "startContainer\n", "{output:?}");
    assert_eq!(fs::read_to_string(&trace).unwrap(), "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
    fs::remove_file(trace).unwrap();
}

#[test]
fn what_goes_wrong_is_said_and_logged_and_leaves_nothing() {
    let Some(bundle) = Bundle::new(|spec| spec["process"]["args"] = json!(["nope"])) else { return };
    let log = bundle.dir.join("log");
    let output =
        bundle.command(&["--log", log.to_str().unwrap(), "--log-format", "json", "create", "c1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let entry: Value = serde_json::from_str(fs::read_to_string(log).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(
        (entry["level"].as_str().unwrap(), entry["msg"].as_str().unwrap()),
        ("error", "unable to start container process: exec: \"nope\": executable file not found in $PATH")
    );
    bundle.fails(&["state", "c1"], "container does not exist");
    bundle.fails(&["create", "a/b"], "invalid container ID format");
    bundle.fails(&["create", "--nope", "c1"], "flag provided but not defined: --nope");
}

#[test]
fn user_namespaces_and_preserved_descriptors() {
    let Some(bundle) = Bundle::new(|spec| {
        script(spec, "cat /proc/self/uid_map | tr -s ' '; cat <&3");
        spec["root"]["readonly"] = json!(false);
        let map = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    }) else {
        return;
    };
    // The way to the root must be open for the ids of the container, as with runc.
    for dir in [&bundle.lab.dir, &bundle.lab.dir.join("layers")] {
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    fs::write(bundle.dir.join("extra"), "kept\n").unwrap();
    let mut command = Command::new("sh");
    command.current_dir(&bundle.dir).arg("-c").arg(format!(
        "exec 3<extra; exec {} --root {} run --preserve-fds 1 c1",
        shim_path().display(),
        bundle.lab.dir.join("states").display()
    ));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), " 0 100000 65536\nkept\n", "{output:?}");
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let Some(bundle) = Bundle::new(|spec| {
        script(spec, "tty; read x; echo got $x");
        spec["process"]["terminal"] = json!(true);
    }) else {
        return;
    };
    bundle.fails(&["create", "c1"], "cannot allocate tty");
    let path = bundle.dir.join("console");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let status = bundle
        .command(&["create", "--console-socket", path.to_str().unwrap(), "c1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let (connection, _) = socket.accept().unwrap();
    let (mut name, mut fds) = (Vec::new(), Vec::new());
    rorqual_linux::fdpass::receive(std::os::fd::AsFd::as_fd(&connection), &mut name, 100, &mut fds).unwrap();
    let mut master = fs::File::from(fds.remove(0));
    bundle.ok(&["start", "c1"]);
    use std::io::{Read, Write};
    let mut seen = String::new();
    let mut read_until = |master: &mut fs::File, text: &str| {
        let mut buffer = [0; 1024];
        while !seen.contains(text) {
            let count = master.read(&mut buffer).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    read_until(&mut master, "/dev/pts/0");
    master.write_all(b"hello\n").unwrap();
    read_until(&mut master, "got hello");
    while bundle.status("c1") != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.ok(&["delete", "c1"]);
}

#[test]
fn features_are_a_document() {
    let Some(bundle) = Bundle::new(|_| ()) else { return };
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!(features["linux"]["seccomp"]["enabled"], json!(true));
}

#[test]
fn the_runtimes_program_cannot_be_overwritten_from_inside() {
    let Some(bundle) = Bundle::new(|spec| {
        // The container's program is the runtime itself, which a second process then tries to write to.
        spec["process"]["args"] = json!(["/proc/self/exe", "features"]);
    }) else {
        return;
    };
    let before = fs::read(shim_path()).unwrap();
    bundle.run(&["run", "c1"]);
    let Some(bundle) = Bundle::new(|spec| {
        script(spec, "sleep 0.2; for i in 1 2 3 4 5; do (echo x > /proc/self/exe) 2>/dev/null; done; true")
    }) else {
        return;
    };
    bundle.run(&["run", "c1"]);
    assert!(fs::read(shim_path()).unwrap() == before);
}
