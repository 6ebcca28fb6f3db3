//! What the daemon has acknowledged, written down by those who asked.

use rorqual_testkit::{Api, Daemon};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

/// What must be true of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// It was made, and the daemon said so.
    Present,
    /// It was removed, and the daemon said so; or it removes itself.
    Absent,
    /// The answer did not come: either way is right.
    Unknown,
}

/// Containers, images and volumes by name.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<BTreeMap<(Kind, String), Truth>>,
}

/// What sort of thing a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Container,
    Image,
    Volume,
}

impl Ledger {
    /// Writes down the truth of a name.
    pub(crate) fn set(&self, kind: Kind, name: &str, truth: Truth) {
        self.entries.lock().expect("no holder panics").insert((kind, name.to_owned()), truth);
    }

    /// Takes over what the daemon says about names whose answer did not come.
    fn settle(&self, found: &BTreeSet<(Kind, String)>) {
        for (key, truth) in self.entries.lock().expect("no holder panics").iter_mut() {
            if *truth == Truth::Unknown {
                *truth = if found.contains(key) { Truth::Present } else { Truth::Absent };
            }
        }
    }

    /// Compares with what the daemon lists; gives every difference, then takes the unknown as it is.
    pub(crate) fn compare(&self, daemon: &Daemon) -> Vec<String> {
        let found = listed(&mut daemon.api());
        let mut wrong = Vec::new();
        for ((kind, name), truth) in self.entries.lock().expect("no holder panics").iter() {
            let there = found.contains(&(*kind, name.clone()));
            match truth {
                Truth::Present if !there => wrong.push(format!("{kind:?} {name} was acknowledged and is lost")),
                Truth::Absent if there => wrong.push(format!("{kind:?} {name} was removed and is back")),
                _ => {}
            }
        }
        self.settle(&found);
        wrong
    }

    /// How many names were written down.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().expect("no holder panics").len()
    }
}

fn listed(api: &mut Api) -> BTreeSet<(Kind, String)> {
    let mut found = BTreeSet::new();
    for container in api.get("/containers/json?all=1").as_array().into_iter().flatten() {
        for name in container["Names"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default().trim_start_matches('/').to_owned();
            assert!(found.insert((Kind::Container, name.clone())), "{name} is there twice");
        }
    }
    for image in api.get("/images/json").as_array().into_iter().flatten() {
        for name in image["RepoTags"].as_array().into_iter().flatten() {
            found.insert((Kind::Image, name.as_str().unwrap_or_default().to_owned()));
        }
    }
    for volume in api.get("/volumes")["Volumes"].as_array().into_iter().flatten() {
        found.insert((Kind::Volume, volume["Name"].as_str().unwrap_or_default().to_owned()));
    }
    found
}
