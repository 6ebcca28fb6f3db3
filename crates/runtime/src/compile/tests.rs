use super::*;
use crate::plan::{BindIds, Io, MountKind, RuntimeKind};
use rorqual_linux::{cgroup::AttachPlan, mount::attr};

fn options(rootfs: Rootfs) -> Options {
    Options {
        id: "c1".into(),
        dir: "/run/c1".into(),
        rootfs,
        io: Io::default(),
        log: None,
        userns: None,
        init: false,
        runtime: RuntimeKind::Own,
        cgroup: AttachPlan::default(),
        group_add: vec!["audio".into()],
    }
}

fn overlay() -> Rootfs {
    Rootfs::Overlay { layers_dir: "/l".into(), lowers: vec!["a".into()], rw_dir: "/rw".into(), readonly: false }
}

fn bundle() -> Rootfs {
    Rootfs::Bind { path: "/b/rootfs".into(), readonly: false }
}

fn spec(json: &str) -> Spec {
    let text = format!(r#"{{"ociVersion":"1.2.0","process":{{"args":["sh"],"cwd":"/"}},{json}}}"#);
    Spec::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_bind_shows_the_containers_ids_only_to_our_own_engine() {
    let spec = spec(r#""mounts":[{"destination":"/x","source":"/y","options":["rbind","ro","rslave"]}]"#);
    let ids = |rootfs| match compile(&spec, options(rootfs), None).unwrap().mounts.remove(0).kind {
        MountKind::Bind { ids, recursive, .. } => (ids, recursive),
        other => panic!("{other:?}"),
    };
    assert_eq!(ids(overlay()), (BindIds::Container, true));
    assert_eq!(ids(bundle()), (BindIds::Host, true));
}

#[test]
fn later_mount_options_win() {
    let spec = spec(
        r#""mounts":[{"destination":"/x","source":"/y","options":["bind","ro","rw","noatime","relatime","rro","rshared","slave"]}]"#,
    );
    let attributes = compile(&spec, options(bundle()), None).unwrap().mounts[0].attributes;
    assert_eq!(attributes.set, 0);
    assert_eq!(attributes.clear, attr::RDONLY | attr::ATIME);
    assert_eq!(attributes.set_recursive, attr::RDONLY);
    assert_eq!((attributes.propagation, attributes.propagation_recursive), (propagation::SLAVE, propagation::SHARED));
}

#[test]
fn file_system_data_is_kept() {
    let spec = spec(
        r#""mounts":[{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755","size=65536k"]},
            {"destination":"/dev/pts","type":"devpts","source":"devpts","options":["newinstance","gid=5"]}]"#,
    );
    let mounts = compile(&spec, options(bundle()), None).unwrap().mounts;
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(mounts[0].kind, MountKind::Dev { options: vec![pair("mode", "755"), pair("size", "65536k")] });
    assert_eq!(
        mounts[1].kind,
        MountKind::Filesystem {
            kind: "devpts".into(),
            source: "devpts".into(),
            options: vec![pair("newinstance", ""), pair("gid", "5")],
            copy_up: false
        }
    );
}

#[test]
fn a_sysctl_of_the_host_is_refused() {
    for (name, namespaces, allowed) in [
        ("net.ipv4.ip_forward", r#"{"type":"network"}"#, true),
        ("net.ipv4.ip_forward", r#"{"type":"uts"}"#, false),
        ("net/ipv4/conf/eth0.1/forwarding", r#"{"type":"network"}"#, true),
        ("kernel.shmmax", r#"{"type":"ipc"}"#, true),
        ("kernel.core_pattern", r#"{"type":"ipc"}"#, false),
        ("vm.swappiness", r#"{"type":"ipc"}"#, false),
    ] {
        let spec = spec(&format!(r#""linux":{{"namespaces":[{namespaces}],"sysctl":{{"{name}":"1"}}}}"#));
        assert_eq!(compile(&spec, options(bundle()), None).is_ok(), allowed, "{name}");
    }
}

#[test]
fn users_of_the_engine_are_looked_up() {
    let spec = spec(r#""hostname":"""#);
    let user = |rootfs| compile(&spec, options(rootfs), None).unwrap().process.user;
    assert_eq!(user(overlay()), User::Named { user: String::new(), groups: vec!["audio".into()] });
    assert_eq!(user(bundle()), User::Ids { uid: 0, gid: 0, groups: vec![] });
}

#[test]
fn a_document_without_sense_is_refused() {
    for wrong in [
        r#""hostname":"x""#,
        r#""linux":{"namespaces":[{"type":"user"}]}"#,
        r#""linux":{"namespaces":[{"type":"time"}]}"#,
        r#""linux":{"devices":[{"path":"/dev/x","type":"z"}]}"#,
        r#""linux":{"rootfsPropagation":"sideways"}"#,
        r#""mounts":[{"destination":""}]"#,
    ] {
        assert!(compile(&spec(wrong), options(bundle()), None).is_err(), "{wrong}");
    }
}

#[test]
fn the_hooks_state_can_be_completed() {
    let hooks = compile(&spec(r#""annotations":{"a":"b"}"#), options(bundle()), None).unwrap().hooks;
    let document = format!("{},\"pid\":7}}", hooks.state);
    let state: oci::State = serde_json::from_str(&document).unwrap();
    assert_eq!((state.pid, state.id.as_str(), state.annotations["a"].as_str()), (7, "c1", "b"));
    let hooks = compile(&spec(r#""hostname":"""#), options(bundle()), None).unwrap().hooks;
    assert!(serde_json::from_str::<oci::State>(&format!("{},\"pid\":7}}", hooks.state)).is_ok(), "{}", hooks.state);
}
