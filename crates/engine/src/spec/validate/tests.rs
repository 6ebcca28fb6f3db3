//! The messages are those dockerd 28.5.2 answers to the same bodies.

use super::*;
use rorqual_api_types::container::CreateRequest;

pub(in crate::spec) fn machine() -> Machine {
    Machine {
        cpus: 2,
        cpu_list: "0-1".into(),
        memory_nodes: "0".into(),
        tasks_max: 32_768,
        cgroup: Version::Hybrid,
        swap_limit: true,
        block_weight: false,
        recursive_readonly: true,
        hostname: "vm".into(),
        thermal: Vec::new(),
    }
}

/// The error, or the warnings joined by `;`.
fn answer(body: &str) -> String {
    let request: CreateRequest = serde_json::from_str(body).unwrap();
    let result = validate(&request.config, &request.host_config.unwrap_or_default(), &machine());
    result.map_or_else(|error| error.to_string(), |warnings| warnings.join(";"))
}

#[test]
fn refusals_and_warnings_in_dockers_words() {
    for (host_config, text) in [
        ("", ""),
        (r#""CapAdd":["BOGUS"]"#, "invalid CapAdd: unknown capability: \"CAP_BOGUS\""),
        (r#""CapDrop":["bogus","ALL"]"#, "invalid CapDrop: unknown capability: \"CAP_BOGUS\""),
        (r#""CapAdd":["ALL","cap_chown"]"#, ""),
        (r#""PidMode":"bogus""#, "invalid PID mode: bogus"),
        (r#""PidMode":"container:x""#, ""),
        (r#""UTSMode":"bogus""#, "invalid UTS mode: bogus"),
        (r#""IpcMode":"bogus""#, "invalid IPC mode: bogus"),
        (r#""CgroupnsMode":"bogus""#, "invalid cgroup namespace mode: bogus"),
        (r#""UsernsMode":"bogus""#, ""),
        (r#""Memory":1048576"#, "Minimum memory limit allowed is 6MB"),
        (r#""Memory":-5"#, "Minimum memory limit allowed is 6MB"),
        (r#""MemorySwap":10485760"#, "You should always set the Memory limit when using Memoryswap limit, see usage"),
        (
            r#""Memory":10485760,"MemorySwap":5242880"#,
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            r#""Memory":10485760,"MemoryReservation":20971520"#,
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (r#""MemorySwappiness":101"#, "Invalid value: 101, valid memory swappiness range is 0-100"),
        (r#""NanoCpus":99000000000"#, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        (r#""NanoCpus":-5"#, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        (r#""NanoCpus":1000000000,"CpuQuota":2000"#, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        (r#""CpuQuota":500"#, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (r#""CpuPeriod":5"#, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
        (r#""CpuShares":-1"#, "invalid CPU shares (-1): value must be a positive integer"),
        (r#""CpusetCpus":"7""#, "Requested CPUs are not available - requested 7, available: 0-1"),
        (r#""CpusetCpus":"x""#, "Invalid value x for cpuset cpus: invalid format: x"),
        (r#""CpusetMems":"5""#, "Requested memory nodes are not available - requested 5, available: 0"),
        (r#""OomScoreAdj":1001"#, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (r#""ShmSize":-1"#, "SHM size can not be less than 0"),
        (r#""Isolation":"hyperv""#, "invalid isolation (hyperv): linux only supports 'default'"),
        (r#""SecurityOpt":["bogus"]"#, "invalid --security-opt 1: \"bogus\""),
        (r#""SecurityOpt":["bogus=1"]"#, "invalid --security-opt 2: \"bogus=1\""),
        (r#""Tmpfs":{"relative":""}"#, "invalid mount path: 'relative' mount path must be absolute"),
        (r#""Annotations":{"":"x"}"#, "invalid Annotations: the empty string is not permitted as an annotation key"),
        (
            r#""OomKillDisable":true"#,
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running \
             out of resources.",
        ),
        (
            r#""BlkioWeight":5"#,
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
        ),
        (r#""CpuPercent":10"#, "linux does not support CPU percent. Percent discarded."),
        (r#""IOMaximumBandwidth":1"#, "invalid option: QoS maximum bandwidth configuration is not supported on linux"),
        (r#""PidsLimit":-7,"KernelMemory":1,"CpuCount":1,"Cgroup":"container:x""#, ""),
    ] {
        assert_eq!(answer(&format!("{{\"HostConfig\":{{{host_config}}}}}")), text, "{host_config}");
    }
    for (body, text) in [
        (
            r#"{"WorkingDir":"relative"}"#,
            "the working directory 'relative' is invalid, it needs to be an absolute path",
        ),
        (r#"{"StopSignal":"BOGUS"}"#, "invalid signal: BOGUS"),
        (r#"{"Env":["=x"]}"#, "invalid environment variable: =x"),
        (r#"{"Hostname":"x","HostConfig":{"UTSMode":"host"}}"#, "conflicting options: hostname and the UTS mode"),
    ] {
        assert_eq!(answer(body), text, "{body}");
    }
}

#[test]
fn what_dockerd_fills_in() {
    let mut host_config: HostConfig = serde_json::from_str(r#"{"Memory":67108864,"PidsLimit":-1}"#).unwrap();
    let defaults = Defaults { ipc_mode: "private", cgroupns_mode: "private", shm_size: 64 << 20, runtime: "rorqual" };
    normalize(&mut host_config, &machine(), &defaults);
    assert_eq!(host_config.resources.memory_swap, 128 << 20);
    assert_eq!(host_config.resources.oom_kill_disable, Some(false));
    assert_eq!(host_config.resources.pids_limit, None);
    assert_eq!(host_config.masked_paths.unwrap().len(), 12);
    assert_eq!((host_config.ipc_mode.as_str(), host_config.shm_size), ("private", 64 << 20));
}
