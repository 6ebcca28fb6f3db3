use super::*;

#[test]
fn what_go_writes_is_read() {
    let spec = Spec::parse(
        br#"{"ociVersion":"1.2.0","hooks":null,"unknown":{"a":[null]},"mounts":null,
             "process":{"user":{"uid":1,"gid":2,"additionalGids":[3]},"args":["sh"],"env":null,"cwd":"/",
                        "rlimits":[{"type":"RLIMIT_NOFILE","hard":18446744073709551615,"soft":1024}],"oomScoreAdj":0},
             "linux":{"intelRdt":{"closID":"x"},"namespaces":[{"type":"network","path":"/proc/1/ns/net"}],
                      "resources":{"devices":[{"allow":false,"access":"rwm"}],"memory":{"swap":-1}},
                      "uidMappings":[{"containerID":0,"hostID":7,"size":9}],
                      "timeOffsets":{"monotonic":{"secs":5}}}}"#,
    )
    .unwrap();
    let process = spec.process.unwrap();
    assert_eq!(process.user.additional_gids, [3]);
    assert_eq!(process.rlimits[0].hard, u64::MAX);
    assert_eq!(process.oom_score_adj, Some(0));
    let linux = spec.linux.unwrap();
    assert_eq!(linux.namespaces, [Namespace::join(NamespaceKind::Network, "/proc/1/ns/net")]);
    assert_eq!(linux.resources.unwrap().memory.unwrap().swap, Some(-1));
    assert_eq!(linux.uid_mappings[0], IdMapping { container_id: 0, host_id: 7, size: 9 });
    assert_eq!(linux.time_offsets["monotonic"].secs, 5);
}

#[test]
fn a_document_survives_writing_and_reading() {
    let mut spec = Spec::new();
    spec.process = Some(Process { args: vec!["x".into()], cwd: "/".into(), ..Process::default() });
    spec.linux_mut().seccomp = Some(Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        syscalls: vec![SeccompRule {
            names: vec!["clone".into()],
            action: "SCMP_ACT_ALLOW".into(),
            errno_ret: None,
            args: vec![SeccompArg { index: 0, value: 2114060288, value_two: 0, op: "SCMP_CMP_MASKED_EQ".into() }],
        }],
        ..Seccomp::default()
    });
    let text = serde_json::to_string(&spec).unwrap();
    assert!(text.contains(r#""args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]"#), "{text}");
    assert!(text.contains(r#""user":{"uid":0,"gid":0}"#), "{text}");
    assert!(!text.contains("hooks"), "{text}");
    assert_eq!(Spec::parse(text.as_bytes()).unwrap(), spec);
}

#[test]
fn wrong_documents_are_refused() {
    for bad in ["", "[]", r#"{"ociVersion":"2.0"}"#, r#"{"ociVersion":"1.2.0","root":7}"#, "{}"] {
        assert!(Spec::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let deep = format!(r#"{{"ociVersion":"1.0.0","x":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    assert!(Spec::parse(deep.as_bytes()).is_err());
    assert!(Spec::parse(&vec![b' '; CONFIG_MAX_BYTES + 1]).is_err());
}
