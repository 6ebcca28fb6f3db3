//! `info`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    context::endpoint,
    failure::{Failure, Result},
    human,
    opts::object,
    system::version::VERSION,
    template::Template,
    value::Value,
};
use std::fmt::Write;

/// `rorqual info`.
pub const COMMAND: Command = Command {
    path: "system info",
    aliases: &["info"],
    operands: "",
    about: "Show the daemon's state and settings",
    args: Args::None,
    flags: &[Flag::string("format", "How to print: 'json', or a Go template").short('f')],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let context = endpoint::resolve(cli)?.context;
    let debug = cli.globals.on("debug");
    let client = cli.client()?;
    let info = match client.get("/info").send().await {
        Ok(response) => Ok(response.json::<Value>().await?),
        Err(error) => Err(Failure::from(error)),
    };
    let format = matches.text("format");
    if !format.is_empty() {
        return formatted(cli, format, info?, &context, debug);
    }
    let mut text =
        format!("Client:\n Version:    {VERSION}\n Context:    {context}\n Debug Mode: {debug}\n\nServer:\n");
    let (failure, warnings) = match info {
        Ok(info) => {
            write_server(&mut text, &info);
            text.push('\n');
            (None, warnings(&info))
        }
        Err(failure) => (Some(failure), String::new()),
    };
    cli.print(text)?;
    eprint!("{warnings}");
    match failure {
        None => Ok(0),
        Some(failure) => {
            eprintln!("{}", failure.text());
            Err(Failure::message("errors pretty printing info"))
        }
    }
}

fn formatted(cli: &Cli, format: &str, info: Value, context: &str, debug: bool) -> Result<u8> {
    let format = if format == "json" { "{{json .}}" } else { format };
    let template =
        Template::parse(format).map_err(|why| Failure::status(64, format!("template parsing error: {why}")))?;
    let mut fields = info.entries().to_vec();
    let own = object([
        ("Debug", debug.into()),
        ("Version", VERSION.into()),
        ("Context", context.into()),
        ("Plugins", Value::List(Vec::new())),
        ("Warnings", Value::Null),
    ]);
    fields.push(("ClientInfo".to_owned(), own));
    let text = template.render(&Value::Map(fields), None).map_err(Failure::message)?;
    cli.line(text)?;
    Ok(0)
}

/// Several names in one line.
fn joined(value: &Value) -> String {
    let words: Vec<&str> = value.items().iter().filter_map(Value::as_str).collect();
    words.join(" ")
}

fn write_server(text: &mut String, info: &Value) {
    macro_rules! line {
        ($($part:tt)*) => { let _ = writeln!(text, $($part)*); };
    }
    line!(" Containers: {}", info.int("Containers"));
    line!("  Running: {}", info.int("ContainersRunning"));
    line!("  Paused: {}", info.int("ContainersPaused"));
    line!("  Stopped: {}", info.int("ContainersStopped"));
    line!(" Images: {}", info.int("Images"));
    line!(" Server Version: {}", info.text("ServerVersion"));
    line!(" Storage Driver: {}", info.text("Driver"));
    for pair in info.at(&["DriverStatus"]).items() {
        if let [name, value] = pair.items() {
            line!("  {}: {}", name.as_str().unwrap_or_default(), value.as_str().unwrap_or_default());
        }
    }
    for (title, name) in
        [("Logging Driver", "LoggingDriver"), ("Cgroup Driver", "CgroupDriver"), ("Cgroup Version", "CgroupVersion")]
    {
        if !info.text(name).is_empty() {
            line!(" {title}: {}", info.text(name));
        }
    }
    let plugins = info.at(&["Plugins"]);
    line!(" Plugins:");
    line!("  Volume: {}", joined(plugins.at(&["Volume"])));
    line!("  Network: {}", joined(plugins.at(&["Network"])));
    if !plugins.at(&["Authorization"]).items().is_empty() {
        line!("  Authorization: {}", joined(plugins.at(&["Authorization"])));
    }
    line!("  Log: {}", joined(plugins.at(&["Log"])));
    let cdi = info.at(&["CDISpecDirs"]).items();
    if !cdi.is_empty() {
        line!(" CDI spec directories:");
        for directory in cdi {
            line!("  {}", directory.as_str().unwrap_or_default());
        }
    }
    let swarm = info.at(&["Swarm"]).text("LocalNodeState");
    line!(" Swarm: {}", if swarm.is_empty() { "inactive" } else { swarm });
    let mut runtimes: Vec<&str> = info.at(&["Runtimes"]).entries().iter().map(|(name, _)| name.as_str()).collect();
    runtimes.sort_unstable();
    if !runtimes.is_empty() {
        line!(" Runtimes: {}", runtimes.join(" "));
        line!(" Default Runtime: {}", info.text("DefaultRuntime"));
    }
    if info.text("OSType") == "linux" {
        line!(" Init Binary: {}", info.text("InitBinary"));
        for (title, name) in
            [("containerd version", "ContainerdCommit"), ("runc version", "RuncCommit"), ("init version", "InitCommit")]
        {
            line!(" {title}: {}", info.at(&[name]).text("ID"));
        }
        write_security(text, info.at(&["SecurityOptions"]).items());
    }
    write_host(text, info);
}

/// `name=seccomp,profile=builtin`
fn write_security(text: &mut String, options: &[Value]) {
    if options.is_empty() {
        return;
    }
    text.push_str(" Security Options:\n");
    for option in options.iter().filter_map(Value::as_str) {
        for pair in option.split(',') {
            let (name, value) = pair.split_once('=').unwrap_or(("name", pair));
            let _ = match name {
                "name" => writeln!(text, "  {value}"),
                name => {
                    let mut letters = name.chars();
                    let first = letters.next().map(|c| c.to_ascii_uppercase()).into_iter().collect::<String>();
                    writeln!(text, "   {first}{}: {value}", letters.as_str())
                }
            };
        }
    }
}

fn write_host(text: &mut String, info: &Value) {
    macro_rules! line {
        ($($part:tt)*) => { let _ = writeln!(text, $($part)*); };
    }
    line!(" Kernel Version: {}", info.text("KernelVersion"));
    line!(" Operating System: {}", info.text("OperatingSystem"));
    line!(" OSType: {}", info.text("OSType"));
    line!(" Architecture: {}", info.text("Architecture"));
    line!(" CPUs: {}", info.int("NCPU"));
    line!(" Total Memory: {}", human::binary_size(info.int("MemTotal") as f64));
    line!(" Name: {}", info.text("Name"));
    line!(" ID: {}", info.text("ID"));
    line!(" Docker Root Dir: {}", info.text("DockerRootDir"));
    line!(" Debug Mode: {}", info.is_true("Debug"));
    if info.is_true("Debug") {
        line!("  File Descriptors: {}", info.int("NFd"));
        line!("  Goroutines: {}", info.int("NGoroutines"));
        line!("  System Time: {}", info.text("SystemTime"));
        line!("  EventsListeners: {}", info.int("NEventsListener"));
    }
    for (title, name) in [("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")] {
        if !info.text(name).is_empty() {
            line!(" {title}: {}", info.text(name));
        }
    }
    let labels = info.at(&["Labels"]).items();
    if !labels.is_empty() {
        line!(" Labels:");
        for label in labels {
            line!("  {}", label.as_str().unwrap_or_default());
        }
    }
    line!(" Experimental: {}", info.is_true("ExperimentalBuild"));
    let registries = info.at(&["RegistryConfig"]);
    line!(" Insecure Registries:");
    for (name, registry) in registries.at(&["IndexConfigs"]).entries() {
        if !registry.is_true("Secure") {
            line!("  {name}");
        }
    }
    for network in registries.at(&["InsecureRegistryCIDRs"]).items() {
        line!("  {}", network.as_str().unwrap_or_default());
    }
    let mirrors = registries.at(&["Mirrors"]).items();
    if !mirrors.is_empty() {
        line!(" Registry Mirrors:");
        for mirror in mirrors {
            line!("  {}", mirror.as_str().unwrap_or_default());
        }
    }
    if !info.text("RorqualRegistry").is_empty() {
        line!(" Registry Server: {}", info.text("RorqualRegistry"));
    }
    line!(" Live Restore Enabled: {}", info.is_true("LiveRestoreEnabled"));
    if !info.text("ProductLicense").is_empty() {
        line!(" Product License: {}", info.text("ProductLicense"));
    }
    let pools = info.at(&["DefaultAddressPools"]).items();
    if !pools.is_empty() {
        line!(" Default Address Pools:");
        for pool in pools {
            line!("   Base: {}, Size: {}", pool.text("Base"), pool.int("Size"));
        }
    }
}

fn warnings(info: &Value) -> String {
    info.at(&["Warnings"]).items().iter().filter_map(Value::as_str).map(|text| format!("{text}\n")).collect()
}
