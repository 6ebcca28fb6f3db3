//! The start path: what a container finds when its program runs.

use rorqual_linux_tests::{Case, Lab};
use rorqual_runtime::protocol::Step;
use serde_json::json;

/// Runs a script in both user namespace modes and expects the same output.
#[track_caller]
fn check(script: &str, expected: &str) {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        assert_eq!(Case::sh(&lab, script).userns(userns).stdout(), expected, "userns {userns}");
    }
}

#[test]
fn a_program_runs_and_its_output_and_code_arrive() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let output = Case::sh(&lab, "echo out; echo err >&2; exit 3").userns(userns).run();
        assert_eq!((output.status.code, output.stdout.as_str(), output.stderr.as_str()), (3, "out\n", "err\n"));
        let output = Case::sh(&lab, "kill -9 $$").userns(userns).with(|spec| {
            spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != "pid");
        });
        // Process 1 of a namespace cannot kill itself, so this one shares the host's.
        let output = output.userns(false).run();
        assert_eq!((output.status.code, output.status.signal), (137, Some(9)));
    }
}

#[test]
fn the_container_is_its_own_machine() {
    check("hostname; echo $$; ls /sys/class/net; cat /proc/1/comm; pwd", "box\n1\nlo\nsh\n/\n");
    check("awk '$5 == \"/\" {n++} END {print n}' /proc/self/mountinfo", "1\n");
    check("ip addr show lo | grep -c LOOPBACK,UP", "1\n");
    check("cat /proc/self/cgroup | grep -v ':/$' | wc -l", "0\n");
}

#[test]
fn user_namespaces_map_the_containers_ids() {
    let Some(lab) = Lab::new() else { return };
    assert_eq!(
        Case::sh(&lab, "cat /proc/self/uid_map | tr -s ' '; touch /new; stat -c %u /new /bin/busybox").stdout(),
        " 0 268435456 65536\n0\n0\n"
    );
    assert_eq!(Case::sh(&lab, "awk '{print $3}' /proc/self/uid_map").host_userns().stdout(), "4294967295\n");
}

#[test]
fn files_on_disk_keep_the_containers_ids() {
    let Some(lab) = Lab::new() else { return };
    Case::sh(&lab, "touch /a /b; chown 33:44 /b").stdout();
    use std::os::unix::fs::MetadataExt;
    let upper = std::fs::read_dir(lab.dir.join("rw")).unwrap().next().unwrap().unwrap().path().join("upper");
    let owner = |name: &str| std::fs::metadata(upper.join(name)).map(|meta| (meta.uid(), meta.gid())).unwrap();
    assert_eq!((owner("a"), owner("b")), ((0, 0), (33, 44)));
}

#[test]
fn the_device_directory_is_complete() {
    check(
        "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u' $d; done; \
         ls -l | awk '$10 == \"->\" {print $9, $11}'; echo x > null; head -c 3 zero | wc -c; ls -d pts shm mqueue",
        "null character special file 1:3 666 0\nzero character special file 1:5 666 0\n\
         full character special file 1:7 666 0\nrandom character special file 1:8 666 0\n\
         urandom character special file 1:9 666 0\ntty character special file 5:0 666 0\n\
         core /proc/kcore\nfd /proc/self/fd\nptmx pts/ptmx\nstderr /proc/self/fd/2\nstdin /proc/self/fd/0\n\
         stdout /proc/self/fd/1\n3\nmqueue\npts\nshm\n",
    );
    check("echo ok > /dev/stderr; echo ok > /dev/stdout", "ok\n");
}

#[test]
fn another_user_may_reopen_its_streams() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let output =
            Case::sh(&lab, "id -u; echo e > /dev/stderr; echo o > /dev/stdout").userns(userns).user("web").run();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("33\no\n", "e\n"), "{output:?}");
    }
}

#[test]
fn users_and_groups_come_from_the_image() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let id = |user: &str, add: &[&str]| {
            let mut case = Case::sh(&lab, "id -u; id -g; id -G; echo $HOME").userns(userns).user(user);
            case.group_add = add.iter().map(|name| (*name).to_owned()).collect();
            case.stdout()
        };
        assert_eq!(id("", &[]), "0\n0\n0 10\n/root\n");
        assert_eq!(id("web", &["7"]), "33\n44\n44 7 50\n/home\n");
        assert_eq!(id("1234:77", &[]), "1234\n77\n77\n/\n");
        let failure = Case::sh(&lab, "true").userns(userns).user("nobodyhere").fail();
        assert_eq!(
            (failure.step, failure.message.as_str()),
            (Step::User, "unable to find user nobodyhere: no matching entries in passwd file")
        );
    }
}

#[test]
fn a_missing_program_is_127_and_a_wrong_one_126() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        for (program, code, message) in [
            ("nope", 127, "exec: \"nope\": executable file not found in $PATH: unknown"),
            ("/nope", 127, "exec: \"/nope\": stat /nope: no such file or directory: unknown"),
            ("/etc", 126, "exec: \"/etc\": is a directory: unknown"),
            ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied: unknown"),
        ] {
            let failure = Case::new(&lab, &[program]).userns(userns).fail();
            assert_eq!((failure.code, failure.message.as_str()), (code, message));
        }
    }
    std::fs::write(lab.image("bb").join("bin/script"), "#!/nope\n").unwrap();
    std::fs::set_permissions(lab.image("bb").join("bin/script"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let output = Case::new(&lab, &["script"]).run();
    assert_eq!((output.status.code, output.stderr.as_str()), (255, "exec /bin/script: no such file or directory\n"));
}

#[test]
fn the_working_directory_is_made_and_entered() {
    let Some(lab) = Lab::new() else { return };
    let cwd = |path: &str| Case::sh(&lab, "pwd; stat -c %u .").with(|spec| spec["process"]["cwd"] = json!(path));
    assert_eq!(cwd("/new/deep").stdout(), "/new/deep\n0\n");
    assert_eq!(cwd("/root").user("web").stdout(), "/root\n0\n");
    let failure = cwd("/etc/passwd").fail();
    assert_eq!(failure.step, Step::Cwd, "{failure:?}");
}

#[test]
fn masked_and_read_only_paths() {
    check(
        "cat /proc/kcore | wc -c; cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l; \
         (echo 1 > /proc/sys/net/ipv4/ip_forward) 2>&1 | sed 's/.*: //'; touch /sys/x 2>&1 | sed 's/.*: //'",
        "0\n0\n0\nRead-only file system\nRead-only file system\n",
    );
}

#[test]
fn a_read_only_root_still_has_its_mounts() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let mut case = Case::sh(&lab, "touch /x 2>&1 | sed 's/.*: //'; echo y > /data/y; cat /data/y")
            .userns(userns)
            .mount("/data", "tmpfs", "tmpfs", &["noexec", "size=1m", "mode=1777"]);
        case.readonly = true;
        assert_eq!(case.stdout(), "Read-only file system\ny\n");
    }
}

#[test]
fn capabilities_and_no_new_privileges() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let status = |case: Case<'_>| case.userns(userns).stdout();
        let script = "grep -E 'Cap|NoNewPrivs' /proc/self/status | awk '{print $2}' | tr '\\n' ' '";
        let zero = "0000000000000000";
        let all = "00000000a80425fb";
        assert_eq!(status(Case::sh(&lab, script)), format!("{zero} {all} {all} {all} {zero} 0 "));
        assert_eq!(status(Case::sh(&lab, script).user("web")), format!("{zero} {zero} {zero} {all} {zero} 0 "));
        let case = Case::sh(&lab, script).with(|spec| spec["process"]["noNewPrivileges"] = json!(true));
        assert!(status(case).ends_with(" 1 "));
        let case = Case::sh(&lab, script).user("web").with(|spec| {
            let caps = json!(["CAP_NET_BIND_SERVICE"]);
            for set in ["effective", "permitted", "inheritable", "ambient", "bounding"] {
                spec["process"]["capabilities"][set] = caps.clone();
            }
        });
        let one = "0000000000000400";
        assert_eq!(status(case), format!("{one} {one} {one} {one} {one} 0 "));
    }
}

#[test]
fn nothing_of_ours_is_open_inside() {
    check("ls /proc/self/fd | wc -l; readlink /proc/self/fd/0", "4\n/dev/null\n");
    check(
        "cat /proc/self/status | grep -E 'SigBlk|SigIgn|SigCgt' | awk '{print $2}'",
        "0000000000000000\n0000000000000000\n0000000000000000\n",
    );
    check("cat /proc/self/oom_score_adj; umask", "0\n0022\n");
}

#[test]
fn limits_are_set() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let case = Case::sh(&lab, "ulimit -n; ulimit -Hn").userns(userns).with(|spec| {
            spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]);
        });
        assert_eq!(case.stdout(), "77\n99\n");
    }
}

#[test]
fn sysctls_of_the_containers_namespaces() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let case =
            Case::sh(&lab, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax").userns(userns);
        let case = case.with(|spec| {
            spec["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "0", "kernel.msgmax": "9999"});
        });
        assert_eq!(case.stdout(), "0\n9999\n");
    }
}

#[test]
fn an_init_reaps_and_passes_signals_on() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let mut case =
            Case::sh(&lab, "(sleep 0.1 & ) ; sleep 0.3; ps -o stat,comm | grep -c Z; echo $$; exit 7").userns(userns);
        case.init = true;
        let output = case.run();
        assert_eq!((output.status.code, output.stdout.as_str()), (7, "0\n2\n"), "{output:?}");
    }
}

#[test]
fn cgroups_are_seen_as_the_hosts() {
    let Some(lab) = Lab::new() else { return };
    let script = "ls /sys/fs/cgroup | tr '\\n' ' '; cat /sys/fs/cgroup/memory/memory.limit_in_bytes; \
                  mkdir /sys/fs/cgroup/memory/x 2>&1 | sed 's/.*: //'";
    for userns in [false, true] {
        let mut case = Case::sh(&lab, script).userns(userns);
        case.resources = serde_json::from_value(json!({"memory": {"limit": 67108864}})).unwrap();
        let out = case.stdout();
        if std::path::Path::new("/sys/fs/cgroup/memory").exists() {
            assert!(out.contains("memory") && out.contains("67108864\nRead-only file system\n"), "{out}");
        }
    }
}
