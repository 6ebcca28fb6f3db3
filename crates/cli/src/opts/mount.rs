//! `--mount type=bind,src=/a,dst=/b,...`

use super::{absolute, comma_fields, object};
use crate::{args::parse_bool, human, value::Value};

/// The check of the flag: everything but the meaning the daemon gives it.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

#[derive(Default)]
struct Mount {
    kind: String,
    source: String,
    target: String,
    read_only: bool,
    consistency: String,
    bind: Vec<(String, Value)>,
    volume: Vec<(String, Value)>,
    labels: Vec<String>,
    driver: Option<String>,
    driver_options: Vec<String>,
    image: Vec<(String, Value)>,
    tmpfs: Vec<(String, Value)>,
    /// Which families of options were named, to refuse a mixture.
    families: Vec<&'static str>,
}

/// The mount as the API's body holds it.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    for field in comma_fields(text)? {
        mount.field(&field)?;
    }
    if mount.kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    let allowed = match mount.kind.as_str() {
        "volume" | "cluster" => "volume",
        "image" => "image",
        "tmpfs" => "tmpfs",
        "bind" => "bind",
        _ => "",
    };
    if let Some(mixed) = mount.families.iter().find(|family| !allowed.is_empty() && **family != allowed) {
        return Err(format!("cannot mix '{mixed}-*' options with mount type '{}'", mount.kind));
    }
    mount.check_recursion()?;
    Ok(mount.value())
}

impl Mount {
    fn field(&mut self, field: &str) -> Result<(), String> {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match name.as_str() {
            // These mean true when they stand alone.
            "readonly" | "ro" => {
                self.read_only = truth(&name, value)?;
                return Ok(());
            }
            "volume-nocopy" => {
                self.families.push("volume");
                let value = truth(&name, value)?;
                set(&mut self.volume, "NoCopy", Value::Bool(value));
                return Ok(());
            }
            "bind-nonrecursive" => {
                self.families.push("bind");
                let value = truth(&name, value)?;
                set(&mut self.bind, "NonRecursive", Value::Bool(value));
                return Ok(());
            }
            _ => {}
        }
        let Some(value) = value else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        match name.as_str() {
            "type" => self.kind = value.to_lowercase(),
            "source" | "src" => {
                self.source = match value == "." || value.starts_with("./") || value.starts_with("../") || value == ".."
                {
                    true => absolute(value),
                    false => value.to_owned(),
                }
            }
            "target" | "dst" | "destination" => self.target = value.to_owned(),
            "consistency" => self.consistency = value.to_lowercase(),
            "bind-propagation" => {
                self.families.push("bind");
                set(&mut self.bind, "Propagation", value.to_lowercase().into());
            }
            "bind-recursive" => self.recursion(value)?,
            "volume-subpath" => {
                self.families.push("volume");
                set(&mut self.volume, "Subpath", value.into());
            }
            "volume-label" => {
                self.families.push("volume");
                self.labels.push(value.to_owned());
            }
            "volume-driver" => {
                self.families.push("volume");
                self.driver = Some(value.to_owned());
            }
            "volume-opt" => {
                self.families.push("volume");
                self.driver_options.push(value.to_owned());
            }
            "image-subpath" => {
                self.families.push("image");
                set(&mut self.image, "Subpath", value.into());
            }
            "tmpfs-size" => {
                self.families.push("tmpfs");
                let bytes = human::parse_bytes(value).map_err(|_| format!("invalid value for {name}: {value}"))?;
                set(&mut self.tmpfs, "SizeBytes", Value::Int(bytes));
            }
            "tmpfs-mode" => {
                self.families.push("tmpfs");
                let mode = u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {name}: {value}"))?;
                set(&mut self.tmpfs, "Mode", Value::Int(i64::from(mode)));
            }
            _ => return Err(format!("unexpected key '{name}' in '{field}'")),
        }
        Ok(())
    }

    fn recursion(&mut self, value: &str) -> Result<(), String> {
        self.families.push("bind");
        match value {
            "enabled" => {}
            "disabled" => set(&mut self.bind, "NonRecursive", Value::Bool(true)),
            "writable" => set(&mut self.bind, "ReadOnlyNonRecursive", Value::Bool(true)),
            "readonly" => set(&mut self.bind, "ReadOnlyForceRecursive", Value::Bool(true)),
            _ => {
                return Err(format!(
                    "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        }
        Ok(())
    }

    fn check_recursion(&self) -> Result<(), String> {
        let has = |name: &str| self.bind.iter().any(|(known, _)| known == name);
        if has("ReadOnlyNonRecursive") && !self.read_only {
            return Err(
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction".to_owned()
            );
        }
        if has("ReadOnlyForceRecursive") {
            if !self.read_only {
                return Err(
                    "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction".to_owned()
                );
            }
            let private =
                self.bind.iter().any(|(name, value)| name == "Propagation" && value.as_str() == Some("rprivate"));
            if !private {
                return Err("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction".to_owned());
            }
        }
        Ok(())
    }

    fn value(self) -> Value {
        let mut fields: Vec<(String, Value)> = vec![("Type".to_owned(), self.kind.into())];
        let mut add = |name: &str, value: Value| fields.push((name.to_owned(), value));
        if !self.source.is_empty() {
            add("Source", self.source.into());
        }
        add("Target", self.target.into());
        if self.read_only {
            add("ReadOnly", Value::Bool(true));
        }
        if !self.consistency.is_empty() {
            add("Consistency", self.consistency.into());
        }
        let named = |family: &str| self.families.contains(&family);
        if named("bind") {
            add("BindOptions", ordered(self.bind, &BIND_ORDER));
        }
        if named("volume") {
            let mut options: Vec<(String, Value)> = self.volume;
            if !self.labels.is_empty() {
                options.push(("Labels".to_owned(), super::pairs(&self.labels)));
            }
            let mut driver = Vec::new();
            if let Some(name) = self.driver {
                driver.push(("Name".to_owned(), Value::Str(name)));
            }
            if !self.driver_options.is_empty() {
                driver.push(("Options".to_owned(), super::pairs(&self.driver_options)));
            }
            options.push(("DriverConfig".to_owned(), Value::Map(driver)));
            add("VolumeOptions", ordered(options, &VOLUME_ORDER));
        }
        if named("image") {
            add("ImageOptions", Value::Map(self.image));
        }
        if named("tmpfs") {
            add("TmpfsOptions", ordered(self.tmpfs, &["SizeBytes", "Mode"]));
        }
        Value::Map(fields)
    }
}

const BIND_ORDER: [&str; 4] = ["Propagation", "NonRecursive", "ReadOnlyNonRecursive", "ReadOnlyForceRecursive"];
const VOLUME_ORDER: [&str; 4] = ["NoCopy", "Labels", "Subpath", "DriverConfig"];

fn set(fields: &mut Vec<(String, Value)>, name: &str, value: Value) {
    fields.retain(|(known, _)| known != name);
    // What Go leaves out of its JSON: false and empty.
    if !matches!(&value, Value::Bool(false)) && value.as_str() != Some("") && value.as_int() != Some(0) {
        fields.push((name.to_owned(), value));
    }
}

fn ordered(mut fields: Vec<(String, Value)>, order: &[&str]) -> Value {
    fields.sort_by_key(|(name, _)| order.iter().position(|known| known == name));
    Value::Map(fields)
}

fn truth(name: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None => Ok(true),
        Some(text) => parse_bool(text).map_err(|_| format!("invalid value for {name}: {text}")),
    }
}

/// The bind mount of the API's own socket, for `--use-api-socket`.
pub fn api_socket(source: &str) -> Value {
    object([
        ("Type", "bind".into()),
        ("Source", source.into()),
        ("Target", "/var/run/docker.sock".into()),
        ("BindOptions", Value::Map(Vec::new())),
    ])
}
