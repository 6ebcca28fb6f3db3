use super::*;
use rorqual_api_types::container::ExecConfig;
use serde_json::json;

fn failure(text: &str) -> String {
    create(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_create_body_is_read_leniently() {
    let request = create(
        br#"{"image":"busybox","CMD":"true","Env":null,"Unknown":{"a":[1]},"StopTimeout":null,"Labels":{"a":null},
             "hostconfig":{"memory":5,"Binds":["a:b"],"PidsLimit":7,"PortBindings":{"80/tcp":null},"Mounts":null,
             "ConsoleSize":[24],"restartPolicy":{"name":"always"},"Ulimits":[{"Name":"nofile","Hard":1,"Soft":1}]},
             "NetworkingConfig":{"EndpointsConfig":{"bridge":null}}}"#,
    )
    .unwrap();
    assert_eq!(request.config.image, "busybox");
    assert_eq!(request.config.cmd, Some(vec!["true".into()]));
    assert_eq!(request.config.labels.unwrap()["a"], "");
    let host = request.host_config.unwrap();
    assert_eq!(host.resources.memory, 5);
    assert_eq!(host.resources.pids_limit, Some(7));
    assert_eq!(host.binds, Some(vec!["a:b".into()]));
    assert_eq!(host.port_bindings.unwrap()["80/tcp"], None);
    assert_eq!(host.console_size, [24, 0]);
    assert_eq!(host.restart_policy.name, "always");
    assert_eq!(host.resources.ulimits.unwrap()[0].name, "nofile");
    assert!(request.networking_config.unwrap().endpoints_config.unwrap()["bridge"].is_none());
}

#[test]
fn wrong_bodies_fail_in_dockerds_words() {
    for (text, wanted) in [
        ("", "invalid JSON: got EOF while reading request body"),
        (r#"{"Image":"busybox""#, "invalid JSON: unexpected EOF"),
        (r#"{"Image":"busybox"} {}"#, "unexpected content after JSON"),
        ("{}", "config cannot be empty in order to create a container"),
        ("null", "config cannot be empty in order to create a container"),
        (r#"{"Image":5}"#, "invalid JSON: json: cannot unmarshal number into Go struct field .Image of type string"),
        (
            r#"{"Image":"busybox","HostConfig":{"Memory":"x"}}"#,
            "invalid JSON: json: cannot unmarshal string into Go struct field .HostConfig.Memory of type int64",
        ),
        (
            r#"{"Image":"busybox","HostConfig":{"Memory":1.5}}"#,
            "invalid JSON: json: cannot unmarshal number 1.5 into Go struct field .HostConfig.Memory of type int64",
        ),
    ] {
        assert_eq!(failure(text), wanted, "{text}");
    }
    assert!(failure("[]").starts_with("invalid JSON: json: cannot unmarshal array into Go value of type container."));
    assert!(failure(r#"{"Image":"#).starts_with("invalid JSON"));
    assert!(failure(r#"{"Image":tru}"#).starts_with("invalid JSON"));
}

#[test]
fn depth_is_bounded_before_anything_is_built() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(document(nested(JSON_DEPTH - 1).as_bytes()).is_ok());
    assert!(document(nested(JSON_DEPTH).as_bytes()).is_ok());
    let error = document(nested(JSON_DEPTH + 1).as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "invalid JSON: nested deeper than 64 levels");
    assert!(document(br#"{"a":"[[[[\"[[[{{{{\\"}"#).is_ok());
    let far = "[".repeat(1 << 20);
    assert!(document(far.as_bytes()).is_err());
}

#[test]
fn the_list_of_own_fields_is_the_types() {
    let value = serde_json::to_value(HostConfig {
        annotations: Some([("a".to_owned(), String::new())].into()),
        storage_opt: Some([("a".to_owned(), String::new())].into()),
        tmpfs: Some([("a".to_owned(), String::new())].into()),
        sysctls: Some([("a".to_owned(), String::new())].into()),
        runtime: "x".into(),
        mounts: Some(vec![Default::default()]),
        init: Some(true),
        ..HostConfig::default()
    })
    .unwrap();
    let resources = serde_json::to_value(Resources::default()).unwrap();
    let own: Vec<&String> =
        value.as_object().unwrap().keys().filter(|name| !resources.as_object().unwrap().contains_key(*name)).collect();
    let mut wanted = HOST_CONFIG_FIELDS;
    wanted.sort_unstable();
    assert_eq!(own, wanted);
}

#[test]
fn every_field_of_a_host_configuration_survives() {
    let sent = json!({
        "Binds": ["/a:/b"], "ContainerIDFile": "f", "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostIp": "1.2.3.4", "HostPort": "80"}]},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "AutoRemove": true, "CapAdd": "SYS_ADMIN",
        "Devices": [{"PathOnHost": "/dev/kvm", "PathInContainer": "/dev/kvm", "CgroupPermissions": "rwm"}],
        "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 5, "Options": [["noexec"]]}}],
        "Init": true, "NanoCpus": 5, "OomKillDisable": true, "MaskedPaths": [], "ShmSize": 9,
    });
    let config = host_config(&sent, "").unwrap();
    assert_eq!(config.cap_add, Some(vec!["SYS_ADMIN".into()]));
    assert_eq!(config.masked_paths, Some(vec![]));
    assert_eq!(config.readonly_paths, None);
    assert_eq!(config.resources.nano_cpus, 5);
    assert_eq!(config.resources.devices.as_ref().unwrap()[0].path_on_host, "/dev/kvm");
    assert_eq!(config.mounts.as_ref().unwrap()[0].tmpfs_options.as_ref().unwrap().size_bytes, 5);
    assert_eq!(config.init, Some(true));
    assert_eq!(config.log_config.config.unwrap()["max-size"], "1m");
}

#[test]
fn other_bodies_may_be_empty() {
    assert_eq!(body::<ExecConfig>(b"").unwrap(), None);
    assert_eq!(
        body::<ExecConfig>(br#"{"cmd":["a"],"Tty":true,"ConsoleSize":null}"#).unwrap().unwrap().cmd.unwrap(),
        ["a"]
    );
    assert_eq!(update(b"").unwrap(), UpdateRequest::default());
    let request = update(br#"{"Memory":5,"RestartPolicy":{"Name":"no"}}"#).unwrap();
    assert_eq!((request.resources.memory, request.restart_policy.name.as_str()), (5, "no"));
}
