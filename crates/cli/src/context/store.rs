//! The store: `contexts/meta/<sha256 of the name>/meta.json` and `contexts/tls/<the same>/docker/*.pem`.

use crate::{
    failure::{Failure, Result},
    opts::{list_file::io_text, object},
    value::Value,
};
use aws_lc_rs::digest::{SHA256, digest};
use std::path::{Path, PathBuf};

/// The name of the context that is not stored.
pub const DEFAULT: &str = "default";

/// The contexts of one configuration directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A stored context.
#[derive(Clone, Debug)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// Its free text.
    pub description: String,
    /// The daemon's address.
    pub host: String,
    /// Whether the daemon's certificate is not checked.
    pub skip_verify: bool,
    /// The whole file.
    pub meta: Value,
}

impl Store {
    /// The store below `directory`, which holds `config.json`.
    pub fn of(directory: &Path) -> Self {
        Self { root: directory.join("contexts") }
    }

    /// Where a context's file is.
    pub fn meta_directory(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(hashed(name))
    }

    /// Where a context's certificates are.
    pub fn tls_directory(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(hashed(name))
    }

    /// One context.
    pub fn get(&self, name: &str) -> Result<Context> {
        let path = self.meta_directory(name).join("meta.json");
        let bytes = std::fs::read(&path).map_err(|error| {
            Failure::message(format!(
                "context {name:?}: context not found: open {}: {}",
                path.display(),
                io_text(&error)
            ))
        })?;
        parse(&bytes).map_err(|why| Failure::message(format!("context {name:?}: {why}")))
    }

    /// All contexts, by name.
    pub fn list(&self) -> Vec<Context> {
        let Ok(directory) = std::fs::read_dir(self.root.join("meta")) else { return Vec::new() };
        let mut all: Vec<Context> = directory
            .flatten()
            .filter_map(|entry| std::fs::read(entry.path().join("meta.json")).ok())
            .filter_map(|bytes| parse(&bytes).ok())
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Writes a context by rename; the certificates by their file names.
    pub fn create(&self, context: &Context, tls: &[(&str, PathBuf)]) -> Result<()> {
        let directory = self.meta_directory(&context.name);
        std::fs::create_dir_all(&directory)?;
        let temporary = directory.join(".meta.json");
        std::fs::write(&temporary, context.meta.json())?;
        std::fs::rename(&temporary, directory.join("meta.json"))?;
        if tls.is_empty() {
            return Ok(());
        }
        let directory = self.tls_directory(&context.name).join("docker");
        std::fs::create_dir_all(&directory)?;
        for (name, from) in tls {
            private_copy(from, &directory.join(name))
                .map_err(|error| Failure::message(format!("open {}: {}", from.display(), io_text(&error))))?;
        }
        Ok(())
    }

    /// Removes a context; whether there was one.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let directory = self.meta_directory(name);
        let existed = directory.exists();
        for directory in [directory, self.tls_directory(name)] {
            if directory.exists() {
                std::fs::remove_dir_all(&directory)?;
            }
        }
        Ok(existed)
    }

    /// The names of a context's certificates.
    pub fn tls_files(&self, name: &str) -> Vec<String> {
        let Ok(directory) = std::fs::read_dir(self.tls_directory(name).join("docker")) else { return Vec::new() };
        let mut names: Vec<String> =
            directory.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// A key is nobody else's to read.
fn private_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let bytes = std::fs::read(from)?;
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    file.write_all(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Context, String> {
    let meta = Value::parse(bytes).map_err(|error| error.to_string())?;
    let endpoint = meta.at(&["Endpoints", "docker"]);
    Ok(Context {
        name: meta.text("Name").to_owned(),
        description: meta.at(&["Metadata"]).text("Description").to_owned(),
        host: endpoint.text("Host").to_owned(),
        skip_verify: endpoint.is_true("SkipTLSVerify"),
        meta,
    })
}

/// The file of a new context.
pub fn meta_of(name: &str, description: &str, host: &str, skip_verify: bool) -> Value {
    let metadata = match description.is_empty() {
        true => object([]),
        false => object([("Description", description.into())]),
    };
    let docker = object([("Host", host.into()), ("SkipTLSVerify", skip_verify.into())]);
    object([("Name", name.into()), ("Metadata", metadata), ("Endpoints", object([("docker", docker)]))])
}

/// What a name may be.
pub fn check_name(name: &str) -> Result<()> {
    if name == DEFAULT {
        return Err(Failure::message("\"default\" is a reserved context name"));
    }
    let letter = |b: u8| b.is_ascii_alphanumeric();
    let holds = name.len() > 1
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || matches!(b, b'_' | b'.' | b'+' | b'-'));
    match holds {
        true => Ok(()),
        false if name.is_empty() => Err(Failure::message("context name cannot be empty")),
        false => Err(Failure::message(format!(
            "context name {name:?} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
        ))),
    }
}

fn hashed(name: &str) -> String {
    digest(&SHA256, name.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_kept_where_docker_looks_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::of(directory.path());
        let meta = meta_of("cli-ctx", "d", "unix:///x", false);
        let context = parse(meta.json().as_bytes()).unwrap();
        store.create(&context, &[]).unwrap();
        let hash = "0d6d42cffe76e1967081bfcd1edc435fb7c06f27c0a2d4191983ac5c66225f15";
        assert!(directory.path().join("contexts/meta").join(hash).join("meta.json").exists());
        assert_eq!(store.get("cli-ctx").unwrap().host, "unix:///x");
        assert_eq!(store.list().len(), 1);
        assert!(store.remove("cli-ctx").unwrap());
        assert!(store.get("cli-ctx").is_err());
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("a.b_c-1").is_ok());
        for bad in ["", "a", "default", "bad name", "-x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
