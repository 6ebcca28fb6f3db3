//! Whether records and directories of volumes agree.

use super::{DATA, Entry, Record, TRASH, Volumes, make_data};
use rorqual_error::{Context, Result};
use rorqual_metadata::{Durability, check::Checker};
use rorqual_types::VolumeName;
use std::{collections::BTreeMap, fs};

impl Volumes {
    /// Compares both ways. Gives the number of volumes.
    pub fn check(&self, checker: &mut Checker<'_>) -> Result<u64> {
        for entry in fs::read_dir(&self.root).with_context(|| format!("read {}", self.root.display()))? {
            let entry = entry.with_context(|| format!("read {}", self.root.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(TRASH) || self.lock().volumes.contains_key(name.as_str()) {
                continue;
            }
            let object = format!("volume {name}");
            match name.parse::<VolumeName>() {
                Ok(name) if entry.path().join(DATA).is_dir() => {
                    checker.found(object, "has data and no record", "record it again", || self.record_again(&name))?;
                }
                _ => checker.lost(object, "is no volume's directory", "move it out of the volumes by hand"),
            }
        }
        let known: Vec<VolumeName> = self.lock().volumes.keys().cloned().collect();
        for name in &known {
            let data = self.data(name);
            if !data.is_dir() && self.lock().volumes.contains_key(name) {
                let mend = || make_data(&data).with_context(|| format!("make {}", data.display()));
                checker.found(format!("volume {name}"), "has no data directory", "make an empty one", mend)?;
            }
        }
        Ok(known.len() as u64)
    }

    /// Gives a directory its record back; what labels and options it had is not known any more.
    fn record_again(&self, name: &VolumeName) -> Result<()> {
        let record = Record {
            created: jiff::Timestamp::now(),
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            anonymous: false,
            removing: false,
        };
        let mut state = self.lock();
        self.table.put(&name.to_string(), &record, Durability::Synced)?;
        state.volumes.insert(name.clone(), Entry::new(self.volume(name.clone(), record), false));
        Ok(())
    }
}
