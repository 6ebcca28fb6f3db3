//! What an image and the daemon add to what the user asked for. Pure.

use crate::{
    config::EngineConfig,
    spec::{self, Machine},
};
use rorqual_api_types::container::{Config, Empty, Healthcheck, HostConfig, LogConfig};
use rorqual_error::{Error, Result};
use rorqual_network::NetworkMode;
use rorqual_oci::image::RunConfig;
use rorqual_types::ContainerId;
use std::collections::BTreeMap;

/// Fills `config` with the image's settings where the user gave none, by dockerd's rules.
pub fn image_into_config(config: &mut Config, image: &RunConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    add_names(&mut config.exposed_ports, image.exposed_ports.as_ref().map(BTreeMap::keys));
    add_names(&mut config.volumes, image.volumes.as_ref().map(BTreeMap::keys));
    merge_env(config, image.env.as_deref().unwrap_or_default());
    let labels = config.labels.get_or_insert_default();
    for (key, value) in image.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if config.shell.as_ref().is_none_or(Vec::is_empty) {
        config.shell.clone_from(&image.shell);
    }
    merge_healthcheck(config, image);
    // An entry point of one empty word takes the image's away.
    if config.entrypoint.as_ref().is_some_and(|words| *words == [String::new()]) {
        config.entrypoint = None;
    }
}

fn add_names<'a>(names: &mut Option<BTreeMap<String, Empty>>, more: Option<impl Iterator<Item = &'a String>>) {
    let mut more = more.into_iter().flatten().peekable();
    if more.peek().is_some() {
        names.get_or_insert_default().extend(more.map(|name| (name.clone(), Empty {})));
    }
}

/// The image's variables that the user did not set come after the user's.
fn merge_env(config: &mut Config, image: &[String]) {
    let env = config.env.get_or_insert_default();
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let set: std::collections::HashSet<String> = env.iter().map(|entry| key(entry)).collect();
    env.extend(image.iter().filter(|entry| !set.contains(&key(entry))).cloned());
}

fn merge_healthcheck(config: &mut Config, image: &RunConfig) {
    let Some(theirs) = &image.healthcheck else { return };
    let ours = config.healthcheck.get_or_insert_with(Healthcheck::default);
    if ours.test.as_ref().is_none_or(Vec::is_empty) {
        ours.test.clone_from(&theirs.test);
    }
    let durations = [
        (&mut ours.interval, theirs.interval),
        (&mut ours.timeout, theirs.timeout),
        (&mut ours.start_period, theirs.start_period),
        (&mut ours.start_interval, theirs.start_interval),
        (&mut ours.retries, theirs.retries),
    ];
    for (mine, default) in durations {
        if *mine == 0 {
            *mine = default;
        }
    }
}

/// The program and its arguments: the entry point's words and then the command's.
pub fn command_line(config: &Config) -> Result<(String, Vec<String>)> {
    let words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten());
    let mut words = words.cloned();
    match words.next() {
        Some(path) => Ok((path, words.collect())),
        None => Err(Error::invalid("no command specified")),
    }
}

/// Fills in the daemon's defaults, so that inspect shows what is in force.
pub fn defaults_into_host_config(host: &mut HostConfig, config: &mut Config, id: &ContainerId, parts: &Defaults<'_>) {
    let engine = parts.engine;
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = "bridge".into();
    }
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".into();
    }
    if host.log_config.kind.is_empty() {
        let mut options = engine.log_options.clone();
        options.extend(host.log_config.config.take().unwrap_or_default());
        host.log_config = LogConfig { kind: engine.log_driver.clone(), config: Some(options) };
    }
    host.log_config.config.get_or_insert_default();
    // Private on every version of cgroups (threats.md section 5); dockerd's default on version 1 is host.
    let cgroupns_mode = engine.default_cgroupns_mode.as_deref().unwrap_or("private");
    let defaults = spec::validate::Defaults {
        ipc_mode: &engine.default_ipc_mode,
        cgroupns_mode,
        shm_size: engine.default_shm_size,
        runtime: parts.runtime,
    };
    spec::normalize(host, parts.machine, &defaults);
    if config.hostname.is_empty() {
        config.hostname = match NetworkMode::parse(&host.network_mode) {
            NetworkMode::Container(_) => String::new(),
            _ if host.uts_mode == "host" || host.network_mode == "host" => host_name(),
            _ => id.short().into(),
        };
    }
}

/// Where the defaults come from.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// The daemon's settings.
    pub engine: &'a EngineConfig,
    /// The machine.
    pub machine: &'a Machine,
    /// The runtime of containers that name none.
    pub runtime: &'a str,
}

/// The machine's own host name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Option<Vec<String>> {
        Some(text.iter().map(|word| (*word).to_owned()).collect())
    }

    fn image() -> RunConfig {
        RunConfig {
            entrypoint: words(&["/entry"]),
            cmd: words(&["serve"]),
            env: words(&["PATH=/bin", "A=image"]),
            ..RunConfig::default()
        }
    }

    #[test]
    fn command_and_entry_point_follow_dockers_table() {
        for (entrypoint, cmd, expected) in [
            (None, None, "/entry serve"),
            (None, words(&["other"]), "/entry other"),
            (words(&["sh"]), None, "sh"),
            (words(&["sh"]), words(&["-c"]), "sh -c"),
            (words(&[""]), words(&["true"]), "true"),
        ] {
            let mut config = Config { entrypoint, cmd, ..Config::default() };
            image_into_config(&mut config, &image());
            let (path, args) = command_line(&config).unwrap();
            assert_eq!([&[path], args.as_slice()].concat().join(" "), expected);
        }
        let mut config = Config { entrypoint: words(&[""]), ..Config::default() };
        image_into_config(&mut config, &image());
        assert_eq!(command_line(&config).unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn the_users_variables_win() {
        let mut config = Config { env: words(&["A=mine", "B"]), ..Config::default() };
        image_into_config(&mut config, &image());
        assert_eq!(config.env, words(&["A=mine", "B", "PATH=/bin"]));
    }
}
