//! JSON bodies as dockerd reads them: field names in any case, `null` as the zero value, unknown fields ignored, and Go's
//! words where a type is wrong. Depth is bounded before anything is built.

mod go;

use crate::limits::JSON_DEPTH;
use rorqual_api_types::container::{
    Config, CreateRequest, HostConfig, NetworkingConfig, Resources, RestartPolicy, UpdateRequest,
};
use rorqual_error::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads one JSON document as `T`; `None` where the text is empty.
pub(crate) fn body<T: DeserializeOwned>(text: &[u8]) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = document(text)?;
    Ok(Some(typed(&value, "")?))
}

/// Parses one JSON document.
pub(crate) fn document(text: &[u8]) -> Result<Value> {
    if depth(text) > JSON_DEPTH {
        return Err(Error::invalid(format!("invalid JSON: nested deeper than {JSON_DEPTH} levels")));
    }
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let value = match stream.next() {
        Some(Ok(value)) => value,
        Some(Err(cause)) if cause.is_eof() => return Err(Error::invalid("invalid JSON: unexpected EOF")),
        Some(Err(cause)) => return Err(Error::invalid("invalid JSON").caused_by(cause)),
        None => return Err(Error::invalid("invalid JSON: got EOF while reading request body")),
    };
    let rest = &text[stream.byte_offset()..];
    if rest.iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Err(Error::invalid("unexpected content after JSON"));
    }
    Ok(value)
}

/// The body of `POST /containers/create`.
pub(crate) fn create(text: &[u8]) -> Result<CreateRequest> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("invalid JSON: got EOF while reading request body"));
    }
    let value = document(text)?;
    let config: Config = typed(&value, "")?;
    let Value::Object(fields) = &value else { return Err(empty_config()) };
    if config == Config::default() && fields.iter().all(|(name, _)| !is_config(name)) {
        return Err(empty_config());
    }
    let part = |name: &str| member(fields, name).filter(|value| !value.is_null());
    Ok(CreateRequest {
        config,
        host_config: part("HostConfig").map(|value| host_config(value, ".HostConfig")).transpose()?,
        networking_config: part("NetworkingConfig")
            .map(|value| typed::<NetworkingConfig>(value, ".NetworkingConfig"))
            .transpose()?,
    })
}

fn empty_config() -> Error {
    Error::invalid("config cannot be empty in order to create a container")
}

/// Whether a member of a create body belongs to the portable part.
fn is_config(name: &str) -> bool {
    !["HostConfig", "NetworkingConfig"].iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// A host configuration. `Resources` stands among its own fields, so both are read from the same object.
pub(crate) fn host_config(value: &Value, path: &str) -> Result<HostConfig> {
    let mut config: HostConfig = typed(&canonical(value, &HOST_CONFIG_FIELDS), path)?;
    config.resources = typed(value, path)?;
    Ok(config)
}

/// The body of `POST /containers/{id}/update`.
pub(crate) fn update(text: &[u8]) -> Result<UpdateRequest> {
    if text.is_empty() {
        return Ok(UpdateRequest::default());
    }
    let value = document(text)?;
    let resources: Resources = typed(&value, "")?;
    let policy = value.as_object().and_then(|fields| member(fields, "RestartPolicy"));
    let restart_policy = policy.map(|value| typed::<RestartPolicy>(value, ".RestartPolicy")).transpose()?;
    Ok(UpdateRequest { resources, restart_policy: restart_policy.unwrap_or_default() })
}

/// The fields of [`HostConfig`] that are its own; a test holds the list against the type.
const HOST_CONFIG_FIELDS: [&str; 40] = [
    "Binds",
    "ContainerIDFile",
    "LogConfig",
    "NetworkMode",
    "PortBindings",
    "RestartPolicy",
    "AutoRemove",
    "VolumeDriver",
    "VolumesFrom",
    "ConsoleSize",
    "Annotations",
    "CapAdd",
    "CapDrop",
    "CgroupnsMode",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "IpcMode",
    "Cgroup",
    "Links",
    "OomScoreAdj",
    "PidMode",
    "Privileged",
    "PublishAllPorts",
    "ReadonlyRootfs",
    "SecurityOpt",
    "StorageOpt",
    "Tmpfs",
    "UTSMode",
    "UsernsMode",
    "ShmSize",
    "Sysctls",
    "Runtime",
    "Isolation",
    "Mounts",
    "MaskedPaths",
    "ReadonlyPaths",
    "Init",
];

/// The members of `value` named in `fields`, in any case, under their exact names.
fn canonical(value: &Value, fields: &[&str]) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let known = fields.iter().filter_map(|field| Some(((*field).to_owned(), member(members, field)?.clone())));
    Value::Object(known.collect())
}

/// The member `name` of an object: exactly, else in any case.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn typed<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T> {
    T::deserialize(go::Decoder::new(value, path)).map_err(|cause| Error::invalid(format!("invalid JSON: {cause}")))
}

/// How deep arrays and objects nest, without building anything.
fn depth(text: &[u8]) -> usize {
    let (mut deepest, mut now, mut quoted, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
