//! Real programs, as Debian's packages ship them, with a user namespace of their own and with the host's.

use rorqual_conformance::engine;
use rorqual_testkit::{Finished, command::wait_for, daemon, images, places};
use std::sync::Once;

const IMAGE: &str = "programs:bookworm";
const MODES: [&[&str]; 2] = [&[], &["--userns", "host"]];

fn docker(words: &[&str]) -> Finished {
    daemon::docker(&engine().host, words)
}

fn prepare() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        engine().need(IMAGE, images::programs);
        engine().need("busybox", images::busybox);
        engine().need("hello", images::hello);
    });
}

/// Runs a script in a new container of the programs' image.
#[track_caller]
fn run(flags: &[&str], script: &str) -> Finished {
    prepare();
    let mut words = vec!["run", "--rm"];
    words.extend(flags);
    words.extend([IMAGE, "bash", "-c", script]);
    docker(&words)
}

/// The same script with and without a user namespace of the container's own prints the same.
#[track_caller]
fn both(flags: &[&str], script: &str, expected: &str) {
    for mode in MODES {
        let flags: Vec<&str> = mode.iter().chain(flags).copied().collect();
        let done = run(&flags, script);
        assert_eq!((done.stdout.trim(), done.code), (expected, 0), "{flags:?}: {done}");
    }
}

/// A service in a container, gone with this value.
struct Service(String);

impl Service {
    fn start(name: &str, flags: &[&str], script: &str) -> Self {
        prepare();
        let name = format!("programs-{name}");
        docker(&["rm", "-f", "-v", &name]);
        let mut words = vec!["run", "-d", "--name", &name];
        words.extend(flags);
        words.extend([IMAGE, "bash", "-c", script]);
        docker(&words).ok();
        Self(name)
    }

    fn exec(&self, script: &str) -> Finished {
        docker(&["exec", &self.0, "bash", "-c", script])
    }

    #[track_caller]
    fn until(&self, script: &str) -> String {
        wait_for(script, || {
            let done = self.exec(script);
            (done.code == 0).then_some(done.stdout)
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", docker(&["logs", &self.0]));
        }
        docker(&["rm", "-f", "-v", &self.0]);
    }
}

#[test]
fn ping_reaches_itself_as_root_and_as_anyone() {
    both(&[], "ping -c 1 -W 2 127.0.0.1 | grep -c ' 0% packet loss'", "1");
    both(&["-u", "1234"], "ping -c 1 -W 2 127.0.0.1 | grep -c ' 0% packet loss'", "1");
}

#[test]
fn apt_drops_to_its_own_user_and_dpkg_installs() {
    // no network is needed: a package is made and installed, and apt's sandbox user is entered
    let script = "mkdir -p /p/DEBIAN /p/usr/bin /repo && printf '#!/bin/sh\\necho installed\\n' >/p/usr/bin/made && chmod 755 /p/usr/bin/made \
        && printf 'Package: made\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.org>\\nDescription: x\\n' >/p/DEBIAN/control \
        && dpkg-deb -b /p /repo/made.deb >/dev/null && cd /repo && apt-get install -y -qq ./made.deb >/dev/null 2>&1 && made \
        && printf 'deb [trusted=yes] file:/repo ./\\n' >/etc/apt/sources.list && rm -f /etc/apt/sources.list.d/* \
        && printf 'Package: made\\nVersion: 1\\nArchitecture: all\\nFilename: ./made.deb\\nSize: '$(stat -c %s made.deb)'\\nSHA256: '$(sha256sum made.deb | cut -d' ' -f1)'\\nDescription: x\\n' >Packages \
        && apt-get update -qq 2>&1 | grep -v Ign; apt-get remove -y -qq made >/dev/null 2>&1; apt-get install -y -qq made >/dev/null 2>&1; made; stat -c %U /var/lib/apt/lists/partial";
    both(&[], script, "installed\ninstalled\n_apt");
}

#[test]
fn su_and_sudo_change_the_user() {
    let script = "useradd -m bob; su bob -c 'id -un; cd; pwd'; su - bob -c 'id -un' </dev/null; \
        echo 'bob ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bob; su bob -c 'sudo id -un'; su bob -c 'sudo -u www-data id -un'; \
        echo bob:secret | chpasswd; su -s /bin/sh nobody -c 'echo secret | su bob -c \"id -un\" 2>/dev/null'";
    both(&[], script, "bob\n/home/bob\nbob\nroot\nwww-data\nbob");
    // and where set-id programs may not gain anything, they do not
    let done = run(
        &["--security-opt", "no-new-privileges"],
        "useradd -m bob; su bob -c 'sudo id -un' 2>&1 | grep -c 'no new privileges'",
    );
    assert_eq!(done.stdout.trim(), "1", "{done}");
}

#[test]
fn sshd_lets_its_user_in() {
    for mode in MODES {
        let script = "mkdir -p /run/sshd; useradd -m -s /bin/bash bob; mkdir -p /home/bob/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/key; \
            cp /root/key.pub /home/bob/.ssh/authorized_keys; chown -R bob: /home/bob/.ssh; chmod 700 /home/bob/.ssh; exec /usr/sbin/sshd -D -e";
        let service = Service::start("sshd", mode, script);
        let login = "ssh -i /root/key -o StrictHostKeyChecking=no -o ConnectTimeout=5 -q bob@127.0.0.1 'id -un; tty >/dev/null || echo no terminal'";
        assert_eq!(service.until(login), "bob\nno terminal\n");
        let terminal =
            service.exec(&login.replace("ssh ", "ssh -tt ").replace("tty >/dev/null || echo no terminal", "tty"));
        assert!(terminal.stdout.contains("/dev/pts/"), "{terminal}");
        let copied = service.exec("scp -i /root/key -o StrictHostKeyChecking=no -q /etc/passwd bob@127.0.0.1:copy && cmp /etc/passwd /home/bob/copy && echo same");
        assert_eq!(copied.stdout, "same\n", "{copied}");
    }
}

#[test]
fn postgresql_keeps_its_data_in_a_volume() {
    for mode in MODES {
        docker(&["volume", "rm", "-f", "programs-pg"]);
        let flags: Vec<&str> =
            mode.iter().chain(&["-v", "programs-pg:/var/lib/postgresql", "--shm-size", "128m"]).copied().collect();
        let script = "pg_ctlcluster 15 main start --foreground";
        let service = Service::start("postgresql", &flags, script);
        let query = "su postgres -c \"psql -qtAX -c 'create table if not exists t (n int); insert into t values (42); select count(*), max(n) from t'\"";
        assert_eq!(service.until(query), "1|42\n");
        docker(&["stop", "-s", "INT", &service.0]).ok();
        docker(&["start", &service.0]).ok();
        assert_eq!(service.until(query), "2|42\n");
        drop(service);
        docker(&["volume", "rm", "programs-pg"]).ok();
    }
}

#[test]
fn nginx_serves_on_a_published_port() {
    for mode in MODES {
        let flags: Vec<&str> = mode.iter().chain(&["-p", "8391:80"]).copied().collect();
        let service = Service::start(
            "nginx",
            &flags,
            "echo 'from a container' >/var/www/html/index.html; exec nginx -g 'daemon off;'",
        );
        let netns = engine().netns.as_ref().expect("networks");
        wait_for("nginx", || {
            let done = netns.outside("curl -s -m 2 http://198.51.100.1:8391/");
            (done.stdout == "from a container\n").then_some(())
        });
        let workers = service.exec("ps -C nginx -o user= | sort -u");
        assert_eq!(workers.stdout, "root\nwww-data\n", "{workers}");
        service.exec("nginx -s reload").ok();
        docker(&["stop", "-s", "QUIT", "-t", "5", &service.0]).ok();
        assert_eq!(docker(&["inspect", "-f", "{{.State.ExitCode}}", &service.0]).stdout, "0\n");
    }
}

#[test]
fn redis_answers_and_saves() {
    for mode in MODES {
        let flags: Vec<&str> = mode
            .iter()
            .chain(&["-u", "redis", "-w", "/var/lib/redis", "--sysctl", "net.core.somaxconn=1024"])
            .copied()
            .collect();
        let service = Service::start("redis", &flags, "exec redis-server --dir /var/lib/redis --save ''");
        assert_eq!(service.until("redis-cli ping"), "PONG\n");
        assert_eq!(
            service
                .exec("redis-cli set k v >/dev/null; redis-cli get k; redis-cli save; ls -l dump.rdb | cut -d' ' -f3")
                .stdout,
            "v\nOK\nredis\n"
        );
    }
}

#[test]
fn the_host_can_be_looked_at_and_not_changed() {
    prepare();
    for mode in MODES {
        let mut words = vec!["run", "--rm"];
        words.extend(mode);
        words.extend(["-v", "/:/host:ro", "busybox", "sh", "-c", "test -d /host/proc && ls /host | grep -cx -e etc -e usr -e var; for d in / /etc /dev /run /sys /proc; do touch /host$d/rorqual-wrote 2>/dev/null && echo wrote $d; done; true"]);
        let done = docker(&words);
        assert_eq!((done.stdout.as_str(), done.code), ("3\n", 0), "{mode:?}: {done}");
        let mut words = vec!["run", "--rm"];
        words.extend(mode);
        words.extend([
            "-v",
            "/sys:/sys:ro",
            "busybox",
            "sh",
            "-c",
            "test -d /sys/class/net && echo seen; touch /sys/x 2>/dev/null || echo not written",
        ]);
        assert_eq!(docker(&words).stdout, "seen\nnot written\n", "{mode:?}");
    }
}

#[test]
fn devices_and_capabilities_that_are_given_work() {
    prepare();
    for mode in MODES {
        let one = |flags: &[&str], rest: &[&str]| {
            let mut words = vec!["run", "--rm"];
            words.extend(mode);
            words.extend(flags);
            words.extend(rest);
            docker(&words)
        };
        if std::path::Path::new("/dev/kvm").exists() {
            let done = one(&["--device", "/dev/kvm"], &["busybox", "sh", "-c", "exec 3<>/dev/kvm && echo opened"]);
            assert_eq!(done.stdout, "opened\n", "{mode:?}: {done}");
        }
        let done = one(&["--cap-add", "IPC_LOCK"], &["hello", "try", "mlockall"]);
        assert_eq!(done.stdout, "ok\n", "{mode:?}: {done}");
        let done = one(
            &["--cap-add", "SYS_ADMIN"],
            &["busybox", "sh", "-c", "mkdir /m && mount -t tmpfs none /m && touch /m/x && umount /m && echo mounted"],
        );
        assert_eq!(done.stdout, "mounted\n", "{mode:?}: {done}");
        let done = one(
            &["--privileged"],
            &[
                "busybox",
                "sh",
                "-c",
                "mkdir /m && mount -t tmpfs none /m && ls /dev/loop-control && sysctl -n kernel.pid_max | grep -c .",
            ],
        );
        assert_eq!(done.stdout, "/dev/loop-control\n1\n", "{mode:?}: {done}");
        let done = one(
            &["--cap-add", "NET_ADMIN"],
            &["busybox", "sh", "-c", "ip link add v0 type veth peer name v1 && ip link set v0 up && echo made"],
        );
        assert_eq!(done.stdout, "made\n", "{mode:?}: {done}");
    }
}

#[test]
fn a_client_inside_drives_the_daemon() {
    prepare();
    let socket = engine().host.trim_start_matches("unix://").to_owned();
    if engine().netns.as_ref().is_some_and(|netns| netns.name.starts_with("lab-")) {
        return; // a daemon with a root of its own cannot bind our paths
    }
    for mode in MODES {
        let bind = format!("{socket}:/var/run/docker.sock");
        let client = format!("{}:/usr/local/bin/docker:ro", places::docker().display());
        let mut words = vec!["run", "--rm"];
        words.extend(mode);
        words.extend(["-v", &bind, "-v", &client, IMAGE, "docker", "run", "--rm", "hello", "echo", "from inside"]);
        let done = docker(&words);
        assert_eq!((done.stdout.as_str(), done.code), ("from inside\n", 0), "{mode:?}: {done}");
    }
}
