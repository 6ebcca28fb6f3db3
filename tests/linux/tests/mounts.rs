//! Binds, volumes and file systems, in both user namespace modes.

use rorqual_linux_tests::{Case, Lab};
use rorqual_runtime::protocol::Step;
use serde_json::json;
use std::{fs, os::unix::fs::symlink, process::Command};

fn path(lab: &Lab, name: &str) -> String {
    lab.dir.join(name).to_string_lossy().into_owned()
}

/// A directory of the host with files of several owners.
fn host_dir(lab: &Lab, name: &str) -> String {
    let dir = path(lab, name);
    fs::create_dir_all(&dir).unwrap();
    fs::write(format!("{dir}/root"), "r").unwrap();
    fs::write(format!("{dir}/web"), "w").unwrap();
    std::os::unix::fs::chown(format!("{dir}/web"), Some(33), Some(44)).unwrap();
    dir
}

fn mount(args: &[&str]) {
    assert!(Command::new("mount").args(args).status().unwrap().success(), "{args:?}");
}

fn umount(path: &str) {
    assert!(Command::new("umount").arg(path).status().unwrap().success(), "{path}");
}

#[test]
fn a_bind_keeps_ids_and_takes_writes() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let dir = host_dir(&lab, "bind");
        let out = Case::sh(&lab, "stat -c %u:%g /b/root /b/web; touch /b/new; chown 33 /b/new; rm /b/web")
            .userns(userns)
            .mount("/b", "bind", &dir, &["rbind", "rprivate"])
            .stdout();
        assert_eq!(out, "0:0\n33:44\n");
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(format!("{dir}/new")).unwrap().uid(), 33);
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_read_only_bind_is_so_in_depth_when_asked() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let dir = host_dir(&lab, "ro");
        fs::create_dir_all(format!("{dir}/sub")).unwrap();
        mount(&["-t", "tmpfs", "tmpfs", &format!("{dir}/sub")]);
        let script = "touch /b/x 2>/dev/null && echo top; touch /b/sub/x 2>/dev/null && echo sub; true";
        let run = |options: &[&str]| Case::sh(&lab, script).userns(userns).mount("/b", "bind", &dir, options).stdout();
        assert_eq!(run(&["rbind", "rprivate"]), "top\nsub\n");
        assert_eq!(run(&["rbind", "ro", "rprivate"]), "sub\n");
        assert_eq!(run(&["rbind", "ro", "rro", "rprivate"]), "");
        assert_eq!(run(&["bind", "rprivate"]), "top\nsub\n");
        umount(&format!("{dir}/sub"));
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn propagation_of_binds() {
    let Some(lab) = Lab::new() else { return };
    for (userns, options, arrives, leaves) in [
        (false, "rprivate", false, false),
        (false, "rslave", true, false),
        (false, "rshared", true, true),
        (true, "rprivate", false, false),
        (true, "rslave", true, false),
    ] {
        let dir = host_dir(&lab, "shared");
        mount(&["-t", "tmpfs", "tmpfs", &dir]);
        mount(&["--make-shared", &dir]);
        for name in ["in", "out"] {
            fs::create_dir(format!("{dir}/{name}")).unwrap();
        }
        let script = "echo ready; read x; test -e /b/in/file && echo arrived; mount -t tmpfs t /b/out && touch /b/out/file; echo done; read x";
        let mut case = Case::sh(&lab, script).userns(userns).stdin().mount("/b", "bind", &dir, &["rbind", options]);
        let caps = &mut case.spec["process"]["capabilities"];
        for set in ["bounding", "effective", "permitted"] {
            caps[set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
        }
        let mut container = case.start().unwrap();
        let mut attached = container.attach(true);
        mount(&["-t", "tmpfs", "tmpfs", &format!("{dir}/in")]);
        fs::write(format!("{dir}/in/file"), "").unwrap();
        attached.send(b"\n");
        attached.read_until("done");
        assert_eq!(fs::exists(format!("{dir}/out/file")).unwrap(), leaves, "{options} {userns}");
        let inside = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid)).unwrap();
        assert_eq!(inside.contains(" /b/in "), arrives, "{options} {userns}");
        attached.send(b"\n");
        container.wait();
        container.forget();
        while Command::new("umount")
            .arg(format!("{dir}/out"))
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
        {}
        umount(&format!("{dir}/in"));
        umount(&dir);
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn the_whole_host_can_be_bound() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let out = Case::sh(&lab, "stat -c %u /host/etc/passwd; touch /host/x 2>&1 | sed 's/.*: //'; ls /host/proc/1/comm /host/sys/class | head -1; ls -d /host/root/.")
            .userns(userns)
            .mount("/host", "bind", "/", &["rbind", "ro", "rro", "rprivate"])
            .stdout();
        assert_eq!(out, "0\nRead-only file system\n/host/proc/1/comm\n/host/root/.\n");
        let out = Case::sh(&lab, "ls -d /sys/class")
            .userns(userns)
            .with(|spec| {
                spec["mounts"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|entry| !entry["destination"].as_str().unwrap().starts_with("/sys"))
            })
            .mount("/sys", "bind", "/sys", &["rbind", "ro", "rprivate"])
            .stdout();
        assert_eq!(out, "/sys/class\n");
    }
}

#[test]
fn files_are_bound_on_files() {
    let Some(lab) = Lab::new() else { return };
    let file = path(&lab, "hosts");
    fs::write(&file, "127.0.0.1 me\n").unwrap();
    let dir = host_dir(&lab, "dir");
    for userns in [false, true] {
        let out = Case::sh(&lab, "cat /etc/hosts /new/deep/hosts")
            .userns(userns)
            .mount("/etc/hosts", "bind", &file, &["bind"])
            .mount("/new/deep/hosts", "bind", &file, &["bind"])
            .stdout();
        assert_eq!(out, "127.0.0.1 me\n127.0.0.1 me\n");
        for (target, source) in [("/etc/passwd", &dir), ("/etc", &file)] {
            let failure = Case::sh(&lab, "true").userns(userns).mount(target, "bind", source, &["bind"]).fail();
            assert!(failure.message.contains("not a directory"), "{failure:?}");
        }
    }
    let failure = Case::sh(&lab, "true").mount("/x", "bind", "/nope/nope", &["bind"]).fail();
    assert_eq!((failure.step, failure.errno), (Step::Mount, 2));
}

#[test]
fn devices_of_the_host() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let case =
            Case::sh(&lab, "stat -c '%t:%T %a %u:%g' /dev/mine/fuse 2>&1; echo x > /dev/full 2>/dev/null || echo full")
                .userns(userns);
        let case = case.with(|spec| {
            spec["linux"]["devices"] =
                json!([{"path": "/dev/mine/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 33, "gid": 44}]);
        });
        assert_eq!(case.stdout(), "a:e5 640 33:44\nfull\n");
    }
}

#[test]
fn targets_behind_links_stay_inside() {
    let Some(lab) = Lab::new() else { return };
    let image = lab.image("bb");
    symlink("/etc", image.join("link")).unwrap();
    symlink("../../../../../../tmp", image.join("up")).unwrap();
    let dir = host_dir(&lab, "dir");
    for userns in [false, true] {
        let out = Case::sh(&lab, "ls /etc/x /tmp/y")
            .userns(userns)
            .mount("/link/x", "bind", &dir, &["bind"])
            .mount("/up/y", "bind", &dir, &["bind"])
            .stdout();
        assert_eq!(out, "/etc/x:\nroot\nweb\n\n/tmp/y:\nroot\nweb\n");
    }
    assert!(!fs::exists("/etc/x").unwrap() && !fs::exists("/tmp/y").unwrap());
}

#[test]
fn system_directories_that_are_links() {
    let Some(lab) = Lab::new() else { return };
    for name in ["dev", "proc"] {
        for target in ["/", ".", "/etc", "../../.."] {
            let image = lab.image("bb");
            let _ = fs::remove_dir(image.join(name));
            let _ = fs::remove_file(image.join(name));
            symlink(target, image.join(name)).unwrap();
            for userns in [false, true] {
                // It may start or not; the host must not change.
                if let Ok(mut container) = Case::new(&lab, &["/bin/true"]).userns(userns).start() {
                    container.wait();
                    container.forget();
                }
            }
            fs::remove_file(image.join(name)).unwrap();
            fs::create_dir(image.join(name)).unwrap();
        }
    }
    assert!(fs::metadata("/dev/null").is_ok() && fs::metadata("/proc/self").is_ok());
}

#[test]
fn procfs_is_not_replaced_in_parts() {
    let Some(lab) = Lab::new() else { return };
    let file = path(&lab, "fake");
    fs::write(&file, "fake\n").unwrap();
    let dir = host_dir(&lab, "dir");
    for userns in [false, true] {
        let out =
            Case::sh(&lab, "cat /proc/uptime").userns(userns).mount("/proc/uptime", "bind", &file, &["bind"]).stdout();
        assert_eq!(out, "fake\n");
        for (target, source) in
            [("/proc/self/attr/exec", &file), ("/proc/sys/kernel", &dir), ("/proc", &dir), ("/proc/1", &dir)]
        {
            let failure = Case::sh(&lab, "true").userns(userns).mount(target, "bind", source, &["bind"]).fail();
            assert_eq!(failure.step, Step::Mount, "{target} {failure:?}");
        }
    }
}

#[test]
fn a_tmpfs_has_its_options_and_content() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let out = Case::sh(&lab, "mount | grep ' /t ' | grep -o 'nosuid,nodev,noexec'; df -k /t | tail -1 | awk '{print $2}'; stat -c %a:%u /t; ls /etc; stat -c %a /etc/passwd")
            .userns(userns)
            .mount("/t", "tmpfs", "tmpfs", &["noexec", "nosuid", "nodev", "size=2m", "mode=1770", "uid=33"])
            .mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"])
            .stdout();
        assert_eq!(out, "nosuid,nodev,noexec\n2048\n1770:33\ngroup\npasswd\n644\n");
    }
}

#[test]
fn namespaces_of_another_container_are_joined() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let first = Case::new(&lab, &["sleep", "1000"]).userns(userns).start().unwrap();
        let ns = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid);
        let join = |spec: &mut serde_json::Value| {
            for (entry, file) in [("network", "net"), ("ipc", "ipc"), ("pid", "pid"), ("uts", "uts")] {
                let list = spec["linux"]["namespaces"].as_array_mut().unwrap();
                let namespace = list.iter_mut().find(|namespace| namespace["type"] == entry).unwrap();
                namespace["path"] = json!(ns(file));
            }
            if userns {
                spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user", "path": ns("user")}));
            }
            spec.as_object_mut().unwrap().remove("hostname");
        };
        let script = "for k in net ipc pid uts user mnt; do test $(readlink /proc/self/ns/$k) = $(readlink /proc/1/ns/$k) && echo $k; done; touch /x; stat -c %u /x";
        let expected = "net\nipc\npid\nuts\nuser\n0\n";
        let case = Case::sh(&lab, script).userns(userns).with(join);
        assert_eq!(with_ptrace(case).stdout(), expected, "{userns}");
        first.end();
    }
}

/// Reading another process's namespaces needs it.
fn with_ptrace(mut case: Case<'_>) -> Case<'_> {
    for set in ["bounding", "effective", "permitted"] {
        case.spec["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_PTRACE"));
    }
    case
}

/// An archived layer is mounted in its place below the layers directory.
#[test]
fn a_layer_that_is_mounted_is_seen() {
    let Some(lab) = Lab::new() else { return };
    let layer = lab.image("mounted").to_string_lossy().into_owned();
    mount(&["-t", "tmpfs", "tmpfs", &layer]);
    fs::write(format!("{layer}/file"), "seen\n").unwrap();
    std::os::unix::fs::chown(format!("{layer}/file"), Some(33), Some(44)).unwrap();
    for userns in [false, true] {
        let mut case = Case::sh(&lab, "cat /file; stat -c %u:%g /file; echo changed >/file").userns(userns);
        case.lowers = vec!["mounted".into(), "bb".into()];
        assert_eq!(case.stdout(), "seen\n33:44\n");
    }
    umount(&layer);
}
