//! Volumes of the local driver: records in a bolt file, data in a directory each.

use crate::{
    bolt::{Bolt, Entry},
    compare, copy,
    found::Found,
    limits::JSON_BYTES_MAX,
    root::{Root, missing, open_directory},
};
use rorqual_error::{Context, Error, Kind, Result};
use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
};
use serde::Deserialize;
use std::{collections::BTreeMap, os::fd::OwnedFd, path::Path, sync::Arc};

/// The records.
pub(crate) const METADATA: &str = "volumes/metadata.db";
/// Where data lies until it is complete, beside its place.
const STAGING: &str = ".adopting";

/// A volume that can be taken.
#[derive(Debug)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    root: Arc<Root>,
}

/// What is where a volume's data is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// The data.
    Same,
    /// Other data, which stays.
    Other,
}

/// A record, as dockerd writes it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Record {
    driver: String,
    labels: Option<BTreeMap<String, String>>,
    options: Option<BTreeMap<String, String>>,
}

/// `opts.json`, the driver's own record.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Options {
    mount_type: String,
    mount_opts: String,
    mount_device: String,
}

/// All volumes: those with records and those with a directory alone.
pub(crate) fn volumes(root: &Arc<Root>) -> Result<Vec<Found<Volume>>> {
    let mut records = BTreeMap::new();
    for name in root.names("volumes")? {
        let Ok(name) = name.into_string() else { continue };
        if root.directory(format!("volumes/{name}/_data")).is_ok_and(|directory| directory.is_some()) {
            records.insert(name, Ok(Record::default()));
        }
    }
    if let Some(file) = root.file(METADATA)? {
        let bolt = Bolt::open(file)?;
        let bucket = bolt.find(&["volumes"])?;
        for (key, entry) in bucket.map(|bucket| bolt.entries(&bucket)).transpose()?.unwrap_or_default() {
            let (Ok(name), Entry::Value(value)) = (String::from_utf8(key), entry) else { continue };
            records.insert(name, serde_json::from_slice(&value).context("read its record"));
        }
    }
    let found = records.into_iter().map(|(name, record)| {
        let object = record.and_then(|record| volume(root, &name, record));
        Found { what: name, object }
    });
    Ok(found.collect())
}

fn volume(root: &Arc<Root>, name: &str, record: Record) -> Result<Volume> {
    if !matches!(record.driver.as_str(), "" | "local") {
        let driver = record.driver;
        return Err(Error::invalid(format!("its driver {driver:?} is a plugin, which keeps the data elsewhere")));
    }
    // A name becomes a path: nothing but one directory's name is one.
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(Error::invalid("its name is no volume's"));
    }
    let mut options = record.options.unwrap_or_default();
    if options.is_empty() {
        options = own_options(root, name)?;
    }
    Ok(Volume { name: name.to_owned(), labels: record.labels.unwrap_or_default(), options, root: root.clone() })
}

/// The options by the driver's own record, for volumes older than the other one.
fn own_options(root: &Root, name: &str) -> Result<BTreeMap<String, String>> {
    let Some(bytes) = root.read(format!("volumes/{name}/opts.json"), JSON_BYTES_MAX)? else {
        return Ok(BTreeMap::new());
    };
    let options: Options = serde_json::from_slice(&bytes).context("read opts.json")?;
    let given = [("type", options.mount_type), ("o", options.mount_opts), ("device", options.mount_device)];
    Ok(given.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)).collect())
}

impl Volume {
    /// Whether its data is a directory of the data root, rather than what its options mount.
    pub fn has_data(&self) -> bool {
        self.options.get("device").is_none_or(String::is_empty)
    }

    /// What is in the directory of the engine's volume of that name.
    pub fn look(&self, mountpoint: &Path) -> Result<There> {
        let source = self.data()?;
        let target = open_directory(mountpoint).map_err(|errno| not_here(errno, mountpoint))?;
        if compare::same(&source, &target).context("compare with what is there")? {
            return Ok(There::Same);
        }
        let empty = compare::is_empty(&target).context("read the volume")?;
        Ok(if empty { There::Nothing } else { There::Other })
    }

    /// Gives the engine's volume, whose empty directory is `mountpoint`, the data. It is copied beside that directory and
    /// takes its place when all of it is on the disk; a copy that was interrupted goes on where it was.
    ///
    /// # Errors
    /// `Conflict` where the directory is not empty any more.
    pub fn place(&self, mountpoint: &Path) -> Result<()> {
        let source = self.data()?;
        let (Some(parent), Some(name)) = (mountpoint.parent(), mountpoint.file_name()) else {
            return Err(Error::invalid(format!("{} is no place for a volume", mountpoint.display())));
        };
        let parent = open_directory(parent).map_err(|errno| not_here(errno, parent))?;
        let staging = staging(&parent)?;
        copy::tree(&source, &staging)?;
        if !compare::same(&source, &staging).context("compare the copy")? {
            return Err(Error::conflict(
                "the data changed between two copies: remove the volume here and adopt it again",
            ));
        }
        // Whole on the disk before it is seen.
        rustix::fs::syncfs(&staging).context("sync the copy")?;
        match rustix::fs::renameat(&parent, STAGING, &parent, name) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(Error::conflict("something was put there meanwhile")),
            Err(errno) => return Err(errno).context("put the data in place"),
        }
        rustix::fs::fsync(&parent).context("sync the volume's directory")
    }

    fn data(&self) -> Result<Root> {
        let path = format!("volumes/{}/_data", self.name);
        self.root.directory(&path)?.ok_or_else(|| missing(Path::new(&path)))
    }
}

fn not_here(errno: Errno, path: &Path) -> Error {
    let message = format!(
        "{} cannot be opened: volumes are copied where daemon and data root are on one machine",
        path.display()
    );
    Error::new(Kind::Unavailable, message).caused_by(std::io::Error::from(errno))
}

fn staging(parent: &OwnedFd) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, STAGING, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context("make a directory for the copy"),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, STAGING, flags, Mode::empty()).context("open the directory of the copy")
}
