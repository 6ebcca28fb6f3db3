//! Lists in the making: one file each, below the directory of `config.json`, until they are pushed or removed.

use super::{entry::Entry, no_such};
use crate::{
    config::Config,
    failure::{Failure, Result},
    limits::LIST_BYTES_MAX,
};
use aws_lc_rs::digest::{SHA256, digest};
use rorqual_types::Reference;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File},
    io::{ErrorKind, Read},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
};

/// The directory of all lists.
pub(super) struct Store(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    name: String,
    manifests: Vec<Entry>,
}

impl Store {
    pub(super) fn of(config: &Config) -> Self {
        Self(config.directory().join("manifest-lists"))
    }

    /// The name may be longer than a file's: its digest is not.
    fn path(&self, list: &Reference) -> PathBuf {
        let name: String =
            digest(&SHA256, list.to_string().as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        self.0.join(name)
    }

    /// The manifests of a list; `None` where there is no such list.
    pub(super) fn find(&self, list: &Reference) -> Result<Option<Vec<Entry>>> {
        let path = self.path(list);
        let damaged = |why: String| Failure::message(format!("read the list {list} from {}: {why}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
        };
        let mut bytes = Vec::new();
        file.take(LIST_BYTES_MAX).read_to_end(&mut bytes)?;
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if document.name != list.to_string() {
            return Err(damaged(format!("it is of {}", document.name)));
        }
        Ok(Some(document.manifests))
    }

    /// The manifests of a list that must be there.
    pub(super) fn get(&self, list: &Reference) -> Result<Vec<Entry>> {
        self.find(list)?.ok_or_else(|| no_such(list))
    }

    /// Keeps a list, by rename: a reader sees the old or the new one.
    pub(super) fn put(&self, list: &Reference, manifests: Vec<Entry>) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let document = Document { name: list.to_string(), manifests };
        let bytes = serde_json::to_vec(&document).map_err(|error| Failure::message(error.to_string()))?;
        let temporary = self.0.join(format!(".{}", std::process::id()));
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, self.path(list)).inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        Ok(())
    }

    /// Forgets a list.
    pub(super) fn remove(&self, list: &Reference) -> Result<()> {
        match fs::remove_file(self.path(list)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(no_such(list)),
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rorqual_oci::image::{Descriptor, media};

    #[test]
    fn lists_are_kept_apart_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::of(&Config::empty(directory.path()));
        let [one, other]: [Reference; 2] = ["r.io/a_b:1", "r.io/a/b:1"].map(|name| name.parse().unwrap());
        assert!(store.find(&one).unwrap().is_none());
        let descriptor = Descriptor::new(media::MANIFEST, format!("sha256:{}", "a".repeat(64)).parse().unwrap(), 1);
        let entry = Entry::new(&one, descriptor, b"x");
        store.put(&one, vec![entry.clone()]).unwrap();
        store.put(&other, Vec::new()).unwrap();
        assert_eq!(store.get(&one).unwrap(), [entry]);
        assert_eq!(store.get(&other).unwrap(), []);
        store.remove(&one).unwrap();
        assert_eq!(store.remove(&one).unwrap_err().text(), "No such manifest: r.io/a_b:1");
        fs::write(store.path(&other), "x").unwrap();
        assert!(store.find(&other).unwrap_err().text().starts_with("read the list r.io/a/b:1 from "));
    }
}
