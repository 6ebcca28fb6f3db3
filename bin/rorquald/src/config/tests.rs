use super::*;
use std::io::Write;

/// The configuration of a file's text and a command line, or why it is refused, without the file's name.
fn configured(text: &str, line: &str) -> Result<Merged, String> {
    let mut path = tempfile::NamedTempFile::new().unwrap();
    path.write_all(text.as_bytes()).unwrap();
    let name = path.path().to_str().unwrap().to_owned();
    let line = format!("--config-file {name} {line}");
    let flags = arguments::parse(line.split_whitespace().map(str::to_owned)).map_err(|why| why.to_string())?;
    load(&flags).map_err(|error| {
        let text = format!("{error:#}");
        let prefix = format!("unable to configure the Docker daemon with file {name}: ");
        text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
    })
}

#[test]
fn wrong_configurations_are_refused_in_dockerds_words() {
    const MERGED: &str = "merged configuration validation from file and command line flags failed: ";
    let both = "the following directives are specified both as a flag and in the configuration file: ";
    for (text, line, wanted) in [
        (r#"{"foo":1}"#, "", "the following directives don't match any configuration option: foo".to_owned()),
        (r#"{"Debug":true}"#, "", "the following directives don't match any configuration option: Debug".into()),
        (
            r#"{"debug":"x"}"#,
            "",
            "invalid JSON: json: cannot unmarshal string into Go struct field Config.debug of type bool".into(),
        ),
        (r#"{"debug":true"#, "", "invalid JSON: unexpected end of JSON input".into()),
        ("[1]", "", "invalid JSON: json: cannot unmarshal array into Go value of type map[string]interface {}".into()),
        (r#"{"debug":true}"#, "--debug", format!("{both}debug: (from flag: true, from file: true)")),
        (r#"{"labels":["a=b"]}"#, "--label c=d", format!("{both}labels: (from flag: [c=d], from file: [a=b])")),
        (
            r#"{"hosts":["unix:///x"]}"#,
            "-H unix:///y",
            format!("{both}hosts: (from flag: [unix:///y], from file: [unix:///x])"),
        ),
        (
            r#"{"log-opts":{"a":"b"}}"#,
            "--log-opt c=d",
            format!("{both}log-opts: (from flag: map[c:d], from file: map[a:b])"),
        ),
        (r#"{"labels":["foo"]}"#, "", format!("{MERGED}bad attribute format: foo")),
        (r#"{"log-level":"foo"}"#, "", format!("{MERGED}invalid logging level: foo")),
        ("{}", "--log-level foo", format!("{MERGED}invalid logging level: foo")),
        (r#"{"mtu":-3}"#, "", format!("{MERGED}invalid default MTU: -3")),
        (
            r#"{"log-opts":{"max-size":5}}"#,
            "",
            "invalid JSON: json: cannot unmarshal number into Go struct field Config.log-opts.max-size of type string"
                .into(),
        ),
        (
            r#"{"hosts":"x"}"#,
            "",
            "invalid JSON: json: cannot unmarshal string into Go struct field Config.hosts of type []string".into(),
        ),
        (
            r#"{"features":{"a":5}}"#,
            "",
            "invalid JSON: json: cannot unmarshal number into Go struct field Config.features.a of type bool".into(),
        ),
        ("{}", "--exec-opt foo", format!("{MERGED}invalid exec-opt (foo): must be formatted 'opt=value'")),
        (
            r#"{"default-ipc-mode":"foo"}"#,
            "",
            format!("{MERGED}default IPC mode setting (foo) is invalid; use \"shareable\" or \"private\""),
        ),
        (
            r#"{"default-cgroupns-mode":"foo"}"#,
            "",
            format!("{MERGED}invalid default cgroup namespace (foo): use \"host\" or \"private\""),
        ),
        (r#"{"max-concurrent-downloads":-1}"#, "", format!("{MERGED}invalid max concurrent downloads: -1")),
        (
            "{}",
            "--authorization-plugin x",
            format!("{MERGED}authorization-plugin: authorization plugins are not supported yet"),
        ),
        ("{}", "--default-runtime foo", format!("{MERGED}specified default runtime 'foo' does not exist")),
    ] {
        assert_eq!(configured(text, line).unwrap_err(), wanted, "{text} {line}");
    }
}

#[test]
fn right_configurations_are_taken() {
    for (text, line) in [
        ("", ""),
        ("{}", "--storage-driver overlay2 --containerd /x --userland-proxy=false"),
        (r#"{"storage-opts":["layers=directories"]}"#, ""),
        (r#"{"debug":null,"features":{"a":true},"proxies":{"http-proxy":"http://x"}}"#, ""),
        (r#"{"runtimes":{"other":{"path":"/bin/other","runtimeArgs":["-x"]}},"default-runtime":"other"}"#, ""),
        (r#"{"selinux-enabled":false,"rootless":false,"metrics-addr":""}"#, ""),
    ] {
        configured(text, line).unwrap();
    }
}

#[test]
fn a_named_file_must_exist() {
    let flags = arguments::parse(["--config-file=/nope.json".to_owned()]).unwrap();
    let error = format!("{:#}", load(&flags).unwrap_err());
    assert_eq!(
        error,
        "unable to configure the Docker daemon with file /nope.json: open /nope.json: no such file or directory"
    );
}

#[test]
fn settings_hold_what_was_said() {
    let merged = configured(
        r#"{"runtimes":{"other":{"path":"/bin/other","runtimeArgs":["-x"]}},"labels":["a=b"],"default-shm-size":"1m",
            "default-ulimits":{"nofile":{"Name":"nofile","Soft":5,"Hard":6}},"insecure-registries":["h:5000","10.0.0.0/8"]}"#,
        "-D -H unix:///a -H tcp://127.0.0.1 --tlsverify --tlscacert /ca --data-root /d --bridge br7 --icc=false --mtu 1400 \
         --http-proxy http://me:secret@proxy:1",
    )
    .unwrap();
    let settings = Settings::new(&merged).unwrap();
    assert_eq!(settings.hosts[1].to_string(), "tcp://127.0.0.1:2376");
    assert_eq!(settings.tls.unwrap().client_ca.unwrap().to_str(), Some("/ca"));
    assert_eq!(settings.engine.runtimes["other"].args, ["-x"]);
    assert_eq!(settings.engine.default_shm_size, 1 << 20);
    assert_eq!(settings.engine.default_ulimits["nofile"], (5, 6));
    assert_eq!(settings.engine.network.bridge, "br7");
    assert!(!settings.engine.network.icc);
    assert_eq!(settings.engine.network.mtu, 1400);
    assert!(settings.engine.debug);
    assert_eq!(settings.proxies[0], "http://xxxxx:xxxxx@proxy:1");
    assert_eq!(settings.registries.insecure_registry_cidrs, ["10.0.0.0/8", "::1/128", "127.0.0.0/8"]);
    assert!(!settings.registries.index_configs["h:5000"].secure);
    assert!(!settings.insecure_tcp);
}

#[test]
fn insecure_tcp_is_asked_for_twice() {
    for (line, wanted) in
        [("--tls=false", false), ("--allow-insecure-tcp", false), ("--tls=false --allow-insecure-tcp", true)]
    {
        let merged = configured("", line).unwrap();
        assert_eq!(Settings::new(&merged).unwrap().insecure_tcp, wanted, "{line}");
    }
}

#[test]
fn a_registry_is_served_where_it_is_asked_for() {
    let registry = |text: &str, line: &str| -> Result<_> {
        let merged = configured(text, line).map_err(anyhow::Error::msg)?;
        Ok(Settings::new(&merged)?.registry)
    };
    assert!(registry("", "").unwrap().is_none());
    let config = registry("", "--registry --data-root /d").unwrap().unwrap();
    assert_eq!((config.address.to_string().as_str(), config.root.to_str()), ("127.0.0.1:5000", Some("/d/registry")));
    let text = r#"{"registry":true,"registry-opts":["address=:7","plain-http","proxy-remoteurl=http://u"]}"#;
    let config = registry(text, "--insecure-registry u").unwrap().unwrap();
    assert_eq!(config.address.port(), 7);
    assert_eq!(config.proxy.unwrap().client.insecure_registries, ["u"]);
    for (text, line) in [
        ("", "--registry-opt address=:7"),
        ("", "--registry --registry-opt address=:7"),
        ("", "--registry --registry-opt what=x"),
        (r#"{"registry":true,"registry-opts":["root"]}"#, "--registry-opt read-only"),
    ] {
        assert!(registry(text, line).is_err(), "{text} {line}");
    }
}

#[test]
fn options_without_effect_are_told() {
    let merged = configured(r#"{"live-restore":true}"#, "--containerd x --icc").unwrap();
    let told: Vec<_> = merged.without_effect().map(|(option, _)| option).collect();
    assert_eq!(told, ["containerd", "live-restore"]);
}

#[test]
fn a_pull_policy_is_read_with_the_configuration() {
    let mut policy = tempfile::NamedTempFile::new().unwrap();
    policy.write_all(br#"{"default":"any"}"#).unwrap();
    let path = policy.path().to_str().unwrap().to_owned();
    let merged = configured(&format!(r#"{{"pull-policy":"{path}"}}"#), "").unwrap();
    assert_eq!(Settings::new(&merged).unwrap().engine.pull_policy.path(), Some(policy.path()));
    policy.write_all(b"x").unwrap();
    let error = Settings::new(&merged).unwrap_err().to_string();
    assert_eq!(error, format!("the pull policy {path} cannot be used: trailing characters at line 1 column 18"));
}

#[test]
fn a_disk_budget_is_read_from_the_file() {
    let budget = |json: &str| {
        let merged = configured(&format!(r#"{{"image-gc":{json}}}"#), "").map_err(|error| format!("{error:#}"))?;
        Ok::<_, String>(Settings::new(&merged).unwrap().engine.budget.unwrap())
    };
    let read = budget(r#"{"high-mark":"85%","low-mark":"80%","minimum-age":"1h","pinned":["debian:*"]}"#).unwrap();
    assert_eq!((read.high, read.low), ("85%".parse().unwrap(), "80%".parse().unwrap()));
    assert_eq!((read.minimum_age.as_secs(), read.pinned), (3600, vec!["debian:*".to_owned()]));
    for (json, why) in [
        (r#"{"high-mark":"85%"}"#, "low-mark"),
        (r#"{"high-mark":"85%","low-mark":"x"}"#, "invalid mark"),
        (r#"{"high-mark":"80%","low-mark":"85%"}"#, "the low mark is above the high one"),
        (r#"{"high-mark":"2g","low-mark":"1g","minimum-age":"5"}"#, "invalid duration"),
        (r#"{"high-mark":"2g","low-mark":"1g","keep":[]}"#, "unknown field"),
    ] {
        let error = budget(json).unwrap_err();
        assert!(error.contains("image-gc") && error.contains(why), "{error}");
    }
}
