//! From flags to the body of `POST /containers/create`, field for field as docker's client sends it.

use super::create_flags::nano_cpus;
use crate::{
    args::Matches,
    opts::{
        absolute, device, gpus, hosts, list_file, mount, network, object, pairs, port::Ports, texts_list,
        texts_or_null, ulimit,
    },
    value::Value,
};

/// What is to be created.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) config: Vec<(String, Value)>,
    pub(super) host: Value,
    pub(super) networking: Value,
    pub(super) attach_stdin: bool,
    pub(super) attach_stdout: bool,
    pub(super) attach_stderr: bool,
    pub(super) tty: bool,
    pub(super) auto_remove: bool,
}

impl Body {
    /// The JSON to send.
    pub(super) fn json(&self) -> Value {
        let mut fields = self.config.clone();
        fields.push(("HostConfig".to_owned(), self.host.clone()));
        fields.push(("NetworkingConfig".to_owned(), self.networking.clone()));
        Value::Map(fields)
    }
}

/// Reads the whole command line of `run` or `create`: image and command are its arguments.
pub(super) fn parse(matches: &Matches) -> Result<Body, String> {
    let attach: Vec<String> = matches.list("attach").iter().map(|stream| stream.to_lowercase()).collect();
    let has = |stream: &str| attach.iter().any(|known| known == stream);
    let interactive = matches.on("interactive");
    let body = Body {
        config: Vec::new(),
        host: Value::Null,
        networking: Value::Null,
        attach_stdin: if attach.is_empty() { interactive } else { has("stdin") },
        attach_stdout: attach.is_empty() || has("stdout"),
        attach_stderr: attach.is_empty() || has("stderr"),
        tty: matches.on("tty"),
        auto_remove: matches.on("rm"),
    };
    check(matches)?;
    let ports = Ports::parse(matches.list("publish"), matches.list("expose"))?;
    let volumes = Volumes::parse(matches.list("volume"))?;
    let host = host_config(matches, &ports, &volumes)?;
    let config = config(matches, &body, &ports, &volumes)?;
    let networking = networking(matches)?;
    Ok(Body { config, host, networking, ..body })
}

/// `-d`: nothing is attached, standard input does not close with the first client.
pub(super) fn detach(body: &mut Body) {
    (body.attach_stdin, body.attach_stdout, body.attach_stderr) = (false, false, false);
    for (name, value) in &mut body.config {
        if matches!(name.as_str(), "AttachStdin" | "AttachStdout" | "AttachStderr" | "StdinOnce") {
            *value = Value::Bool(false);
        }
    }
}

fn check(matches: &Matches) -> Result<(), String> {
    let swappiness = matches.int_given("memory-swappiness").unwrap_or(-1);
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(format!("invalid value: {swappiness}. Valid memory swappiness range is 0-100"));
    }
    let modes: [(&str, &str, &[&str]); 4] = [
        ("pid", "--pid: invalid PID mode", &["host"]),
        ("uts", "--uts: invalid UTS mode", &["host"]),
        ("userns", "--userns: invalid USER mode", &["host"]),
        ("cgroupns", "--cgroupns: invalid CGROUP mode", &["host", "private"]),
    ];
    for (flag, error, known) in modes {
        let mode = matches.text(flag);
        let joins = flag == "pid" && mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
        if !mode.is_empty() && !known.contains(&mode) && !joins {
            return Err(error.to_owned());
        }
    }
    if matches.on("rm") && matches.given("restart") && !matches!(matches.text("restart"), "no" | "") {
        return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
    }
    Ok(())
}

/// `-v`: named volumes and binds apart from anonymous volumes.
struct Volumes {
    binds: Vec<String>,
    anonymous: Vec<String>,
}

impl Volumes {
    fn parse(texts: &[String]) -> Result<Self, String> {
        let mut volumes = Self { binds: Vec::new(), anonymous: Vec::new() };
        for text in texts {
            let parts: Vec<&str> = text.split(':').collect();
            match parts.as_slice() {
                [""] => return Err("invalid empty volume spec".to_owned()),
                [_] | ["", ..] => volumes.anonymous.push(text.clone()),
                // One letter before a colon reads as a drive of Windows: the whole is a path.
                [drive, _] if drive.len() == 1 && drive.chars().all(|c| c.is_ascii_alphabetic()) => {
                    volumes.anonymous.push(text.clone());
                }
                [source, ..] => {
                    let rest = &text[source.len()..];
                    volumes.binds.push(format!("{}{rest}", host_path(source)));
                }
                [] => {}
            }
        }
        Ok(volumes)
    }
}

/// A relative path that begins with a dot in full; anything else as it is, because it may be a volume's name.
fn host_path(source: &str) -> String {
    if source.starts_with('.') { absolute(source) } else { source.to_owned() }
}

fn config(matches: &Matches, body: &Body, ports: &Ports, volumes: &Volumes) -> Result<Vec<(String, Value)>, String> {
    let text = |name: &str| Value::from(matches.text(name));
    let mut env = list_file::read(matches.list("env-file"), true)?;
    env.extend(matches.list("env").iter().map(|entry| hosts::env(entry)));
    let mut labels = list_file::read(matches.list("label-file"), false)?;
    labels.extend_from_slice(matches.list("label"));
    let interactive = matches.on("interactive");
    let anonymous = volumes.anonymous.iter().map(|path| (path.clone(), Value::Map(Vec::new())));
    let mut anonymous: Vec<(String, Value)> = anonymous.collect();
    anonymous.sort_by(|a, b| a.0.cmp(&b.0));
    let entrypoint = match matches.last("entrypoint") {
        Some(path) => Value::List(vec![path.into()]),
        None => Value::Null,
    };
    let mut fields: Vec<(&str, Option<Value>)> = vec![
        ("Hostname", Some(text("hostname"))),
        ("Domainname", Some(text("domainname"))),
        ("User", Some(text("user"))),
        ("AttachStdin", Some(body.attach_stdin.into())),
        ("AttachStdout", Some(body.attach_stdout.into())),
        ("AttachStderr", Some(body.attach_stderr.into())),
        ("ExposedPorts", ports.exposed()),
        ("Tty", Some(body.tty.into())),
        ("OpenStdin", Some(interactive.into())),
        ("StdinOnce", Some((interactive && body.attach_stdin).into())),
        ("Env", Some(texts_or_null(&env))),
        ("Cmd", Some(texts_or_null(&matches.args()[1..]))),
        ("Healthcheck", health(matches)?),
        ("Image", Some(matches.arg(0).into())),
        ("Volumes", Some(Value::Map(anonymous))),
        ("WorkingDir", Some(text("workdir"))),
        ("Entrypoint", Some(entrypoint)),
        ("OnBuild", Some(Value::Null)),
        ("Labels", Some(pairs(&labels))),
    ];
    if !matches.text("stop-signal").is_empty() {
        fields.push(("StopSignal", Some(text("stop-signal"))));
    }
    fields.push(("StopTimeout", matches.int_given("stop-timeout").map(Value::Int)));
    Ok(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn health(matches: &Matches) -> Result<Option<Value>, String> {
    let durations = ["health-interval", "health-timeout", "health-start-period", "health-start-interval"];
    let command = matches.text("health-cmd");
    let any = !command.is_empty()
        || durations.iter().any(|name| matches.duration(name) != 0)
        || matches.int("health-retries") != 0;
    if matches.on("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".to_owned());
        }
        return Ok(Some(object([("Test", Value::List(vec!["NONE".into()]))])));
    }
    if !any {
        return Ok(None);
    }
    for name in durations {
        if matches.duration(name) < 0 {
            return Err(format!("--{name} cannot be negative"));
        }
    }
    if matches.int("health-retries") < 0 {
        return Err("--health-retries cannot be negative".to_owned());
    }
    let mut fields = Vec::new();
    if !command.is_empty() {
        fields.push(("Test".to_owned(), Value::List(vec!["CMD-SHELL".into(), command.into()])));
    }
    let numbers = [
        ("Interval", matches.duration("health-interval")),
        ("Timeout", matches.duration("health-timeout")),
        ("StartPeriod", matches.duration("health-start-period")),
        ("StartInterval", matches.duration("health-start-interval")),
        ("Retries", matches.int("health-retries")),
    ];
    let given = numbers.into_iter().filter(|(_, number)| *number != 0);
    fields.extend(given.map(|(name, number)| (name.to_owned(), Value::Int(number))));
    Ok(Some(Value::Map(fields)))
}

fn host_config(matches: &Matches, ports: &Ports, volumes: &Volumes) -> Result<Value, String> {
    let text = |name: &str| Value::from(matches.text(name));
    let on = |name: &str| Value::Bool(matches.on(name));
    let int = |name: &str| Value::Int(matches.int(name));
    let bytes = |name: &str| Value::Int(matches.bytes(name));
    let list = |name: &str| texts_or_null(matches.list(name));
    let each = |name: &str, parse: fn(&str) -> Result<Value, String>| {
        matches.list(name).iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>().map(Value::List)
    };
    let extra_hosts = matches.list("add-host").iter().map(|text| hosts::host(text)).collect::<Result<Vec<_>, _>>()?;
    let (cdi, devices): (Vec<&String>, Vec<&String>) =
        matches.list("device").iter().partition(|text| device::is_cdi(text));
    let devices = devices.into_iter().map(|text| device::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let (security, unconfined_paths) = security_options(matches.list("security-opt"))?;
    let paths = if unconfined_paths { Value::List(Vec::new()) } else { Value::Null };
    let swap = match matches.text("memory-swap") {
        "-1" => -1,
        _ => matches.bytes("memory-swap"),
    };
    let cpus = match matches.last("cpus") {
        Some(cpus) => nano_cpus(cpus)?,
        None => 0,
    };
    let annotations = matches.list("annotation");
    let tmpfs: Vec<(String, Value)> = tmpfs(matches.list("tmpfs"));
    let storage = storage_options(matches.list("storage-opt"))?;
    let sysctls = matches.list("sysctl");
    if matches.list("mount").iter().any(|text| text.contains("bind-nonrecursive")) {
        eprintln!("WARNING: bind-nonrecursive is deprecated, use bind-recursive=disabled instead");
    }
    let mut mounts = matches.list("mount").iter().map(|text| mount::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if matches.on("use-api-socket") {
        mounts.push(mount::api_socket(&api_socket_path()?));
    }
    let network = matches.list("network").first().map(|_| network::attachments(matches, &[])).transpose()?;
    let mode = network.as_ref().and_then(|all| all.first()).map_or("default", |first| first.target.as_str());
    let some = |present: bool, value: Value| present.then_some(value);
    let isolation = text("isolation");
    let fields: Vec<(&str, Option<Value>)> = vec![
        ("Binds", Some(texts_or_null(&volumes.binds))),
        ("ContainerIDFile", Some(text("cidfile"))),
        ("LogConfig", Some(log_config(matches)?)),
        ("NetworkMode", Some(mode.into())),
        ("PortBindings", Some(ports.bindings())),
        ("RestartPolicy", Some(restart_policy(matches)?)),
        ("AutoRemove", Some(on("rm"))),
        ("VolumeDriver", Some(text("volume-driver"))),
        ("VolumesFrom", Some(list("volumes-from"))),
        ("ConsoleSize", Some(console_size())),
        ("Annotations", some(!annotations.is_empty(), pairs(annotations))),
        ("CapAdd", Some(capabilities(matches.list("cap-add")))),
        ("CapDrop", Some(capabilities(matches.list("cap-drop")))),
        ("CgroupnsMode", Some(text("cgroupns"))),
        ("Dns", Some(texts_list(matches.list("dns")))),
        ("DnsOptions", Some(texts_list(matches.list("dns-option")))),
        ("DnsSearch", Some(texts_list(matches.list("dns-search")))),
        ("ExtraHosts", Some(texts_or_null(&extra_hosts))),
        ("GroupAdd", Some(list("group-add"))),
        ("IpcMode", Some(text("ipc"))),
        ("Cgroup", Some("".into())),
        ("Links", Some(list("link"))),
        ("OomScoreAdj", Some(int("oom-score-adj"))),
        ("PidMode", Some(text("pid"))),
        ("Privileged", Some(on("privileged"))),
        ("PublishAllPorts", Some(on("publish-all"))),
        ("ReadonlyRootfs", Some(on("read-only"))),
        ("SecurityOpt", Some(texts_or_null(&security))),
        ("StorageOpt", some(!storage.is_empty(), Value::Map(storage))),
        ("Tmpfs", some(!tmpfs.is_empty(), Value::Map(tmpfs))),
        ("UTSMode", Some(text("uts"))),
        ("UsernsMode", Some(text("userns"))),
        ("ShmSize", Some(bytes("shm-size"))),
        ("Sysctls", some(!sysctls.is_empty(), pairs(sysctls))),
        ("Runtime", some(!matches.text("runtime").is_empty(), text("runtime"))),
        ("Isolation", Some(isolation)),
        ("CpuShares", Some(int("cpu-shares"))),
        ("Memory", Some(bytes("memory"))),
        ("NanoCpus", Some(Value::Int(cpus))),
        ("CgroupParent", Some(text("cgroup-parent"))),
        ("BlkioWeight", Some(int("blkio-weight"))),
        ("BlkioWeightDevice", Some(each("blkio-weight-device", device::parse_weight)?)),
        ("BlkioDeviceReadBps", Some(each("device-read-bps", device::parse_bps)?)),
        ("BlkioDeviceWriteBps", Some(each("device-write-bps", device::parse_bps)?)),
        ("BlkioDeviceReadIOps", Some(each("device-read-iops", device::parse_iops)?)),
        ("BlkioDeviceWriteIOps", Some(each("device-write-iops", device::parse_iops)?)),
        ("CpuPeriod", Some(int("cpu-period"))),
        ("CpuQuota", Some(int("cpu-quota"))),
        ("CpuRealtimePeriod", Some(int("cpu-rt-period"))),
        ("CpuRealtimeRuntime", Some(int("cpu-rt-runtime"))),
        ("CpusetCpus", Some(text("cpuset-cpus"))),
        ("CpusetMems", Some(text("cpuset-mems"))),
        ("Devices", Some(Value::List(devices))),
        ("DeviceCgroupRules", Some(list("device-cgroup-rule"))),
        ("DeviceRequests", Some(device_requests(matches, &cdi)?)),
        ("MemoryReservation", Some(bytes("memory-reservation"))),
        ("MemorySwap", Some(Value::Int(swap))),
        ("MemorySwappiness", Some(Value::Int(matches.int_given("memory-swappiness").unwrap_or(-1)))),
        ("OomKillDisable", Some(on("oom-kill-disable"))),
        ("PidsLimit", Some(int("pids-limit"))),
        ("Ulimits", Some(ulimit::list(matches.list("ulimit"))?)),
        ("CpuCount", Some(int("cpu-count"))),
        ("CpuPercent", Some(int("cpu-percent"))),
        ("IOMaximumIOps", Some(int("io-maxiops"))),
        ("IOMaximumBandwidth", Some(bytes("io-maxbandwidth"))),
        ("Mounts", some(!mounts.is_empty(), Value::List(mounts))),
        ("MaskedPaths", Some(paths.clone())),
        ("ReadonlyPaths", Some(paths)),
        ("Init", matches.switch("init").map(Value::Bool)),
    ];
    Ok(Value::Map(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()))
}

fn device_requests(matches: &Matches, cdi: &[&String]) -> Result<Value, String> {
    let mut requests = matches.last("gpus").map(gpus::parse).transpose()?.into_iter().collect::<Vec<_>>();
    if !cdi.is_empty() {
        let ids: Vec<String> = cdi.iter().map(|id| (*id).clone()).collect();
        requests.push(object([
            ("Driver", "cdi".into()),
            ("Count", Value::Int(0)),
            ("DeviceIDs", texts_list(&ids)),
            ("Capabilities", Value::Null),
            ("Options", Value::Null),
        ]));
    }
    Ok(if requests.is_empty() { Value::Null } else { Value::List(requests) })
}

fn tmpfs(texts: &[String]) -> Vec<(String, Value)> {
    let mut map = std::collections::BTreeMap::new();
    for text in texts {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        map.insert(path.to_owned(), Value::from(options));
    }
    map.into_iter().collect()
}

fn storage_options(texts: &[String]) -> Result<Vec<(String, Value)>, String> {
    if texts.iter().any(|text| !text.contains('=')) {
        return Err("invalid storage option".to_owned());
    }
    Ok(pairs(texts).entries().to_vec())
}

fn log_config(matches: &Matches) -> Result<Value, String> {
    let driver = matches.text("log-driver");
    let options = matches.list("log-opt");
    if driver == "none" && !options.is_empty() {
        return Err("invalid logging opts for driver none".to_owned());
    }
    Ok(object([("Type", driver.into()), ("Config", pairs(options))]))
}

/// `no`, `always`, `unless-stopped`, `on-failure[:N]`; the daemon judges the name.
pub(super) fn restart_policy(matches: &Matches) -> Result<Value, String> {
    let text = matches.last("restart").unwrap_or("no");
    let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
    let count = match count {
        None => 0,
        Some(_) if name.is_empty() => {
            return Err("invalid restart policy format: no policy provided before colon".to_owned());
        }
        Some(count) => count
            .parse::<i64>()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?,
    };
    Ok(object([("Name", name.into()), ("MaximumRetryCount", Value::Int(count))]))
}

/// Capabilities under their full names, sorted, each once.
fn capabilities(names: &[String]) -> Value {
    let full = |name: &String| {
        let upper = name.trim().to_uppercase();
        if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
    };
    let names: std::collections::BTreeSet<String> = names.iter().map(full).collect();
    match names.contains("ALL") {
        true => Value::List(vec!["ALL".into()]),
        false => texts_or_null(&names.into_iter().collect::<Vec<_>>()),
    }
}

/// The options, seccomp profiles read from their files; whether the masked and read-only paths are lifted.
fn security_options(texts: &[String]) -> Result<(Vec<String>, bool), String> {
    let mut options = Vec::new();
    let mut unconfined_paths = false;
    for text in texts {
        let (name, value) = match (text.split_once('='), text.split_once(':')) {
            (Some(pair), _) | (None, Some(pair)) => pair,
            (None, None) if text == "no-new-privileges" => {
                options.push(text.clone());
                continue;
            }
            (None, None) => return Err(format!("Invalid --security-opt: {text:?}")),
        };
        match (name, value) {
            ("systempaths", "unconfined") => unconfined_paths = true,
            ("seccomp", "unconfined" | "builtin") => options.push(text.clone()),
            ("seccomp", file) => options.push(format!("seccomp={}", seccomp_profile(file)?)),
            _ => options.push(text.clone()),
        }
    }
    Ok((options, unconfined_paths))
}

fn seccomp_profile(file: &str) -> Result<String, String> {
    let bytes = std::fs::read(file).map_err(|error| {
        format!("opening seccomp profile ({file}) failed: open {file}: {}", list_file::io_text(&error))
    })?;
    let profile: Value = Value::parse(&bytes)
        .map_err(|error| format!("compacting json for seccomp profile ({file}) failed: {error}"))?;
    // As it was written, without the space between its tokens.
    serde_json::to_string(&profile).map_err(|error| error.to_string())
}

fn api_socket_path() -> Result<String, String> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    match host.strip_prefix("unix://") {
        Some(path) => Ok(path.to_owned()),
        None if host.is_empty() => Ok("/var/run/docker.sock".to_owned()),
        None => Err("flag --use-api-socket can't be used with a remote daemon".to_owned()),
    }
}

fn console_size() -> Value {
    let (rows, columns) = crate::attach::tty::stdout_size().unwrap_or((0, 0));
    Value::List(vec![Value::Int(i64::from(rows)), Value::Int(i64::from(columns))])
}

fn networking(matches: &Matches) -> Result<Value, String> {
    let links = matches.list("link");
    let all = network::attachments(matches, links)?;
    let mut endpoints: Vec<(String, Value)> = all
        .iter()
        .enumerate()
        .filter(|(_, attachment)| {
            !matches!(attachment.target.as_str(), "host" | "none") && !attachment.target.starts_with("container:")
        })
        .map(|(index, attachment)| {
            (attachment.target.clone(), attachment.settings(if index == 0 { links } else { &[] }))
        })
        .collect();
    endpoints.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(object([("EndpointsConfig", Value::Map(endpoints))]))
}
