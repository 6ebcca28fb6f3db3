//! `docker image inspect` and `docker history`.

use crate::{
    HistoryEntry, Images, Inspect,
    documents::{chain, read_document},
    filters::parse_time,
    list::{repo_digests, tags},
    resolve::Chosen,
};
use rorqual_error::{Error, Result};
use rorqual_types::Platform;
use std::sync::Arc;

impl Images {
    /// `docker image inspect`.
    pub fn inspect(&self, name: &str, platform: Option<&Platform>, manifests: bool) -> Result<Inspect> {
        let (target, names, last_tagged) = {
            let state = self.state();
            let target = state.find(name)?;
            let names = state.names_of(&target.id());
            let updated = names.iter().filter_map(|name| state.names.get(name)).map(|record| record.updated_ns).max();
            (target, names, updated.map(i128::from))
        };
        let chosen = self.choose(&target.descriptor, platform)?;
        if let (None, Some(platform)) = (&chosen, platform) {
            return Err(not_for(name, platform));
        }
        let raw_config = match &chosen {
            Some(chosen) => Some(Arc::new(read_document(&self.content, &chosen.manifest.config)?)),
            None => None,
        };
        Ok(Inspect {
            id: target.id(),
            repo_tags: tags(&names),
            repo_digests: repo_digests(&names, &target.id()),
            size: self.content_size(&target.descriptor)?,
            config: chosen.map(|chosen| chosen.config),
            raw_config,
            referrers: self.referrers(&target.descriptor)?,
            last_tagged,
            manifests: match manifests {
                true => Some(self.manifest_summaries(&target.descriptor)?),
                false => None,
            },
            target: target.descriptor,
        })
    }

    /// `docker history`, newest first.
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryEntry>> {
        let (target, names) = {
            let state = self.state();
            let target = state.find(name)?;
            let names = state.names_of(&target.id());
            (target, names)
        };
        let chosen = self.choose(&target.descriptor, platform)?;
        let Some(chosen) = chosen else {
            return Err(not_for(name, platform.unwrap_or(&Platform::host())));
        };
        let sizes = self.layer_sizes(&chosen);
        let mut sizes = sizes.into_iter();
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for step in &chosen.config.history {
            let size = if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
            entries.push(HistoryEntry {
                id: "<missing>".into(),
                created: step
                    .created
                    .as_deref()
                    .and_then(parse_time)
                    .map_or(0, |ns| ns.div_euclid(1_000_000_000) as i64),
                created_by: step.created_by.clone(),
                tags: None,
                size,
                comment: step.comment.clone(),
            });
        }
        entries.reverse();
        if let Some(newest) = entries.first_mut() {
            newest.id = target.id().to_string();
            newest.tags = Some(tags(&names));
        }
        Ok(entries)
    }

    /// The space each layer takes unpacked, lowest first; 0 where it is not.
    fn layer_sizes(&self, chosen: &Chosen) -> Vec<i64> {
        let state = self.state();
        let layers = chain(&chosen.config);
        layers.iter().map(|chain| state.layers.get(chain).map_or(0, |layer| layer.info.size as i64)).collect()
    }
}

fn not_for(name: &str, platform: &Platform) -> Error {
    Error::not_found(format!(
        "image with reference {name} was found but does not provide the specified platform ({platform})"
    ))
}
