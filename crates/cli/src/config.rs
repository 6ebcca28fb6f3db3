//! `config.json` of docker's clients: read whole, written back with one field changed.

use crate::value::Value;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The file and what it holds.
#[derive(Clone, Debug)]
pub struct Config {
    directory: PathBuf,
    values: Value,
}

impl Config {
    /// A configuration without a file.
    pub fn empty(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), values: Value::Map(Vec::new()) }
    }

    /// Reads `config.json` in `directory`; a missing file is an empty one.
    pub fn load(directory: &Path) -> Result<Self, String> {
        let path = directory.join("config.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::empty(directory)),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let values = Value::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { directory: directory.to_owned(), values })
    }

    /// The directory that holds it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A text; empty where it is not set.
    pub fn text(&self, name: &str) -> &str {
        self.values.text(name)
    }

    /// Any value.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Sets or removes one value and writes the file by rename, so that a reader sees the old or the new one.
    pub fn store(&mut self, name: &str, value: Option<Value>) -> io::Result<()> {
        let mut entries = self.values.entries().to_vec();
        entries.retain(|(key, _)| key != name);
        entries.extend(value.map(|value| (name.to_owned(), value)));
        self.values = Value::Map(entries);
        std::fs::create_dir_all(&self.directory)?;
        let path = self.directory.join("config.json");
        let temporary = self.directory.join(format!(".config.json.{}", std::process::id()));
        std::fs::write(&temporary, self.values.pretty("\t"))?;
        std::fs::rename(&temporary, &path).inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    }
}
