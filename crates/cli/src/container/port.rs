//! `port`: where a container's ports are published.

use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::{Failure, Result},
    value::Value,
};

/// `rorqual port`.
pub const COMMAND: Command = Command {
    path: "container port",
    aliases: &["port"],
    operands: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "Show where a container's ports are published",
    args: Args::Between(1, 2),
    flags: &[],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let name = matches.arg(0);
    let client = cli.client()?;
    let container: Value = client.get(format!("/containers/{name}/json")).send().await?.json().await?;
    let ports = container.at(&["NetworkSettings", "Ports"]);
    let lines = match matches.args().get(1) {
        Some(port) => one(ports, port, name)?,
        None => all(ports),
    };
    cli.print(lines)?;
    Ok(0)
}

fn address(binding: &Value) -> String {
    let ip = binding.text("HostIp");
    let port = binding.text("HostPort");
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn one(ports: &Value, port: &str, name: &str) -> Result<String> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    if number.parse::<u16>().is_err() {
        return Err(Failure::message(format!(
            "Error: invalid port ({number}): strconv.ParseUint: parsing {number:?}: invalid syntax"
        )));
    }
    let bindings = ports.at(&[&format!("{number}/{protocol}")]).items();
    if bindings.is_empty() {
        return Err(Failure::message(format!("Error: No public port '{port}' published for {name}")));
    }
    Ok(bindings.iter().map(|binding| address(binding) + "\n").collect())
}

fn all(ports: &Value) -> String {
    let mut lines: Vec<(u16, String)> = Vec::new();
    for (port, bindings) in ports.entries() {
        let number = port.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        lines.extend(bindings.items().iter().map(|binding| (number, format!("{port} -> {}\n", address(binding)))));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}
