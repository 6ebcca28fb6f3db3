//! `docker image prune`.

use crate::{
    Images, Pruned, Users,
    filters::{created_ns, until},
    name::is_dangling,
};
use rorqual_error::Result;
use rorqual_types::{Digest, Filters};
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

impl Images {
    /// `docker image prune`: images without a name, or with `dangling=false` all that no container uses. Filters:
    /// dangling, until, label. Without the last two also what interrupted pulls have left.
    pub fn prune(&self, filters: &Filters, users: &dyn Users) -> Result<Pruned> {
        filters.validate(&["dangling", "label", "label!", "until"])?;
        let only_dangling = filters.boolean("dangling")?.unwrap_or(true);
        let until = until(filters, jiff::Timestamp::now())?;
        let used: HashSet<Digest> = users.users().into_iter().map(|user| user.image).collect();

        let _change = self.change();
        let mut candidates: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for (name, record) in &self.state().names {
            candidates.entry(record.target.digest).or_default().push(name.clone());
        }
        let mut pruned = Pruned::default();
        for (id, names) in candidates {
            let named = names.iter().any(|name| !is_dangling(name));
            if used.contains(&id) || (only_dangling && named) || !self.fits(&names, filters, until)? {
                continue;
            }
            let (deleted, freed) = self.delete_whole(&id)?;
            pruned.items.extend(deleted.items);
            pruned.events.extend(deleted.events);
            pruned.reclaimed += freed;
        }
        // What interrupted pulls have left has neither labels nor a time that a filter could mean.
        if filters.get("label").is_empty() && filters.get("label!").is_empty() && until.is_none() {
            pruned.reclaimed += self.sweep_partials(Duration::ZERO)?;
        }
        Ok(pruned)
    }

    fn fits(&self, names: &[String], filters: &Filters, until: Option<i128>) -> Result<bool> {
        let target = names.first().and_then(|name| self.state().names.get(name).map(|record| record.target.clone()));
        let Some(target) = target else { return Ok(false) };
        // An image that cannot be read has no labels and no time; unfiltered it may go.
        let config = self.choose(&target, None).ok().flatten().map(|chosen| chosen.config);
        let labels = config.as_ref().map(|config| config.labels()).unwrap_or_default();
        let old = until.is_none_or(|until| created_ns(config.as_deref()).unwrap_or(0) < until);
        Ok(old && filters.match_labels(&labels))
    }
}
