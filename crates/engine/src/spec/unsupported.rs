//! The fields of a create request that are not supported yet: refused by name when they differ from dockerd's default.

use rorqual_api_types::container::{Config, HostConfig};
use rorqual_error::{Error, Result};

/// A field and why it waits. The README's list is this one; it has at most 15 entries.
pub const FIELDS: [(&str, &str); 10] = [
    ("Config.Healthcheck", "health checks come with their own issue; an image's check is ignored"),
    ("HostConfig.LogConfig.Type", "only json-file and none; other drivers come with log plugins"),
    ("HostConfig.LogConfig.Config[compress]", "the writer is the container's supervisor, which must not stall"),
    ("HostConfig.LogConfig.Config[mode]", "only blocking; the non-blocking ring comes with log drivers"),
    ("HostConfig.VolumeDriver", "only local; other drivers come with volume plugins"),
    ("HostConfig.DeviceRequests", "GPUs and CDI devices need drivers"),
    ("HostConfig.StorageOpt", "quotas of the root come with the erofs layer store"),
    ("HostConfig.Mounts[Type]", "image, cluster and npipe mounts come with images as volumes and the cluster"),
    ("HostConfig.Mounts[VolumeOptions.DriverConfig]", "only local; other drivers come with volume plugins"),
    ("HostConfig.SecurityOpt[writable-cgroups]", "needs delegation inside the container's cgroup namespace"),
];

/// The log drivers that dockerd has.
const LOG_DRIVERS: [&str; 11] =
    ["awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "journald", "json-file", "local", "none", "splunk", "syslog"];

/// Refuses the first field of [`FIELDS`] that the request uses. `config` is the client's, before the image's is merged in.
pub fn check(config: &Config, host_config: &HostConfig) -> Result<()> {
    let driver = host_config.log_config.kind.as_str();
    if !driver.is_empty() && !LOG_DRIVERS.contains(&driver) {
        let driver: String = driver.chars().take(64).collect();
        return Err(Error::invalid(format!("error looking up logging plugin {driver}: plugin \"{driver}\" not found")));
    }
    match used(config, host_config) {
        Some(field) => Err(refusal(field)),
        None => Ok(()),
    }
}

/// The error for a field of [`FIELDS`].
pub fn refusal(field: &str) -> Error {
    debug_assert!(FIELDS.iter().any(|(known, _)| *known == field));
    Error::invalid(format!("not supported yet: {field}"))
}

fn used(config: &Config, host_config: &HostConfig) -> Option<&'static str> {
    let log_option = |key: &str| host_config.log_config.config.as_ref().and_then(|options| options.get(key));
    let test = config.healthcheck.as_ref().and_then(|check| check.test.as_deref()).unwrap_or_default();
    let differs =
        |value: Option<&String>, default: &str| value.is_some_and(|value| !value.is_empty() && value != default);
    let mounts = || host_config.mounts.iter().flatten();
    let driver = |driver: &str| !driver.is_empty() && driver != "local";
    let driver_config = mounts()
        .filter_map(|mount| mount.volume_options.as_ref()?.driver_config.as_ref())
        .any(|config| driver(&config.name));
    let writable = ["writable-cgroups=true", "writable-cgroups:true"];
    let security = host_config.security_opt.iter().flatten();
    let tests: [(bool, usize); 10] = [
        (test.first().is_some_and(|first| first != "NONE"), 0),
        (!["", "json-file", "none"].contains(&host_config.log_config.kind.as_str()), 1),
        (differs(log_option("compress"), "false"), 2),
        (differs(log_option("mode"), "blocking"), 3),
        (driver(&host_config.volume_driver), 4),
        (host_config.device_requests().next().is_some(), 5),
        (host_config.storage_opt.as_ref().is_some_and(|options| !options.is_empty()), 6),
        (mounts().any(|mount| ["image", "cluster", "npipe"].contains(&mount.kind.as_str())), 7),
        (driver_config, 8),
        (security.into_iter().any(|option| writable.contains(&option.as_str())), 9),
    ];
    tests.iter().find(|(used, _)| *used).map(|(_, index)| FIELDS[*index].0)
}

trait DeviceRequests {
    fn device_requests(&self) -> impl Iterator<Item = &rorqual_api_types::container::DeviceRequest>;
}

impl DeviceRequests for HostConfig {
    fn device_requests(&self) -> impl Iterator<Item = &rorqual_api_types::container::DeviceRequest> {
        self.resources.device_requests.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rorqual_api_types::container::CreateRequest;

    fn check_body(body: &str) -> String {
        let request: CreateRequest = serde_json::from_str(body).unwrap();
        let host_config = request.host_config.unwrap_or_default();
        check(&request.config, &host_config).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn at_most_fifteen() {
        const { assert!(FIELDS.len() <= 15) };
    }

    #[test]
    fn fields_are_refused_by_name_and_defaults_are_not() {
        for (body, field) in [
            ("{}", ""),
            (r#"{"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"compress":"false","max-size":"1m"}}}}"#, ""),
            (r#"{"HostConfig":{"VolumeDriver":"local","StorageOpt":{}},"Healthcheck":{"Test":["NONE"]}}"#, ""),
            (r#"{"Healthcheck":{"Test":["CMD","x"]}}"#, "Config.Healthcheck"),
            (r#"{"HostConfig":{"LogConfig":{"Type":"syslog"}}}"#, "HostConfig.LogConfig.Type"),
            (r#"{"HostConfig":{"LogConfig":{"Config":{"compress":"true"}}}}"#, "HostConfig.LogConfig.Config[compress]"),
            (r#"{"HostConfig":{"LogConfig":{"Config":{"mode":"non-blocking"}}}}"#, "HostConfig.LogConfig.Config[mode]"),
            (r#"{"HostConfig":{"VolumeDriver":"nfs"}}"#, "HostConfig.VolumeDriver"),
            (r#"{"HostConfig":{"DeviceRequests":[{"Count":-1}]}}"#, "HostConfig.DeviceRequests"),
            (r#"{"HostConfig":{"StorageOpt":{"size":"1G"}}}"#, "HostConfig.StorageOpt"),
            (r#"{"HostConfig":{"Mounts":[{"Type":"image"}]}}"#, "HostConfig.Mounts[Type]"),
            (
                r#"{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"DriverConfig":{"Name":"x"}}}]}}"#,
                "HostConfig.Mounts[VolumeOptions.DriverConfig]",
            ),
            (r#"{"HostConfig":{"SecurityOpt":["writable-cgroups=true"]}}"#, "HostConfig.SecurityOpt[writable-cgroups]"),
        ] {
            let expected = if field.is_empty() { String::new() } else { format!("not supported yet: {field}") };
            assert_eq!(check_body(body), expected, "{body}");
        }
    }

    #[test]
    fn a_log_driver_nobody_has_is_named() {
        let said = check_body(r#"{"HostConfig":{"LogConfig":{"Type":"asdf"}}}"#);
        assert_eq!(said, r#"error looking up logging plugin asdf: plugin "asdf" not found"#);
    }
}
