//! `update`: limits and restart policy of containers that exist.

use super::{create_body::restart_policy, create_flags};
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{self, Failure, Result},
    value::Value,
};

const NAMES: [&str; 14] = [
    "blkio-weight",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "memory",
    "memory-reservation",
    "memory-swap",
    "pids-limit",
    "restart",
];

/// The flags of `run` that can change later.
const FLAGS: [Flag; NAMES.len()] = create_flags::select(&NAMES);

/// `rorqual update`.
pub const COMMAND: Command = Command {
    path: "container update",
    aliases: &["update"],
    operands: "CONTAINER [CONTAINER...]",
    about: "Change the limits or the restart policy of containers",
    args: Args::AtLeast(1),
    flags: &FLAGS,
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    if !NAMES.iter().any(|name| matches.given(name)) {
        return Err(Failure::message("you must provide one or more flags when using this command"));
    }
    let body = body(matches)?;
    let client = cli.client()?;
    let mut warnings = Vec::new();
    let mut failures = Vec::new();
    for name in matches.args() {
        match client.post(format!("/containers/{name}/update")).json(&body).send().await {
            Ok(response) => {
                let answer: Value = response.json().await?;
                warnings.extend(answer.at(&["Warnings"]).items().iter().filter_map(Value::as_str).map(str::to_owned));
                cli.line(name)?;
            }
            Err(error) => failures.push(error.into()),
        }
    }
    if !warnings.is_empty() {
        cli.print(warnings.join("\n"))?;
    }
    failure::all(failures).map(|()| 0)
}

fn body(matches: &Matches) -> Result<Value> {
    let policy = match matches.given("restart") {
        true => restart_policy(matches)?,
        false => crate::opts::object([("Name", "".into()), ("MaximumRetryCount", Value::Int(0))]),
    };
    let swap = match matches.text("memory-swap") {
        "-1" => -1,
        _ => matches.bytes("memory-swap"),
    };
    let cpus = match matches.last("cpus") {
        Some(cpus) => create_flags::nano_cpus(cpus)?,
        None => 0,
    };
    let int = |name: &str| Value::Int(matches.int(name));
    Ok(crate::opts::object([
        ("CpuShares", int("cpu-shares")),
        ("Memory", Value::Int(matches.bytes("memory"))),
        ("NanoCpus", Value::Int(cpus)),
        ("CgroupParent", "".into()),
        ("BlkioWeight", int("blkio-weight")),
        ("BlkioWeightDevice", Value::Null),
        ("BlkioDeviceReadBps", Value::Null),
        ("BlkioDeviceWriteBps", Value::Null),
        ("BlkioDeviceReadIOps", Value::Null),
        ("BlkioDeviceWriteIOps", Value::Null),
        ("CpuPeriod", int("cpu-period")),
        ("CpuQuota", int("cpu-quota")),
        ("CpuRealtimePeriod", int("cpu-rt-period")),
        ("CpuRealtimeRuntime", int("cpu-rt-runtime")),
        ("CpusetCpus", matches.text("cpuset-cpus").into()),
        ("CpusetMems", matches.text("cpuset-mems").into()),
        ("Devices", Value::Null),
        ("DeviceCgroupRules", Value::Null),
        ("DeviceRequests", Value::Null),
        ("MemoryReservation", Value::Int(matches.bytes("memory-reservation"))),
        ("MemorySwap", Value::Int(swap)),
        ("MemorySwappiness", Value::Null),
        ("OomKillDisable", Value::Null),
        ("PidsLimit", matches.int_given("pids-limit").map_or(Value::Null, Value::Int)),
        ("Ulimits", Value::Null),
        ("CpuCount", Value::Int(0)),
        ("CpuPercent", Value::Int(0)),
        ("IOMaximumIOps", Value::Int(0)),
        ("IOMaximumBandwidth", Value::Int(0)),
        ("RestartPolicy", policy),
    ]))
}
