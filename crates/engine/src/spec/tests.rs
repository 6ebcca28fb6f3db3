//! Against what dockerd 28.5.2 gave runc for the same options, but for our own rules (device list, namespaces).

use super::{validate::tests::machine, *};
use rorqual_api_types::container::CreateRequest;

const ID: &str = "2d76aa5c0fcb7fb91a223bec2e1404ce52330ebeeb3877843f83dc93cc5a7a58";

fn with(body: &str, change: impl FnOnce(&mut SpecInput<'_>)) -> Result<Spec> {
    let mut request: CreateRequest = serde_json::from_str(body).unwrap();
    request.config.cmd.get_or_insert(vec!["sleep".into(), "100".into()]);
    let host_config = request.host_config.unwrap_or_default();
    let machine = machine();
    let file = |name: &str| Some(PathBuf::from(format!("/data/{name}")));
    let mut input = SpecInput {
        id: ID,
        config: &request.config,
        host_config: &host_config,
        machine: &machine,
        root: "rootfs".into(),
        mounts: Vec::new(),
        files: NetworkFiles { resolv_conf: file("resolv.conf"), hostname: file("hostname"), hosts: file("hosts") },
        network: Namespace::New,
        ipc: Ipc::Private,
        pid: Namespace::New,
        userns: UserNamespace::Host,
        cgroup_path: "rorqual/x".into(),
        devices: Vec::new(),
        block_io: None,
        link_env: Vec::new(),
        default_ulimits: &BTreeMap::new(),
        no_new_privileges: false,
        seccomp: None,
    };
    change(&mut input);
    build(&input)
}

fn plain(body: &str) -> Spec {
    with(body, |_| {}).unwrap()
}

fn mounts(spec: &Spec) -> Vec<String> {
    spec.mounts
        .iter()
        .map(|mount| format!("{} {} {}", mount.destination, mount.source, mount.options.join(",")))
        .collect()
}

#[test]
fn a_plain_container_is_dockers() {
    let spec = plain("{}");
    let process = spec.process.as_ref().unwrap();
    assert_eq!(process.args, ["sleep", "100"]);
    assert_eq!(process.env, [format!("PATH={}", defaults::PATH), "HOSTNAME=2d76aa5c0fcb".to_owned()]);
    assert_eq!((process.cwd.as_str(), process.oom_score_adj, process.no_new_privileges), ("/", Some(0), false));
    let capabilities = process.capabilities.as_ref().unwrap();
    assert_eq!(capabilities.bounding, CapSet::CONTAINER.names());
    assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty());
    assert_eq!(spec.hostname, "2d76aa5c0fcb");
    assert_eq!(
        mounts(&spec),
        [
            "/proc proc nosuid,noexec,nodev",
            "/dev tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/dev/pts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/sys sysfs nosuid,noexec,nodev,ro",
            "/sys/fs/cgroup cgroup ro,nosuid,noexec,nodev",
            "/dev/mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm shm nosuid,noexec,nodev,mode=1777,size=67108864",
            "/etc/resolv.conf /data/resolv.conf rbind,rprivate",
            "/etc/hostname /data/hostname rbind,rprivate",
            "/etc/hosts /data/hosts rbind,rprivate",
        ]
    );
    let linux = spec.linux.unwrap();
    assert_eq!(linux.sysctl["net.ipv4.ip_unprivileged_port_start"], "0");
    assert_eq!(linux.sysctl["net.ipv4.ping_group_range"], "0 2147483647");
    assert_eq!((linux.masked_paths.len(), linux.readonly_paths.len()), (12, 5));
    let kinds: Vec<_> = linux.namespaces.iter().map(|one| one.kind).collect();
    use NamespaceKind::*;
    assert_eq!(kinds, [Mount, Network, Uts, Pid, Ipc, Cgroup]);
    assert_eq!(linux.resources.unwrap().pids.unwrap().limit, 8192);
}

#[test]
fn a_user_namespace_of_its_own() {
    let range = IdRange { uid: 1000, gid: 2000, size: 65_536 };
    let spec = with("{}", |input| input.userns = UserNamespace::Own(range)).unwrap();
    let linux = spec.linux.unwrap();
    assert_eq!(linux.uid_mappings, [IdMapping { container_id: 0, host_id: 1000, size: 65_536 }]);
    assert_eq!(linux.gid_mappings[0].host_id, 2000);
    assert_eq!(linux.namespaces.last().unwrap().kind, NamespaceKind::User);
    assert_eq!(linux.sysctl["net.ipv4.ping_group_range"], "0 65535");
}

#[test]
fn the_environment_keeps_dockers_order() {
    let spec = plain(
        r#"{"Tty":true,"Hostname":"h.example","Domainname":"d.e","Env":["A=b","TERM=foo","PATH","B=1","B=2","EMPTY="],
            "User":"1:2","WorkingDir":"/x//y/../z","HostConfig":{"ConsoleSize":[24,80]}}"#,
    );
    let process = spec.process.unwrap();
    assert_eq!(process.env, ["HOSTNAME=h.example", "TERM=foo", "A=b", "B=2", "EMPTY="]);
    assert_eq!(process.console_size, Some(ConsoleSize { height: 24, width: 80 }));
    assert_eq!((process.user.username.as_str(), process.cwd.as_str()), ("1:2", "/x/z"));
    assert_eq!((spec.hostname.as_str(), spec.domainname.as_str()), ("h.example", "d.e"));
}

#[test]
fn the_users_mounts_by_depth_and_instead_of_the_defaults() {
    let bind = |source: &str, target: &str, readonly| {
        Mount::Bind(Bind { source: source.into(), target: target.into(), readonly, ..Bind::default() })
    };
    let spec = with("{}", |input| {
        let options = mounts::tmpfs_options("size=1m").unwrap();
        input.mounts = vec![
            Mount::Tmpfs { target: "/tt".into(), options },
            bind("/p", "/z/b", false),
            bind("/q", "/a", true),
            bind("/etc", "/m/", false),
            bind("/h", "/etc/hosts", false),
            bind("/s", "/dev/shm", false),
        ];
        if let Mount::Bind(bind) = &mut input.mounts[3] {
            (bind.readonly, bind.readonly_non_recursive) = (true, true);
            bind.propagation = Some("private".into());
        }
    })
    .unwrap();
    assert_eq!(
        mounts(&spec)[6..],
        [
            "/tt tmpfs noexec,nosuid,nodev,rprivate,size=1m",
            "/a /q rbind,rro,rprivate",
            "/m/ /etc rbind,ro,private",
            "/z/b /p rbind,rprivate",
            "/etc/hosts /h rbind,rprivate",
            "/dev/shm /s rbind,rprivate",
            "/etc/resolv.conf /data/resolv.conf rbind,rprivate",
            "/etc/hostname /data/hostname rbind,rprivate",
        ]
    );
    assert!(with("{}", |input| input.mounts = vec![bind("/x", "/a/..", false)]).is_err());
    let dev = with("{}", |input| input.mounts = vec![bind("/dev", "/dev", false)]).unwrap();
    assert!(!mounts(&dev).iter().any(|mount| mount.starts_with("/dev/")));
}

#[test]
fn namespaces_of_others() {
    let spec = with(r#"{"HostConfig":{"UTSMode":"host","CgroupnsMode":"host","ShmSize":5}}"#, |input| {
        input.network = Namespace::Host;
        input.pid = Namespace::Join("/proc/7/ns/pid".into());
        input.ipc = Ipc::Join("/proc/7/ns/ipc".into(), Some("/shm/7".into()));
        input.userns = UserNamespace::Join("/proc/7/ns/user".into(), IdRange { uid: 1, gid: 1, size: 10 });
    })
    .unwrap();
    assert_eq!(spec.hostname, "");
    assert!(spec.process.unwrap().env.contains(&"HOSTNAME=vm".to_owned()));
    let linux = spec.linux.unwrap();
    let joined: Vec<_> = linux.namespaces.iter().filter(|one| !one.path.is_empty()).map(|one| one.kind).collect();
    assert_eq!(joined, [NamespaceKind::Pid, NamespaceKind::Ipc, NamespaceKind::User]);
    assert_eq!(linux.namespaces.len(), 4);
    assert!(linux.sysctl.is_empty());
    assert!(spec.mounts.iter().any(|mount| mount.destination == "/dev/shm" && mount.source == "/shm/7"));
}

#[test]
fn privileged() {
    let spec = plain(r#"{"HostConfig":{"Privileged":true}}"#);
    let linux = spec.linux.as_ref().unwrap();
    assert!(linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
    assert_eq!(linux.resources.as_ref().unwrap().devices.len(), 1);
    assert!(mounts(&spec).contains(&"/sys sysfs nosuid,noexec,nodev".to_owned()));
    let capabilities = spec.process.as_ref().unwrap().capabilities.as_ref().unwrap();
    assert_eq!(capabilities.effective, rorqual_linux::caps::available().names());
}

#[test]
fn sysctls_belong_to_namespaces() {
    let body = |name: &str| format!(r#"{{"HostConfig":{{"Sysctls":{{"{name}":"1"}}}}}}"#);
    for (name, message) in [
        ("net.core.somaxconn", ""),
        ("kernel.shmmax", ""),
        ("fs.mqueue.msg_max", ""),
        ("kernel.domainname", ""),
        ("kernel.foo", "sysctl \"kernel.foo\" is not in a separate kernel namespace"),
        ("net/../kernel/core_pattern", "sysctl \"net/../kernel/core_pattern\" is not in a separate kernel namespace"),
    ] {
        let result = with(&body(name), |_| {});
        assert_eq!(result.map_or_else(|error| error.to_string(), |_| String::new()), message, "{name}");
    }
    let host = with(&body("net.core.somaxconn"), |input| input.network = Namespace::Host).unwrap_err();
    assert_eq!(host.to_string(), "sysctl \"net.core.somaxconn\" not allowed in host network namespace");
    let host = with(&body("kernel.shmmax"), |input| input.ipc = Ipc::Host).unwrap_err();
    assert_eq!(host.to_string(), "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace");
}

#[test]
fn limits_of_the_process() {
    let body = r#"{"HostConfig":{"Ulimits":[{"Name":"nofile","Soft":1000,"Hard":-1}]}}"#;
    let limits = plain(body).process.unwrap().rlimits;
    assert_eq!(limits, [Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 1000, hard: u64::MAX }]);
    for bad in [r#"{"Name":"bogus","Soft":1,"Hard":1}"#, r#"{"Name":"nofile","Soft":20,"Hard":10}"#] {
        assert!(with(&format!(r#"{{"HostConfig":{{"Ulimits":[{bad}]}}}}"#), |_| {}).is_err());
    }
}

#[test]
fn nothing_to_run_is_an_error() {
    assert_eq!(with(r#"{"Cmd":[]}"#, |_| {}).unwrap_err().to_string(), "no command specified");
}
