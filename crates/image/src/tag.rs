//! `docker tag`.

use crate::{ImageEvent, Images, commit::now_ns, name::dangling, state::NameRecord};
use rorqual_error::Result;
use rorqual_types::{Digest, Reference};
use std::collections::BTreeMap;

impl Images {
    /// `docker tag`: `target` (with tag `latest` unless it says more) points to the image `name` from now on.
    pub fn tag(&self, name: &str, target: &Reference) -> Result<Vec<ImageEvent>> {
        let target = target.clone().or_latest();
        let _change = self.change();
        let found = self.state().find(name)?;
        let full = target.to_string();
        let mut set = vec![(full.clone(), NameRecord { target: found.descriptor.clone(), updated_ns: now_ns() })];
        let mut removed = vec![dangling(&found.id())];
        {
            let state = self.state();
            if let Some(old) = state.names.get(&full).filter(|old| old.target.digest != found.id())
                && state.names_of(&old.target.digest).len() == 1
            {
                set.push((dangling(&old.target.digest), old.clone()));
            }
            removed.retain(|name| state.names.contains_key(name));
        }
        self.remove_names(&removed, &set)?;
        let id = found.id();
        Ok(vec![self.event_with_labels("tag", &id, &target.familiar())])
    }

    /// An event about the image `id`, with its labels.
    pub(crate) fn event_with_labels(&self, action: &'static str, id: &Digest, name: &str) -> ImageEvent {
        let target = self.state().names.values().find(|record| record.target.digest == *id).map(|r| r.target.clone());
        let chosen = target.and_then(|target| self.choose(&target, None).ok().flatten());
        let mut attributes = chosen.map(|chosen| chosen.config.labels()).unwrap_or_default();
        attributes.insert("name".into(), name.into());
        ImageEvent { action, id: id.to_string(), attributes }
    }
}

/// An event about the image `id` with nothing but a name.
pub(crate) fn event(action: &'static str, id: &Digest, name: &str) -> ImageEvent {
    let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    ImageEvent { action, id: id.to_string(), attributes }
}
